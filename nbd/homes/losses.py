"""What a confirmation would let go of: what the newest snapshot has and the home has not."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import Entry, Kind, Seen
from .ports import Listing, OpenHome
from .snapshots.diff import Mark, mark
from .snapshots.repository import Repository
from .snapshots.walk import entries_of, join

AT_ONCE = 32
MOST_FOLDERS = 100_000
MOST = 10_000
Pair = tuple[bytes, bytes]
"""A folder's path, and its tree."""


@dataclass(slots=True)
class Losses:
    gone: list[tuple[bytes, Entry]] = field(default_factory=list)
    """By path. What is below a folder that is gone is not named again."""
    whole: bool = True
    """False: it was too much to be looked at."""

    @property
    def entries(self) -> int:
        return sum(1 + (entry.size if entry.kind == Kind.FOLDER else 0) for _, entry in self.gone)


async def losses(repository: Repository, home: OpenHome, tree: bytes) -> Losses:
    """`tree` is the home's own. What came back under another name is not lost."""
    found, came = Losses(), dict[Mark, bytes]()
    todo: list[Pair] = [(b"", tree)]
    looked = 0
    while todo and looked < MOST_FOLDERS and len(found.gone) < MOST:
        todo, some = todo[:-AT_ONCE], todo[-AT_ONCE:]
        looked += len(some)
        listings = await home.look([(path, True) for path, _ in some])
        for (path, part), listing in zip(some, listings, strict=True):
            entries = await entries_of(repository, part)
            todo += compared(path, entries, listing, found)
            names = {entry.name for entry in entries}
            came |= {mark(seen): join(path, seen.name) for seen in listing.entries if seen.name not in names}
    found.whole = not todo
    moved = [await moved_to(repository, home, entry, came.get(mark(entry))) for _, entry in found.gone]
    found.gone = sorted(one for one, elsewhere in zip(found.gone, moved, strict=True) if not elsewhere)
    return found


async def moved_to(repository: Repository, home: OpenHome, entry: Entry, path: bytes | None) -> bool:
    """Whether it is at `path` now: a folder is the one it was if something that was in it still is."""
    if path is None or entry.kind != Kind.FOLDER:
        return path is not None
    before = {mark(one) for one in await entries_of(repository, entry.payload)}
    (listing,) = await home.look([(path, True)])
    return not before or any(mark(seen) in before for seen in listing.entries)


def compared(path: bytes, entries: list[Entry], listing: Listing, found: Losses) -> list[Pair]:
    """Notes what is gone from a folder; returns the folders to go on with. One that cannot be read is not called empty."""
    if listing.folder is None and listing.trouble:
        return []
    there = {seen.name: seen for seen in listing.entries}
    found.gone += [(join(path, entry.name), entry) for entry in entries if entry.kind != Kind.SKIPPED and lacks(there, entry)]
    return [(join(path, entry.name), entry.payload) for entry in entries if entry.kind == Kind.FOLDER and still(there.get(entry.name))]


def lacks(there: dict[bytes, Seen], entry: Entry) -> bool:
    """Also a folder in whose place is something else."""
    return entry.name not in there or (entry.kind == Kind.FOLDER and not still(there[entry.name]))


def still(seen: Seen | None) -> bool:
    return seen is not None and seen.kind == Kind.FOLDER

