"""What travels about homes: how each is kept, what is kept of it, what takes the room, getting something back. A part of messages.py, which names
all of it again: whoever wants a message imports it from there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unkept:
    """A path that could not be kept or restored, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoomView:
    """How full a home is, by the limit that binds most."""

    level: str
    """fine; warn: 80 % are used; loud: 90 %, or the disk is nearly full; over: nothing more fits, or no notebook starts any more."""
    kind: str
    """quota: the admin's, against what was measured; project quota: the file system's; disk: there is no other limit."""
    used: int | None
    """Bytes of the home; None while that is not known."""
    limit: int
    free: int
    """On its file system, for this home."""
    sentence: str
    hint: str = ""
    refuses: bool = False
    """No notebook starts in it until there is room."""


@dataclass(frozen=True, slots=True)
class Saving:
    """A look under way: so many bytes of so many are in the store. The total grows while more is found."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class UnsavedView:
    """What changed in the home and is not in the store yet."""

    since: float | None
    """The first of it; None where that is not known."""
    folders: int
    """In so many something changed; 0: it is not known where, and all are looked at."""
    files: int | None = None
    """Changed, and there now; None where there are too many to count at once."""
    bytes: int = 0
    """The size of these files."""


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Snapshots that are on this box alone, because the store is away."""

    bytes: int
    snapshots: int
    since: float | None
    """The time of the oldest."""
    trouble: str
    """Why they do not get into the store, when that was last tried."""


@dataclass(frozen=True, slots=True)
class HomeView:
    """How a person's home is kept."""

    path: str
    watched: bool
    """A notebook runs in it, so it is looked at again and again."""
    protected: float | None
    """Everything saved before this moment is in the store; None while that is not known."""
    store: str
    """Where; without secrets."""
    sentence: str
    hint: str
    trouble: str = ""
    """Why the last look did not end well; empty when it did."""
    since: float | None = None
    """Since when there is trouble."""
    pending: tuple[str, ...] = ()
    """Snapshots that were asked for and are not in the store yet: "stop main"."""
    unkept: tuple[Unkept, ...] = ()
    """The first of what is in the home and cannot be kept."""
    unkept_count: int = 0
    room: RoomView | None = None
    """None where it cannot be known now."""
    withheld: str = ""
    """Why what is gone from the home stays in its snapshots until the person confirms; empty where nothing waits for that."""
    alarms: tuple[str, ...] = ()
    """What else a person has to know of, each a sentence with its next step."""
    saving: Saving | None = None
    """While changes are on their way to the store."""
    unsaved: UnsavedView | None = None
    """None: nothing changed since `protected` that is known of."""
    source: str = ""
    """What tells of changes while a notebook runs: fanotify, inotify; or looks: nothing does, and all of the home is looked at now and then."""
    source_why: str = ""
    """Why nothing better does; empty for the best."""
    proved: float | None = None
    """When the last look at everything began, which finds what was missed."""
    waiting: WaitingView | None = None
    """What is in the spool on this box and not in the store yet; what is in it is newer than `protected`."""


@dataclass(frozen=True, slots=True)
class GoneView:
    path: str
    kind: str
    entries: int
    """1, and for a folder what was below it."""


@dataclass(frozen=True, slots=True)
class LossView:
    """What the newest snapshot has and the home has not: what a confirmation lets go of."""

    entries: int
    gone: tuple[GoneView, ...]
    """The first of them. What is below a folder that is gone is not told again."""
    whole: bool = True
    """False: there may be more."""


@dataclass(frozen=True, slots=True)
class FolderUseView:
    path: str
    bytes: int
    """On the disk, with all that is below."""
    files: int
    excluded: int
    """Bytes of it that are not in snapshots."""


@dataclass(frozen=True, slots=True)
class ExcludedView:
    path: str
    rule: str
    """The line that leaves it out: nbd's own, or of the person's .nbdignore."""
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class RuleView:
    rule: str
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class CulpritView:
    """What usually takes room and need not."""

    title: str
    place: str
    """Empty where there are many places."""
    bytes: int
    advice: str
    command: str
    """Frees it, typed by the person. nbd never does."""


