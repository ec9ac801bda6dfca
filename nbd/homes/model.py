"""The nouns of homes: what is asked and known of one, what its tree is made of, what is kept in the store (docs/home-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from ..errors import InvalidInput

FORMAT = 1
NO_ID = bytes(32)
MIN_CHUNK, AVG_CHUNK, MAX_CHUNK = 256 << 10, 512 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class HomeRequest:
    """Whose home, and where it should be."""

    person: str
    uid: int
    path: str


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """What the folder is, read without following a link."""

    exists: bool
    is_folder: bool = False
    owner_uid: int = -1
    free_bytes: int = 0
    total_bytes: int = 0
    mounted: bool = False
    """A file system of its own begins here."""
    inode: int = 0


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The master key, in words that may be told."""

    file: str
    name: str
    rotating: bool


@dataclass(frozen=True, slots=True)
class HomeReady:
    """`bring`: why the home has to be brought to its newest snapshot before a notebook may start in it; empty when it need not."""

    path: str
    free_bytes: int
    total_bytes: int
    bring: str = ""


@dataclass(frozen=True, slots=True)
class Owed:
    """A look at everything that a home is owed, and what was asked for by name."""

    uid: int
    path: str
    event: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class HomeNote:
    """What this box must not forget of a person's home: kept on the box, durable before anything is done that follows from it."""

    bringing: str = ""
    """This snapshot is being brought here. While that is so the home is half: nothing is recorded of it, and it is brought to its end first."""
    base: str = ""
    """The snapshot that the home was before: what differs from it is brought. Empty: everything is."""
    brought: str = ""
    """The snapshot that was brought here last."""
    accepted: int = 0
    """The inode of the home that is as it should be, whatever the last snapshot had: the next look records it so. 0: nobody said so."""
    told: str = ""
    """The newest snapshot of another box of which the person was told, and which is kept."""
    parted: str = ""
    """The same, while it is worth telling."""
    held: str = ""
    """The same, once it has a name by which it is kept."""
    mounted: bool = False
    """A file system of its own began at the home when it was last used here."""
    known: int = 0
    """Since when this box looks after it; nanoseconds since 1970, as the next three."""
    pruned: int = 0
    """When what the retention does not keep was dropped last."""
    dropped: int = 0
    """How many snapshots that was, in all."""
    sampled: int = 0
    proven: int = 0
    """When a part, and when all of what is kept was last read and found to be what was stored, or not."""
    damages: tuple[str, ...] = ()
    """What the last of those found; empty for nothing."""
    owed: Owed | None = None
    """Somebody works in it, or did, and not all of it is known to be in the store. None: all is."""


class Kind(IntEnum):
    """What an entry is: the byte in the tree."""

    FILE = ord("f")
    FOLDER = ord("d")
    LINK = ord("l")
    PIPE = ord("p")
    SOCKET = ord("s")
    CHARACTER = ord("c")
    BLOCK = ord("b")
    SKIPPED = ord("x")


class Flag(IntFlag):
    UNSETTLED = 1
    """Read so soon after its last change that its times cannot vouch for it."""
    LINKED = 2
    STALE = 4
    """Could not be read now; this is the last good reading."""


Xattrs = tuple[tuple[bytes, bytes], ...]


class Seen(NamedTuple):
    """What stat says of a name. A NamedTuple, like Entry, because a home has a million of them."""

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    ctime: int
    ino: int
    nlink: int
    device: int = 0


class Entry(NamedTuple):
    """One name in a stored folder. `payload` means what its kind says it means (docs/home-format.md)."""

    name: bytes
    kind: int
    flags: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    ctime: int
    ino: int
    payload: bytes
    xattrs: Xattrs = ()


class Extent(NamedTuple):
    """So many bytes of a file: a data blob, or a hole where `id` is NO_ID."""

    length: int
    id: bytes


class Place(NamedTuple):
    """Where a blob lies."""

    id: bytes
    type: bytes
    pack: bytes
    offset: int
    sealed: int
    content: int


@dataclass(frozen=True, slots=True)
class Skipped:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A home at a moment, complete and immutable. `event` is what it is tied to: save, stop, freeze …; a `name` keeps it for ever."""

    format: int
    time: int
    name: str
    event: str
    tree: str
    parent: str
    entries: int
    stored: int
    rules: str
    skipped: tuple[Skipped, ...] = ()
    skipped_count: int = 0
    withheld: int = 0
    box: str = ""
    """Of which box's home it is; empty where that was not noted yet."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A snapshot as the pointer names it."""

    id: str
    time: int
    name: str
    event: str
    box: str = ""


@dataclass(frozen=True, slots=True)
class Doomed:
    """An object that nothing names any more, since when."""

    key: str
    since: int


@dataclass(frozen=True, slots=True)
class DoomedList:
    format: int
    salt: str
    objects: tuple[Doomed, ...] = ()


@dataclass(frozen=True, slots=True)
class Root:
    """The pointer: only what it names exists."""

    format: int
    sequence: int
    swept: int
    indexes: tuple[str, ...] = ()
    snapshots: tuple[Listed, ...] = ()
    doomed: str = ""

    def newest(self) -> Listed | None:
        return max(self.snapshots, key=lambda listed: listed.time, default=None)


def checked_name(name: bytes) -> bytes:
    """Raises InvalidInput for what cannot be one name in a folder."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise InvalidInput(f"{name!r} cannot be a name in a folder")
    return name
