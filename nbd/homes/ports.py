"""What the homes slice needs of the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from .keeping.dirt import DirtySet
from .model import Entry, HomeFacts, HomeNote, HomeRequest, KeyFacts, Seen, Xattrs
from .sizes.room import Space
from .sizes.usage import Here


class HomeFolders(Protocol):
    async def look(self, path: str) -> HomeFacts:
        """The folder's facts, following no link in its last part. Raises Deadline: a home may be on a server that is gone."""


class Stored(NamedTuple):
    key: str
    size: int


class Versioned(NamedTuple):
    """An object and what the store calls this version of it."""

    data: bytes
    version: str


class ObjectStore(Protocol):
    """Where objects of one home lie: a local folder, S3, Azure, GCS, under a prefix that this object knows.

    Keys are `a-z0-9./`. When a writing call returns, the object is durable and every later call of anybody sees it. A call may be made
    from several tasks at once, and may be repeated. Missing: NotFound(code=store_missing). Worth a retry: whatever says `retryable`
    (Unreachable, Deadline); a writing call that failed so may have taken effect. HostUnfit: the store is full, or denies; a person must act.
    """

    async def create(self, key: str, data: bytes) -> str | None:
        """Put if absent. Names follow from content, so an object that is there already is the same one: fine, and left alone unless it is
        damaged. Returns the new version; None if something was there."""

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        """Atomic: the old object or the new, at any moment. Only if the present version is `expected` (None: only if there is none);
        else Conflict(code=store_changed). Returns the new version."""

    async def fetch(self, key: str) -> Versioned:
        """The whole object."""

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """A range. Fewer bytes than asked, or none, mean that the object ends there."""

    async def list(self, prefix: str) -> list[Stored]:
        """All objects whose key begins so. May be stale on some stores: never the only ground for deleting anything."""

    async def delete(self, key: str) -> None:
        """Missing is fine."""


class Codec(Protocol):
    """Ids and seals of one home. Does no I/O; may be called from several threads. Types are one byte (docs/home-format.md)."""

    def identify(self, kind: bytes, content: bytes | memoryview) -> bytes:
        """The keyed id, 32 bytes."""

    def seal(self, kind: bytes, part: bytes, content: bytes | memoryview) -> bytes:
        """Compressed where it pays, encrypted, bound to type and id."""

    def open(self, kind: bytes, part: bytes, sealed: bytes, limit: int) -> bytes:
        """The content, at most `limit` bytes, proven to be what was sealed under this type and id. Raises Damaged."""

    def digest(self, data: bytes) -> bytes:
        """The public name of a pack."""

    def cut(self, window: memoryview) -> int:
        """Length of the first content-defined chunk."""

    def random(self, size: int) -> bytes:
        """Unpredictable bytes."""


class Shelf(Protocol):
    """Copies of what is in the stores, kept on this box. It may forget, lose or damage anything at any moment, and says so to nobody: whoever
    reads proves what comes back, and has the store for what does not. Nothing that is only here is safe. Never raises."""

    async def blobs(self, parts: Sequence[bytes]) -> dict[bytes, bytes]:
        """What is there of these."""

    async def keep_blobs(self, blobs: Mapping[bytes, bytes]) -> None:
        """Bounded: the oldest go."""

    async def kept(self, home: str, key: str) -> bytes | None: ...

    async def keep_objects(self, home: str, new: Mapping[str, bytes], others: Collection[str]) -> None:
        """All at once. What was there of this home, is not new and not among the `others`, goes."""


class Spool(Protocol):
    """Stores on this box, for homes whose own is away. All together they are bounded: what does not fit raises HostUnfit(code=spool_full)."""

    def store(self, person: str) -> ObjectStore:
        """The same one each time."""

    async def people(self) -> list[str]:
        """For whom there is one; there may be nothing in it."""

    async def clear(self, person: str, first: str) -> None:
        """Deletes everything of one; the `first` key durably so, before the others."""


class KeyRing(Protocol):
    """Holds the master key."""

    def new_home(self) -> bytes:
        """A config object with a new home key."""

    def open_home(self, config: bytes) -> Codec:
        """Raises Damaged for a config that was altered, Refused(code=wrong_key) where another master key wrapped it."""

    def rewrap(self, config: bytes) -> bytes:
        """The same home key under the newest master key alone. Raises as `open_home`."""