@dataclass(frozen=True, slots=True)
class UsageView:
    """What a home takes, and what of it is kept. All but `room` is of the moment `measured`."""

    path: str
    measured: float | None
    """None: it was not weighed yet."""
    measuring: bool
    bytes: int = 0
    files: int = 0
    excluded_bytes: int = 0
    excluded_files: int = 0
    unseen: int = 0
    """Folders that could not be looked into: another's, or of another file system."""
    whole: bool = True
    """False: there is more than was counted."""
    folders: tuple[FolderUseView, ...] = ()
    """The largest, by path."""
    excluded: tuple[ExcludedView, ...] = ()
    """The largest of what is not in snapshots."""
    rules: tuple[RuleView, ...] = ()
    culprits: tuple[CulpritView, ...] = ()
    snapshots: int | None = None
    """None where the store cannot say now."""
    stored: int | None = None
    """Bytes in the store, all snapshots together."""
    cost: str = ""
    room: RoomView | None = None
    trouble: str = ""
    """Why it could not be weighed."""


@dataclass(frozen=True, slots=True)
class SnapshotView:
    id: str
    time: float
    event: str
    """What it is tied to: save, stop, confirm."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class EntryView:
    name: str
    kind: str
    """file, folder, link, pipe, socket, character, block; or skipped: named, and not kept."""
    mode: int
    size: int
    """Of a folder, how many entries are below it."""
    modified: float
    note: str = ""
    """Where a link leads; why something was not kept."""
    quoted: str = ""
    """The name percent-encoded, where it is not plain UTF-8: so it is asked for. Else empty."""


@dataclass(frozen=True, slots=True)
class DifferenceView:
    change: str
    """added, deleted, changed, renamed"""
    path: str
    source: str = ""
    """Where a renamed one was before."""
    kind: str = ""
    """What it is, or was, as in an entry."""
    before: int | None = None
    """The size it had; None for what was added."""
    after: int | None = None
    quoted: str = ""
    """The path percent-encoded, where it is not plain UTF-8; else empty."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    path: str = ""
    """In the home; empty for all of it."""
    snapshot: str = ""
    """The beginning of an id. Neither this nor `at`: the newest one that has the path."""
    at: float | None = None
    """The newest one that is not younger."""
    to: str = ""
    """The folder to restore into, where what is in the way is replaced; empty: a new one in the home."""


@dataclass(frozen=True, slots=True)
class RestoreView:
    """Where a restore is; the last has `done`."""

    done: bool
    to: str
    snapshot: SnapshotView
    entries: int = 0
    bytes: int = 0
    already: int = 0
    """Were there just so."""
    skipped: tuple[Unkept, ...] = ()
    damaged: tuple[Unkept, ...] = ()
    total: int = 0
    """So many entries there are to be restored; 0 while that is not known."""
    total_bytes: int = 0
    already_bytes: int = 0
    waiting: int = 0
    """So many restores of others have to end before this one begins."""


@dataclass(frozen=True, slots=True)
class TextView:
    """The text of a file of a snapshot: its beginning, where it is long."""

    path: str
    snapshot: SnapshotView
    size: int
    modified: float
    text: str
    cut: bool = False
    why_not: str = ""
    """Why there is no text: it is none, it is too large."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """One state of a path, and the newest snapshot that has it so."""

    snapshot: SnapshotView
    first: SnapshotView
    """The oldest snapshot that has it so, without another state between."""
    kind: str
    """As in an entry; empty: it was not there."""
    size: int = 0
    modified: float = 0.0


@dataclass(frozen=True, slots=True)
class VerifyView:
    good: bool
    snapshots: int
    objects: int
    bytes: int
    damages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """Files of kept snapshots that cannot be restored."""
