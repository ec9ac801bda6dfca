"""Is what was seen the home, or a hole where it should be? Pure. Until a person confirms, a suspicious loss is not recorded."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Refused

MOST_GONE = 10_000
SHARE_GONE = 0.25
FEW = 20
"""In a small home a person deletes a quarter with one hand."""
A_WHILE = 10 * 60 * 1_000_000_000
"""Nanoseconds. A deletion that goes on for minutes is in many snapshots, and little in each."""
MEANT = ("confirm", "begin")
"""Events of snapshots in which a person's word is recorded that what is gone may go."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What the last snapshot had, and how much of it is gone and has not come back under another name."""

    had: int
    gone: int
    moved: bool = False
    """The home's folder is another than the one that the last snapshot was taken of: what lies below a mount point shows where nothing is mounted,
    and keeps its inode. It is also what a new disk looks like; then nothing is gone."""
    now_empty: bool = False
    unconfirmed: int = 0
    """So many were gone before, and are in the last snapshot all the same, because nobody has said that they may go."""


def missing(why: str) -> Refused:
    hint = "is it mounted? Nothing was recorded as deleted; the last snapshot is whole"
    return Refused(f"the home cannot be seen: {why}", code="home_missing", hint=hint)


def refuse(loss: Loss) -> str:
    """Why this loss has to be confirmed by a person; empty if it need not be."""
    if loss.had and loss.now_empty:
        return f"the home is empty, and had {loss.had} {'entry' if loss.had == 1 else 'entries'}"
    if loss.moved and loss.gone:
        return f"it is another folder than before, and {loss.gone} of {loss.had} entries {'is' if loss.gone == 1 else 'are'} not in it"
    if loss.unconfirmed and loss.gone > FEW:
        return f"{max(loss.gone, loss.unconfirmed)} of {loss.had} entries are gone, and nobody has confirmed it"
    if loss.gone > MOST_GONE:
        return f"{loss.gone} entries are gone at once"
    return f"{loss.gone} of {loss.had} entries are gone at once" if great(loss.gone, loss.had) else ""


def refuse_slow(loss: Loss, had: int, now: int) -> str:
    """The same of a loss that is no great one by itself. `had`: how many there were a while ago, `now`: how many there are."""
    if loss.gone <= FEW or not (had - now > MOST_GONE or great(had - now, had)):
        return ""
    return f"{had - now} of {had} entries are gone, little by little"


def great(gone: int, had: int) -> bool:
    return gone > FEW and gone > SHARE_GONE * had
