"""What people see of a notebook: one view, one sentence, one next step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..editors import EDITORS
from ..gpus.model import Lease
from ..messages import FailureView, LeaseView, NotebookView, RunView
from .model import Notebook, Run, State
from .roster import Passing

STOPPED_BY = {
    "user": "stopped by you",
    "admin": "stopped by an admin",
    "editor_shutdown": "the editor was shut down from inside",
    "no_capacity": "not started: no card that fits was free",
}


def view(row: Notebook, passing: Passing, leases: Sequence[Lease], cards: Mapping[str, str], url: str) -> NotebookView:
    """`cards` gives the name of each card by its UUID; one that the driver does not show keeps its UUID."""
    mine = [lease for lease in leases if lease.notebook == row.id]
    names = tuple(cards.get(lease.card, lease.card) for lease in mine)
    sentence, hint = say(row, passing, names)
    failure = row.failure
    return NotebookView(
        id=row.id,
        name=row.name,
        owner=row.owner,
        state=row.state,
        profile=row.profile,
        editor=row.editor,
        url=url,
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
        stop_reason=row.stop_reason,
        failure=FailureView(failure.code, failure.message, failure.hint, failure.log) if failure else None,
    )


def say(row: Notebook, passing: Passing, gpus: Sequence[str]) -> tuple[str, str]:
    """The sentence and the next step, which may be empty."""
    editor = EDITORS[row.editor].title if row.editor in EDITORS else row.editor
    if row.state is State.STARTING:
        return _starting(row, passing)
    if row.state is State.RUNNING:
        on = f" on {' + '.join(gpus)}" if gpus else ""
        return f"{editor} runs{on}", f"open it: nbctl open {row.name}"
    if row.state is State.STOPPING:
        return "it saves its work and stops", ""
    if row.state is State.STOPPED:
        why = row.failure.message if row.failure else STOPPED_BY.get(row.stop_reason or "", "not running")
        return why, row.failure.hint if row.failure else f"start it: nbctl start {row.name}"
    if row.state in (State.FAILED, State.ERROR) and row.failure:
        return row.failure.message, row.failure.hint or f"start it again: nbctl start {row.name}"
    return {State.PARKED: "parked: its GPU is given back, its kernel kept", State.FROZEN: "frozen: asleep on disk with its memory"}.get(
        row.state, "it is being deleted; the home stays"
    ), ""


def _starting(row: Notebook, passing: Passing) -> tuple[str, str]:
    if passing.waiting:
        return f"number {passing.waiting.position} in line: {passing.waiting.reason}", f"leave the line: nbctl stop {row.name}"
    again = " (again: the editor had ended wrongly)" if row.crashes else ""
    return (passing.progress.text if passing.progress else "it starts") + again, ""


def run_view(run: Run) -> RunView:
    return RunView(run.number, run.started, run.ended, run.stop_reason, run.phases, run.container)
