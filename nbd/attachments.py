"""What travels of attached data between core, its clients and sync's answers: as in messages.py, field names are the API's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .messages import Unkept


@dataclass(frozen=True, slots=True)
class AttachedAt:
    """What one run of a notebook sees: which folder, where."""

    id: str
    path: str
    writable: bool


@dataclass(frozen=True, slots=True)
class AttachedView:
    """One folder of attached data, as it is kept."""

    id: str
    url: str
    writable: bool
    shared: bool
    """One copy for everybody; else this person's own."""
    used: bool
    sentence: str
    hint: str
    places: tuple[str, ...] = ()
    """Where it is seen now: "main:/data"."""
    synced: float | None = None
    """Both sides were in step then; None while that is not known."""
    files: int = 0
    bytes: int = 0
    pending: int = 0
    """So many changes of this box are not in the bucket yet."""
    conflicts: tuple[str, ...] = ()
    """Second versions that somebody should look at, and delete or rename."""
    withheld: str = ""
    """Why deletions wait for the person's word; empty where nothing waits for that."""
    trouble: str = ""
    since: float | None = None
    """Since when there is trouble."""
    left: tuple[Unkept, ...] = ()
    """The first of what is not carried."""
    left_count: int = 0


@dataclass(frozen=True, slots=True)
class BringView:
    """How far the first sync of one folder is; the last has `done`."""

    done: bool
    files: int = 0
    bytes: int = 0
    total_files: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Entrusted:
    """A person's own keys for a bucket. On a socket alone, never kept by core, never shown."""

    url: str
    options: Mapping[str, str] = field(repr=False)
    """Empty: forget them."""
