"""What differs between two snapshots, name by name and without bound, for bringing a home from the one to the other; and how much a snapshot is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from dataclasses import dataclass, field

from ..model import NO_ID, Entry, Flag, Kind, Snapshot
from .diff import pairs, same_content
from .encoding import decode_extents
from .repository import Repository
from .snapshotter import home_entry
from .walk import entries_of, join

Pair = tuple[Entry | None, Entry | None]
Group = tuple[int, int, int, bytes]
"""What the names of one file have in common (restorer.py)."""


@dataclass(slots=True)
class Changes:
    of: dict[bytes, Pair] = field(default_factory=dict)
    """By path, before and after; of a folder that is new or gone also all that is in it."""

    def in_the_way(self) -> list[bytes]:
        """What has to go before something of another kind can be there, what is deepest first."""
        return [path for path in reversed(self.of) if self._flipped(path)]

    def gone(self) -> list[bytes]:
        """What is nowhere any more, what is deepest first."""
        return [path for path, (before, after) in reversed(self.of.items()) if before and not after and not self._flipped(path)]

    def left_behind(self, home: Entry) -> list[tuple[bytes, Entry]]:
        """The folders, as they are afterwards, from which something is gone: what is deepest first, and `home` itself last."""
        parents = {path.rpartition(b"/")[0] for path in self.gone()} - {b""}
        after = [(path, self.of[path][1]) for path in reversed(self.of) if path in parents]
        return [*((path, entry) for path, entry in after if entry and entry.kind == Kind.FOLDER), (b"", home)]

    def _flipped(self, path: bytes) -> bool:
        """It, or a folder above it, is of another kind afterwards, and one of the two kinds is a folder."""
        parts = path.split(b"/")
        above = [self.of.get(b"/".join(parts[:length]), (None, None)) for length in range(1, len(parts) + 1)]
        flipped = any(old and new and old.kind != new.kind and Kind.FOLDER in (old.kind, new.kind) for old, new in above)
        return flipped and self.of[path][0] is not None


async def changes(repository: Repository, before: Snapshot, after: Snapshot) -> Changes:
    """In the order of the walk: a folder before what is in it. The person's own ids do not count: they are others on the next box."""
    found = Changes()
    groups: set[Group] = set()
    async for path, old, new in walked(repository, before, after, everything=False):
        found.of[path] = (old, new)
        if new and new.flags & Flag.LINKED:
            groups.add(group(new))
    if groups:
        # A name more, or less: all names of that file are made anew, so that they are one file again.
        async for path, old, new in walked(repository, before, after, everything=True):
            if new and new.flags & Flag.LINKED and group(new) in groups:
                found.of.setdefault(path, (old, new))
                found.of = {folder: (None, None) for folder in above(path) if folder not in found.of} | found.of
    return found


def above(path: bytes) -> list[bytes]:
    """The folders on the way to it."""
    names = path.split(b"/")
    return [b"/".join(names[:length]) for length in range(1, len(names))]


def stored_size(entry: Entry) -> int:
    """Without holes, as far as that can be said without reading more."""
    if entry.payload[:1] != b"D":
        return entry.size
    return sum(extent.length for extent in decode_extents(entry.payload[1:]) if extent.id != NO_ID)


def group(entry: Entry) -> Group:
    return (entry.ino, entry.size, entry.mtime, entry.payload)


Named = tuple[bytes, Entry | None, Entry | None]


async def walked(repository: Repository, before: Snapshot, after: Snapshot, *, everything: bool) -> AsyncIterator[Named]:
    """Pairs that differ, or all."""
    old_home, new_home = await home_entry(repository, before), await home_entry(repository, after)
    assert old_home
    assert new_home
    stack: list[tuple[bytes, bytes, bytes]] = [(b"", old_home.payload, new_home.payload)]
    while stack:
        path, one, two = stack.pop()
        was = await entries_of(repository, one) if one else []
        now = await entries_of(repository, two) if two else []
        for old, new in pairs(was, now):
            some = new or old
            assert some
            where = join(path, some.name)
            trees = (tree(old), tree(new))
            if trees[0] != trees[1] or (everything and trees[1]):
                stack.append((where, *trees))
            if everything or trees[0] != trees[1] or not alike(neutral(old, old_home), neutral(new, new_home)):
                yield where, old, new


def tree(entry: Entry | None) -> bytes:
    """Empty for what is no folder."""
    return entry.payload if entry and entry.kind == Kind.FOLDER else b""


def neutral(entry: Entry | None, home: Entry) -> Entry | None:
    if entry is None:
        return None
    return entry._replace(uid=-1 if entry.uid == home.uid else entry.uid, gid=-1 if entry.gid == home.gid else entry.gid)


def alike(old: Entry | None, new: Entry | None) -> bool:
    return old is not None and new is not None and same_content(old, new) and (old.flags ^ new.flags) & Flag.LINKED == 0


async def weight(repository: Repository, snapshot: Snapshot, only: Container[bytes] | None = None) -> tuple[int, int]:
    """How many entries there are to bring, and how many bytes: of everything, or of `only` these paths. A file with several names counts once."""
    home = await home_entry(repository, snapshot)
    assert home
    entries = size = 0
    seen: set[Group] = set()
    stack = [(b"", home.payload)]
    while stack:
        path, payload = stack.pop()
        for entry in await entries_of(repository, payload):
            where = join(path, entry.name)
            if only is not None and where not in only:
                continue
            entries += 1
            if entry.kind == Kind.FOLDER:
                stack.append((where, entry.payload))
            elif entry.kind == Kind.FILE and not (entry.flags & Flag.LINKED and group(entry) in seen):
                seen |= {group(entry)} if entry.flags & Flag.LINKED else set()
                size += stored_size(entry)
    return entries, size