class KeyShelf(Protocol):
    """Where the master key lies. The key ring of the vault follows what is done here."""

    def facts(self) -> KeyFacts: ...

    async def begin(self) -> None:
        """A new key wraps from now on, the former one unwraps still. Where that is so already, nothing is done. Raises Refused(key_elsewhere)
        for a key that is not nbd's to replace, HostUnfit."""

    async def finish(self) -> None:
        """Nothing is under the former key any more."""


class Sequences(Protocol):
    """The highest sequence of each person's pointer that this box has seen: kept on the box, where who writes to the store cannot reach."""

    async def people(self) -> list[str]:
        """Of whom one was noted."""

    async def highest(self, person: str) -> int: ...

    async def note(self, person: str, sequence: int) -> None:
        """Durable when it returns; less than was noted before changes nothing."""


class Notes(Protocol):
    """What this box keeps of each person's home. Raises StateUnusable for a note that cannot be read: nothing is guessed."""

    async def people(self) -> list[str]:
        """Of whom there is a note."""

    async def read(self, person: str) -> HomeNote:
        """An empty one where there is none."""

    async def change(self, person: str, **values: Any) -> HomeNote:
        """The note with these fields changed; durable when it returns. Two at once lose nothing of each other's."""


class Sifted(NamedTuple):
    """What is known of a folder, after it was compared with what is there."""

    others: dict[bytes, Entry]
    """The known entries for which stat cannot vouch: folders, and what was not read whole."""
    missing: frozenset[bytes]
    """Names for which it could have, and that are not there, or no longer just so."""


class Timetable(Protocol):
    def every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        """Call it about so often, never beside itself; what was missed (a busy or a suspended machine) is made up for once. What it raises is
        logged, and it is called again all the same."""

    async def close(self) -> None:
        """No more calls; one under way is cancelled."""


class Listing(NamedTuple):
    """A folder as it was at one moment. `trouble`: why it could not be read; neither `folder` nor `trouble`: there is no such folder (any more).

    With `sifted`, `entries` lacks the names that are just as the known folder says."""

    folder: Seen | None
    xattrs: Xattrs = ()
    entries: tuple[Seen, ...] = ()
    settled: bool = True
    trouble: str = ""
    sifted: Sifted | None = None


class Reading(NamedTuple):
    """One name, read whole. `data` is the content of a file or the target of a link; `segments` are its regions that are not holes.

    `seen` None: gone. `settled` False: the times cannot vouch for this content next time. `trouble`: why it could not be read.
    """

    seen: Seen | None
    data: bytes = b""
    segments: tuple[tuple[int, int], ...] = ()
    xattrs: Xattrs = ()
    settled: bool = True
    trouble: str = ""


class LargeFile(Protocol):
    """A file too large for one go, held open. `opened` has no data."""

    opened: Reading

    async def read(self, offset: int, length: int) -> bytes: ...

    async def proven(self, offset: int, lengths: Sequence[int], proves: Callable[[int, memoryview], bool]) -> int:
        """How many of these regions, one behind the other from `offset`, pass. `proves` gets the number of a region and its bytes, in a thread,
        and must not keep them."""

    async def finish(self) -> Reading | None:
        """Closes it. None: it changed meanwhile, and what was read is worth nothing."""


