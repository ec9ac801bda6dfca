"""What people see of a notebook: one view, one sentence, one next step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..editors import EDITORS
from ..gpus.model import Lease
from ..homemessages import HomeBrief
from ..messages import FailureView, LeaseView, NotebookView, RunView
from . import homecoming
from .failure import PERSONS_FAULT
from .model import Failure, Notebook, Run, State
from .roster import Passing

STOPPED_BY = {
    "admin": "stopped by an admin",
    "editor_shutdown": "the editor was shut down from inside",
    "no_capacity": "not started: no card that fits was free",
    "idle": "stopped after nothing had worked in it for long",
    "max_session": "stopped after nobody had been there for long",
    "max_running": "stopped at the end of the longest time that a notebook runs",
}
OWNERS_TO_MEND = PERSONS_FAULT | {"no_capacity", "interrupted"}
"""Failures after which the next step is the owner's alone; after the others an admin can do something as well."""
JUDGED = frozenset({State.RUNNING, State.PARKED, State.FROZEN})
"""States in which the idle engine has something to say."""
WITH_LAST_WORDS = frozenset({"editor_exited", "never_answered", "crash_loop"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What a notebook is seen with, and by whom."""

    leases: Sequence[Lease]
    cards: Mapping[str, str]
    """The name of each card by its UUID; one that the driver does not show keeps its UUID."""
    url: str
    home: HomeBrief | None = None
    """How its owner's home stands, where that is known."""
    own: bool = True
    """False for an admin who looks at somebody's: they are not told what its editor wrote, nor to do what only the owner may."""


def view(row: Notebook, passing: Passing, sight: Sight) -> NotebookView:
    mine = [lease for lease in sight.leases if lease.notebook == row.id]
    names = tuple(sight.cards.get(lease.card, lease.card) for lease in mine)
    sentence, hint = say(row, passing, names, own=sight.own)
    unsaved = homecoming.waits(row, sight.home) if row.state is State.STOPPED and sight.own else ""
    if unsaved:
        sentence, hint = f"{sentence}; {unsaved}", f"how it goes on: nbctl home status; {hint}"
    failure, idle = row.failure, passing.idle if row.state in JUDGED else None
    return NotebookView(
        id=row.id,
        name=row.name,
        owner=row.owner,
        state=row.state,
        profile=row.profile,
        editor=row.editor,
        url=sight.url,
        sentence=sentence,
        hint=hint,
        created=row.created,
        gpus=names,
        lease=LeaseView(tuple(lease.card for lease in mine), mine[0].sharing, mine[0].memory_bytes, mine[0].since) if mine else None,
        started=row.started,
        ended=row.ended,
        container=row.container,
        run=row.run,
        phases=row.phases,
        progress=passing.progress,
        waiting=passing.waiting,
        verdict=idle.verdict if idle else None,
        next=idle.next if idle else None,
        notice=idle.notice if idle else None,
        cannot=idle.cannot if idle else {},
        trouble=row.trouble if row.state in JUDGED else "",
        stop_reason=row.stop_reason,
        attach=row.attach,
        failure=_told(row, failure, own=sight.own) if failure else None,
        unsaved=unsaved,
    )


def say(row: Notebook, passing: Passing, gpus: Sequence[str], *, own: bool = True) -> tuple[str, str]:
    """The sentence and the next step, which may be empty."""
    editor = EDITORS[row.editor].title if row.editor in EDITORS else row.editor
    if row.state is State.STARTING:
        return _starting(row, passing, own=own)
    if row.state is State.RUNNING:
        on = f" on {' + '.join(gpus)}" if gpus else ""
        now = f"; {passing.progress.text}" if passing.progress else ""
        return f"{editor} runs{on}{now}", f"open it: nbctl open {row.name}" if own else ""
    if row.state in (State.PARKED, State.FROZEN):
        return _resting(row, passing, own=own)
    if row.state is State.STOPPING:
        return passing.progress.text if passing.progress else "it saves its work and stops", ""
    if row.state in (State.STOPPED, State.FAILED, State.ERROR) and row.failure:
        return row.failure.message, _after(row, row.failure, own=own)
    if row.state is State.STOPPED:
        by_owner = "stopped by you" if own else "stopped by its owner"
        why = by_owner if row.stop_reason == "user" else STOPPED_BY.get(row.stop_reason or "", "not running")
        return why, f"start it: nbctl start {row.name}" if own else ""
    return "it is being deleted; the home stays", ""


def _told(row: Notebook, failure: Failure, *, own: bool) -> FailureView:
    return FailureView(failure.code, failure.message, _after(row, failure, own=own), failure.log if own else ())


def _after(row: Notebook, failure: Failure, *, own: bool) -> str:
    """The next step after a failure."""
    if not own:
        return "" if failure.code in OWNERS_TO_MEND else failure.hint
    last_words = "its last lines are below" if failure.log and failure.code in WITH_LAST_WORDS else ""
    again = failure.hint or f"start it again: nbctl start {row.name}"
    return "; ".join(words for words in (last_words, again) if words)


def _starting(row: Notebook, passing: Passing, *, own: bool) -> tuple[str, str]:
    if passing.waiting:
        name = row.name if own else row.title
        return f"number {passing.waiting.position} in line: {passing.waiting.reason}", f"leave the line: nbctl stop {name}"
    again = " (again: the editor had ended wrongly)" if row.crashes else ""
    return (passing.progress.text if passing.progress else "it starts") + again, ""


def _resting(row: Notebook, passing: Passing, *, own: bool) -> tuple[str, str]:
    """A notebook that gave back its GPU, or its memory too, and may be on its way up again."""
    parked = row.state is State.PARKED
    if passing.waiting:
        return f"parked, number {passing.waiting.position} in line for a GPU: {passing.waiting.reason}", ""
    if passing.progress:
        return f"{'parked' if parked else 'frozen'}: {passing.progress.text}", ""
    if parked:
        return "parked: its GPU is given back, its kernel kept", f"it gets a GPU when you run something; now: nbctl unpark {row.name}" if own else ""
    return "frozen: asleep on disk with its memory", f"it comes back when you open it: nbctl open {row.name}" if own else ""


def run_view(run: Run) -> RunView:
    return RunView(run.number, run.started, run.ended, run.stop_reason, run.phases, run.container)
