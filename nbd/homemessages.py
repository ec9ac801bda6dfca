"""What travels about the care of homes: how each stands, what happened to it, what a prune would drop. A part of messages.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .messages import SnapshotView
from .storemessages import TrafficView


@dataclass(frozen=True, slots=True)
class HomeBrief:
    """How a home stands, in as few words as core needs to tell its person, and the admin's metrics."""

    person: str
    watched: bool = False
    protected: float | None = None
    """As in HomeView."""
    trouble: str = ""
    since: float | None = None
    pending: tuple[str, ...] = ()
    unsaved_bytes: int = 0
    """Changed, and not in the store yet, as far as that was counted."""
    spooled_bytes: int = 0
    """In the spool on this box, and not in the store yet."""
    withheld: str = ""
    half: bool = False
    """It was brought here in part only."""
    brought: str = ""
    """The snapshot that it was brought to last."""
    alarms: tuple[str, ...] = ()
    pruned: float | None = None
    dropped: int = 0
    """So many snapshots the retention has dropped on this box, ever."""
    verified: float | None = None
    """When what is kept was last read and compared, a part or all of it."""
    damages: tuple[str, ...] = ()
    """What that found; empty for nothing."""


@dataclass(frozen=True, slots=True)
class HomesBrief:
    homes: tuple[HomeBrief, ...] = ()
    store: tuple[TrafficView, ...] = ()
    """What was asked of the store since sync came up, by kind of request."""


class HomeEventKind(StrEnum):
    PROTECTED = "protected"
    TROUBLE = "trouble"
    WAITING = "waiting"
    WITHHELD = "withheld"
    RESTORED = "restored"
    HALF = "half"
    ALARM = "alarm"
    PRUNED = "pruned"
    DAMAGED = "damaged"
    WHOLE = "whole"
    """What was damaged is so no more."""


@dataclass(frozen=True, slots=True)
class HomeEvent:
    """Something that happened to a person's home, as it is told to them."""

    kind: HomeEventKind
    person: str
    text: str
    time: float


@dataclass(frozen=True, slots=True)
class PruneRequest:
    dry_run: bool = False
    user: str = ""
    """Whose; empty for one's own. Another's is for admins."""


@dataclass(frozen=True, slots=True)
class KeptView:
    snapshot: SnapshotView
    reasons: tuple[str, ...]
    """Why the retention keeps it; empty: it goes."""


@dataclass(frozen=True, slots=True)
class PruneView:
    """What a prune did, or would do."""

    person: str
    done: bool
    snapshots: tuple[KeptView, ...]
    """All of them, newest first."""
    freed_bytes: int
    """What nothing needs any more: it is deleted a day after it was seen to be so."""
    deleted: int
    """Objects deleted now."""


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    snapshot: str
    """The beginning of its id."""
