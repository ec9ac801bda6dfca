"""Is a home, name by name, still what a snapshot has? A look at everything, that reads no file: times, sizes and inodes vouch."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Entry, Kind, Snapshot
from ..ports import Ignores, Listing, OpenHome
from ..snapshots.contents import shown
from ..snapshots.diff import untouched
from ..snapshots.repository import Repository
from ..snapshots.snapshotter import home_entry
from ..snapshots.walk import entries_of, join

AT_ONCE = 32
Folder = tuple[bytes, Entry]


async def changed_since(repository: Repository, snapshot: Snapshot, home: OpenHome, ignores: Ignores) -> str:
    """The first path found to be otherwise, in words; empty where there is none. Only of a snapshot that was taken of this very home: on another
    box every inode is another."""
    if snapshot.rules != ignores.digest:
        return "what is left out of its snapshots"
    top = await home_entry(repository, snapshot)
    assert top
    stack: list[Folder] = [(b"", top)]
    while stack:
        some, stack = stack[-AT_ONCE:], stack[:-AT_ONCE]
        listings = await home.look([(path, True) for path, _ in some])
        for (path, entry), listing in zip(some, listings, strict=True):
            old = {one.name: one for one in await entries_of(repository, entry.payload)}
            found = list(compared(path, entry, listing, old, ignores))
            if found and isinstance(found[-1], str):
                return found[-1]
            stack += [one for one in found if not isinstance(one, str)]
    return ""


def compared(path: bytes, entry: Entry, listing: Listing, old: dict[bytes, Entry], ignores: Ignores) -> Iterator[Folder | str]:
    """The folders below; last, what is otherwise, if anything is. A folder's own times do not count: what is left out may have come or gone."""
    if listing.folder is None or listing.folder.mode != entry.mode:
        yield shown(path) or "the home itself"
        return
    for seen in listing.entries:
        where = join(path, seen.name)
        before = old.pop(seen.name, None)
        if before is None and ignores.ignored(where, folder=seen.kind == Kind.FOLDER):
            continue
        if before is not None and before.kind == Kind.SKIPPED:
            continue
        if before is not None and before.kind == seen.kind == Kind.FOLDER:
            yield where, before
        elif not untouched(before, seen):
            yield shown(where)
            return
    if old:
        yield shown(join(path, min(old)))
