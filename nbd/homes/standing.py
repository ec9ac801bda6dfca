"""Where does a home stand against its snapshots before a notebook starts in it, and what follows? Pure.

`head` is the last snapshot that this box's home was equal to: taken here, or brought here. If the newest one is another, another box has worked in
this home since. The home is brought to the newest only where nothing of it can be lost by that: nobody has worked in it here (FILL), or it is,
proven by a look, still `head` (FORWARD). Otherwise both are kept, and the person is told (PARTED).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from .model import Listed, Root


class Move(StrEnum):
    NONE = "none"
    FILL = "fill"
    """Bring everything that is not there; leave what is."""
    PROVE = "prove"
    """Look whether the home is still `head`, and ask again."""
    FORWARD = "forward"
    """Bring what differs between `head` and the newest."""
    PARTED = "parted"
    """Both have what the other has not: the home stays, the other's snapshot is kept."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    worked_in: str
    """The sign that somebody has worked in it (fitness.py), empty for none."""
    head: Listed | None = None
    newest: Listed | None = None
    told: bool = False
    """The person was told of the newest: it is another box's, and not in this home."""
    covered: bool = False
    """Everything at the top of the newest is in the home under its name."""
    unchanged: bool | None = None
    """The home is `head`; None: not looked yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    move: Move
    reason: str


def verdict(now: Circumstances) -> Verdict:
    newest, head = now.newest, now.head
    if newest is None:
        return Verdict(Move.NONE, "it has no snapshots yet")
    if not now.worked_in:
        if now.covered:
            return Verdict(Move.NONE, "all that its newest snapshot has is there")
        return Verdict(Move.FILL, "nobody has worked in it here, and it has snapshots")
    if now.told:
        return Verdict(Move.NONE, "it is kept beside what another box has, and the person knows")
    if head is None:
        return Verdict(Move.PARTED, f"{now.worked_in}, and its snapshots are of another box")
    if head.id == newest.id:
        return Verdict(Move.NONE, "nobody has worked in it elsewhere")
    if now.unchanged is None:
        return Verdict(Move.PROVE, "another box has worked in it since this one did")
    if now.unchanged:
        return Verdict(Move.FORWARD, "it is as this box last kept it, and another box has worked in it since")
    return Verdict(Move.PARTED, "another box has worked in it, and so has somebody here")


def stranger(root: Root, box: str, known: Collection[str]) -> Listed | None:
    """Another box's newest snapshot, unless it is among the `known`: brought here, or told of."""
    newest = max((one for one in root.snapshots if one.box not in (box, "")), key=lambda one: one.time, default=None)
    return None if newest is None or newest.id in known else newest


def head_of(root: Root, box: str, brought: str) -> Listed | None:
    """The newest snapshot that was taken on this box or brought to it."""
    return max((one for one in root.snapshots if one.box in (box, "") or one.id == brought), key=lambda one: one.time, default=None)