class OpenHome(Protocol):
    """A home held by a descriptor of its root. Follows no link, crosses no mount, reads nothing of another owner.

    Paths are relative to the home, `b""` is the home itself. Trouble with one name is a value; what is raised concerns the whole home:
    HostUnfit, Deadline.
    """

    async def look(self, folders: Sequence[tuple[bytes, bool]]) -> list[Listing]:
        """Each folder, with its entries if the flag says so."""

    async def sift(self, folders: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Listing]:
        """Each folder, compared with the `E` blobs of its stored tree."""

    async def read(self, folder: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        """Small files whole, links, xattrs of everything. Never a torn file: what keeps changing comes back with trouble."""

    async def open_large(self, folder: bytes, wanted: Seen) -> LargeFile | Reading:
        """A Reading where it is gone, or trouble."""

    async def close(self) -> None: ...


class Homes(Protocol):
    async def open(self, path: str, owner: int | None) -> OpenHome:
        """Raises Refused(code=home_missing) if there is no such folder, or not `owner`'s."""


class SizedHome(Protocol):
    """A home whose folders are weighed: held by a descriptor of its root, no link followed, no mount crossed, no file opened."""

    async def visit(self, folders: Sequence[bytes]) -> list[Here]:
        """Each folder, by its path below the home. What cannot be looked into, or is another's, is a value too. Raises Deadline."""

    async def close(self) -> None: ...


class Sizes(Protocol):
    """Both raise Refused(code=home_missing) if there is no such folder, or not `owner`'s; Deadline."""

    async def space(self, path: str, owner: int | None) -> Space: ...

    async def open(self, path: str, owner: int | None) -> SizedHome: ...


class Ignores(Protocol):
    """What does not belong in a snapshot."""

    digest: str
    """Changes with the rules."""
    trouble: str
    """What of the text they were made of is left out, and why; empty for nothing."""

    def ignored(self, path: bytes, *, folder: bool) -> bool: ...

    def rule(self, path: bytes, *, folder: bool) -> str:
        """The line that leaves it out; empty where none does."""


class Piece(NamedTuple):
    offset: int
    data: bytes


class Thing(NamedTuple):
    """What stands under a name, as far as it matters whether it is still the same."""

    kind: int
    ino: int
    ctime: int


class Writing(NamedTuple):
    """One name to be written. `pieces` are what is not a hole; for a link, its target is the entry's payload."""

    entry: Entry
    pieces: tuple[Piece, ...] = ()


class NewFile(Protocol):
    """A large file, written aside until `finish` gives it its name. Raises OSError for a reason of its own. Ends with `finish` or `abandon`."""

    async def write(self, pieces: Sequence[Piece]) -> None: ...

    async def finish(self) -> None: ...

    async def abandon(self) -> None: ...


class Target(Protocol):
    """A folder into which is restored, held by a descriptor. Follows no link, writes nothing above it, makes no device and no setuid file.

    What cannot be written for a reason of its own comes back as that reason, empty for done; what is in the way and of another kind is left
    alone. Raises HostUnfit(code=no_space): nothing more can be written. Every call may be repeated.
    """

    async def make(self, folders: Sequence[bytes]) -> list[str]:
        """The folders, in this order, open to their owner until `dress`."""

    async def missing(self, names: Sequence[tuple[bytes, Entry]]) -> list[bool]:
        """Which (folder, entry) are not there yet just as they should be, by kind, size, time and mode; for a folder, by kind."""

    async def standing(self, names: Sequence[tuple[bytes, bytes]]) -> list[Thing | None]:
        """What is there now under each (folder, name); None for nothing."""

    async def clear(self, names: Sequence[tuple[bytes, bytes, Thing]]) -> list[str]:
        """Each (folder, name) that is still that very thing; a folder only if nothing is in it any more, which is no trouble."""

    async def write(self, writings: Sequence[tuple[bytes, Writing]]) -> list[str]:
        """Each, in its folder, complete under its name, or not at all."""

    async def begin(self, folder: bytes, entry: Entry) -> NewFile: ...

    async def link(self, source: bytes, target: bytes) -> str:
        """A second name for a file that was restored."""

    async def dress(self, folders: Sequence[tuple[bytes, Entry]]) -> list[str]:
        """Modes, attributes and times of folders, in this order; the last thing done to each."""

    async def flush(self) -> None:
        """All that was written is on the disk when this returns. Raises OSError where the disk says otherwise."""


class Watch(Protocol):
    """What tells of the changes in one home while it is kept. It is a hint: a look at everything stays the proof."""

    name: str
    whole: bool
    """Whether it tells of every change. Of a home on another machine's disk it does not: who works there is not seen here."""

    def told(self) -> float:
        """All that changed before this moment (of `time.monotonic`) has been marked."""

    def lost(self) -> str:
        """Why it tells nothing any more; empty while it does. What it may have missed was marked before this is said."""

    async def sound(self) -> str:
        """Looks whether what it watches is still what stands at the home's path; why not, else empty."""

    async def close(self) -> None: ...


class ChangeSource(Protocol):
    name: str

    @property
    def turn(self) -> int:
        """Another number: a try that failed may go well now."""

    async def watch(self, home: HomeRequest, dirt: DirtySet, hidden: Callable[[bytes], bool]) -> Watch:
        """From its return on every change in the home marks its folder in `dirt`, from any thread and a moment later; what it cannot know marks
        everything. `hidden` says which folders do not matter. Raises HostUnfit(code=no_events) where this host, or this home's disk, has no such
        source, and says why; Refused(home_missing); Deadline."""
