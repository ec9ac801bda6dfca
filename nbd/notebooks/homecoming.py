"""What a person is told while their home is brought back before a start and saved at a stop; and which snapshots have names. Pure."""

from __future__ import annotations

from ..errors import HostUnfit, NbdError
from ..homemessages import HomeBrief
from ..messages import HomeView, Progress, RestoreView
from .model import Notebook, Phase

NOT_BACK = "home_not_back"
HOME, SAVING, AWAY = str(Phase.HOME), "saving", "store"
"""What is shown as the step that a notebook is at."""
OCCASIONS = {"deleted": "delete"}
"""What a snapshot is tied to, by why the notebook stopped; every other reason is a stop."""
STEPS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def progress(view: RestoreView) -> Progress:
    """How far it is, by names and by bytes: many small files take as long as one large one."""
    entries, size = view.entries + view.already, view.bytes + view.already_bytes
    if not view.total:
        return Progress(Phase.HOME, "comparing the home with its snapshots")
    shares = [min(entries / view.total, 1.0), *([min(size / view.total_bytes, 1.0)] if view.total_bytes else [])]
    text = f"bringing the home back: {entries:,} of {view.total:,} files, {amount(size)} of {amount(view.total_bytes)}"
    return Progress(Phase.HOME, text, round(sum(shares) / len(shares), 3))


def occasion(stop_reason: str | None) -> str:
    return OCCASIONS.get(stop_reason or "", "stop")


def name(row: Notebook) -> str:
    """By which a person finds the snapshot again: it is kept for ever."""
    return f"{row.name} run {row.run}"


def saving(phase: str, view: HomeView | None) -> Progress:
    """How far a snapshot is that somebody waits for."""
    if view is None or not view.saving:
        return Progress(phase, "saving the home")
    done, total = view.saving.done, max(view.saving.total, view.saving.done)
    return Progress(phase, f"saving the home: {amount(done)} of {amount(total)}", round(done / total, 3) if total else None)


def waits(row: Notebook, home: HomeBrief | None) -> str:
    """What of the home that a stopped notebook left is not in the store yet; empty for nothing."""
    if home is None or not (home.spooled_bytes or any(words.endswith(name(row)) for words in home.pending)):
        return ""
    if home.spooled_bytes:
        return f"its home waits on this box for a store that is away ({amount(home.spooled_bytes)})"
    return f"its home is not in the store yet{f': {home.trouble}' if home.trouble else ''}"


def waiting(error: NbdError) -> Progress:
    return Progress(AWAY, f"waiting, and trying again: {error.message}")


def failed(error: NbdError, name: str) -> NbdError:
    """The same with the ways out: a notebook does not start on half a home by itself."""
    if error.code != NOT_BACK:
        return error
    ways = [f"start on the home as it is: nbctl start {name} --empty-home"]
    if error.retryable:
        ways.insert(0, f"wait for it: nbctl start {name} --wait")
    hint = "; ".join(word for word in (error.hint, *ways) if word)
    return HostUnfit(error.message, hint=hint, code=NOT_BACK, retryable=error.retryable)


def amount(size: int) -> str:
    """ "3.2 GiB"; the same as nbctl writes it."""
    for unit, word in STEPS:
        if size >= unit:
            return f"{size / unit:.1f} {word}"
    return f"{size} B"
