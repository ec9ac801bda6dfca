"""Walks a home against its last tree and makes the new one.

Everything is looked at, or, with dirty folders given, these and the way to them. A folder whose own times changed without being reported
is listed all the same. Folders are entered from a stack: a home may be deeper than Python recurses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .contents import Contents, entry_of
from .diff import untouched
from .encoding import decode_entries, decode_parts, encode_part, encode_parts, split_entries
from .guards import MARKER, Loss
from .model import Entry, Flag, Kind, Seen
from .packer import Packer
from .ports import Ignores, Listing, OpenHome, Reading
from .repository import Repository

AHEAD = 32
HOME = b"home"


@dataclass(slots=True)
class Dirty:
    """What to look at: the folder itself, and some below."""

    here: bool = False
    below: dict[bytes, Dirty] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Iterable[bytes]) -> Dirty:
        top = cls()
        for path in folders:
            node = top
            for name in path.split(b"/") if path else ():
                node = node.below.setdefault(name, cls())
            node.here = True
        return top


@dataclass(slots=True)
class Todo:
    """A folder still to be entered. `dirty` None: everything below is looked at."""

    path: bytes
    name: bytes
    was: Entry | None
    dirty: Dirty | None
    seen: Seen | None = None

    @property
    def listed(self) -> bool:
        return self.dirty is None or self.dirty.here or self.was is None


@dataclass(slots=True)
class Frame:
    todo: Todo
    listing: Listing
    old: dict[bytes, Entry]
    partial: bool = False
    entries: list[Entry] = field(default_factory=list)
    waiting: list[Todo] = field(default_factory=list)
    ahead: dict[bytes, Listing] = field(default_factory=dict)
    ignored: set[bytes] = field(default_factory=set)
    settled: bool = True


class Walk:
    def __init__(self, repository: Repository, home: OpenHome, packer: Packer, ignores: Ignores) -> None:
        self._repository, self._home, self._packer, self._ignores = repository, home, packer, ignores
        self.contents = Contents(repository, home, packer)
        self.same_rules = False
        """The last tree was made under these rules: what is in it need not be asked again."""
        self.withhold = False
        """Keep what is gone: a person has not confirmed it."""
        self.again: set[bytes] = set()
        """Folders to look at again: something in them would not settle."""
        self._gone: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        self._came: set[int] = set()
        self._left: dict[int, Entry] = {}
        self._had: tuple[int, bool, bool, bool] = (0, False, False, False)

    async def run(self, was: Entry | None, dirty: Dirty | None) -> Entry | None:
        """The entry of the home itself; None where there is nothing to be seen."""
        top = Todo(b"", HOME, was, dirty)
        (listing,) = await self._home.look([(b"", top.listed)])
        stack = [await self._enter(top, listing)]
        entry: Entry | None = None
        while stack:
            frame = stack[-1]
            if not isinstance(frame, Frame):
                entry = frame
            elif frame.waiting:
                stack.append(await self._next(frame))
                continue
            else:
                entry = await self._leave(frame)
            stack.pop()
            if stack:
                stack[-1] = await self._arrived(stack[-1], entry)
        return entry

    def loss(self) -> Loss:
        had, had_marker, marker_gone, empty = self._had
        return Loss(had, sum(count for ino, count in self._gone.values() if ino not in self._came), had_marker, marker_gone, empty)

    async def _next(self, frame: Frame) -> Frame | Entry | None:
        todo = frame.waiting.pop()
        if todo.path not in frame.ahead:
            coming = [todo, *frame.waiting[: -AHEAD - 1 : -1]]
            listings = await self._home.look([(one.path, one.listed) for one in coming])
            frame.ahead = {one.path: listing for one, listing in zip(coming, listings, strict=True)}
        return await self._enter(todo, frame.ahead.pop(todo.path))

    async def _arrived(self, frame: Frame | Entry | None, entry: Entry | None) -> Frame | Entry | None:
        """A folder below is done, or gone; gone from a folder that was not listed means that this one has to be."""
        assert isinstance(frame, Frame)
        if entry is not None:
            frame.entries.append(entry)
            return frame
        if not frame.partial:
            frame.settled = False
            return frame
        todo = frame.todo
        todo.dirty = Dirty(here=True, below=todo.dirty.below if todo.dirty else {})
        (listing,) = await self._home.look([(todo.path, True)])
        return await self._enter(todo, listing)

    async def _enter(self, todo: Todo, listing: Listing) -> Frame | Entry | None:
        if listing.folder is None:
            if not listing.trouble or todo.seen is None:
                return None
            return self.contents.kept(todo.path.rpartition(b"/")[0], todo.seen, todo.was, listing.trouble)
        was = todo.was
        old = {entry.name: entry for entry in await entries_of(self._repository, was.payload)} if was else {}
        frame = Frame(todo, listing, old, settled=listing.settled)
        if not todo.listed and todo.dirty and untouched(was, listing.folder) and todo.dirty.below.keys() <= old.keys():
            self._pass_through(frame, todo.dirty)
            return frame
        if not todo.listed:
            (frame.listing,) = await self._home.look([(todo.path, True)])
            if frame.listing.folder is None:
                return await self._enter(todo, frame.listing)
        await self._compare(frame)
        return frame

    def _pass_through(self, frame: Frame, dirty: Dirty) -> None:
        frame.partial = True
        for name, entry in frame.old.items():
            if name in dirty.below and entry.kind == Kind.FOLDER:
                frame.waiting.append(Todo(join(frame.todo.path, name), name, entry, dirty.below[name]))
            else:
                frame.entries.append(entry)

    async def _compare(self, frame: Frame) -> None:
        path, dirty = frame.todo.path, frame.todo.dirty
        changed: list[tuple[Seen, Entry | None]] = []
        names = {seen.name for seen in frame.listing.entries}
        gone = {entry.ino: entry for name, entry in frame.old.items() if name not in names}
        self._left.update(gone)
        for seen in frame.listing.entries:
            before = frame.old.get(seen.name)
            if self._is_ignored(path, seen, before):
                frame.ignored.add(seen.name)
            elif seen.kind == Kind.FOLDER:
                self._folder(frame, seen, before, dirty)
            elif before is not None and untouched(before, seen):
                frame.entries.append(before)
            else:
                changed.append((seen, before or self._moved(seen)))
        stored = await self.contents.store(path, changed)
        frame.entries += stored
        if len(stored) < len(changed) or any(entry.flags & (Flag.UNSETTLED | Flag.STALE) for entry in stored):
            self.again.add(path)
        frame.settled &= len(stored) == len(changed)

    def _is_ignored(self, path: bytes, seen: Seen, before: Entry | None) -> bool:
        if self.same_rules and before is not None and before.kind == seen.kind:
            return False
        return self._ignores.ignored(join(path, seen.name), folder=seen.kind == Kind.FOLDER)

    def _moved(self, seen: Seen) -> Entry | None:
        """What had this inode and lost its name: its chunks, or its tree, are a good first guess. Every file below is still compared."""
        left = self._left.get(seen.ino)
        return left if left is not None and left.kind == seen.kind else None

    def _folder(self, frame: Frame, seen: Seen, before: Entry | None, dirty: Dirty | None) -> None:
        known = before if before is not None and before.kind == Kind.FOLDER else None
        same = known is not None and known.ino == seen.ino
        below = dirty.below.get(seen.name) if dirty and same else None
        if dirty and same and below is None:
            if known is not None and untouched(known, seen):
                frame.entries.append(known)
                return
            below = Dirty(here=True)
        frame.waiting.append(Todo(join(frame.todo.path, seen.name), seen.name, known or self._moved(seen), below, seen))

    async def _leave(self, frame: Frame) -> Entry:
        self._count(frame)
        if not frame.settled:
            self.again.add(frame.todo.path)
        entries = sorted(frame.entries)
        was = frame.todo.was
        if was and len(entries) == len(frame.old) and all(entry is frame.old.get(entry.name) for entry in entries):
            payload = was.payload
        else:
            payload = await self._tree(entries)
        folder = frame.listing.folder
        assert folder is not None
        size = sum(1 + (entry.size if entry.kind == Kind.FOLDER else 0) for entry in entries)
        seen = folder._replace(name=frame.todo.name, size=size)
        entry = entry_of(Reading(seen, xattrs=frame.listing.xattrs, settled=frame.settled), payload)
        return was if was == entry and was is not None else entry

    def _count(self, frame: Frame) -> None:
        names = {entry.name for entry in frame.entries} | frame.ignored
        missing = [entry for name, entry in frame.old.items() if name not in names]
        for entry in missing:
            count = 1 + (entry.size if entry.kind == Kind.FOLDER else 0)
            self._gone[(frame.todo.path, entry.name)] = (entry.ino, count)
        self._came.update(entry.ino for entry in frame.entries if entry.name not in frame.old)
        if not frame.todo.path and frame.todo.was:
            self._had = (frame.todo.was.size, MARKER in frame.old, MARKER not in names, not names)
        if self.withhold:
            frame.entries += [entry._replace(flags=entry.flags | Flag.STALE) for entry in missing]

    async def _tree(self, entries: list[Entry]) -> bytes:
        parts = split_entries(entries)
        ids = [(part[0].name if part else b"", await self._packer.add(b"t", encode_part(part))) for part in parts]
        return ids[0][1] if len(ids) == 1 else await self._packer.add(b"t", encode_parts(ids))


async def entries_of(repository: Repository, tree: bytes) -> list[Entry]:
    data = await repository.blob(tree)
    if data[:1] == b"E":
        return decode_entries(data)
    parts = decode_parts(data)
    blobs = await repository.blobs(parts)
    return [entry for part in parts for entry in decode_entries(blobs[part])]


def join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


