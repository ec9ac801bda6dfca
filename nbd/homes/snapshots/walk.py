"""Walks a home against its last tree and makes the new one.

Everything is looked at, or, with dirty folders given, these and the way to them. A folder whose own times changed without being reported is
listed all the same. A folder that is just as it was costs one listing and no entry is made of it: a home has a million files, and nothing changed
in nearly all of them. Nothing recurses: a home may be deeper than Python does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..guards import Loss
from ..model import Entry, Flag, Kind, Seen
from ..ports import Ignores, Listing, OpenHome, Reading, Sifted
from .contents import Contents, entry_of
from .diff import Mark, mark, untouched
from .encoding import UNVOUCHED, decode_entries, decode_parts, encode_entry, encode_parts, rows, split
from .packer import Packer
from .repository import Repository

AHEAD = 64
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

    parent: Frame | None
    path: bytes
    name: bytes
    was: Entry | None
    dirty: Dirty | None
    seen: Seen | None = None
    guessed: bool = False
    """`was` had another name, if it was this one at all: inodes are used again."""

    @property
    def listed(self) -> bool:
        return self.dirty is None or self.dirty.here or self.was is None


@dataclass(slots=True)
class Frame:
    """A folder that was entered, and waits for what is below it."""

    todo: Todo
    listing: Listing
    known: Sequence[bytes]
    """The `E` blobs of its stored tree; decoded only where something differs."""
    entries: dict[bytes, Entry | None] = field(default_factory=dict)
    """What was looked at, as it is now; None: gone."""
    kept: bool = True
    """All else is as it was."""
    partial: bool = False
    """It was not listed."""
    again: bool = False
    """It has to be, after all."""
    settled: bool = True
    open: int = 0
    """Folders below that are not done."""
    ignored: set[bytes] = field(default_factory=set)
    _rows: dict[bytes, bytes] | None = None

    def rows(self) -> dict[bytes, bytes]:
        if self._rows is None:
            self._rows = rows(self.known)
        return self._rows

    def old(self, names: Iterable[bytes] | None = None) -> dict[bytes, Entry]:
        """The stored entries of these names; of all."""
        stored = self.known if names is None else [b"E" + self.rows()[name] for name in names if name in self.rows()]
        return {entry.name: entry for data in stored for entry in decode_entries(data)}


class Walk:
    def __init__(self, repository: Repository, home: OpenHome, packer: Packer, ignores: Ignores) -> None:
        self._repository, self._home, self._packer, self._ignores = repository, home, packer, ignores
        self.contents = Contents(repository, home, packer)
        self.same_rules = False
        """The last tree was made under these rules: what is in it need not be asked again."""
        self.same_box = False
        """The last tree is of this box's home: its inodes can be compared."""
        self.withhold = False
        """Keep what is gone: a person has not confirmed it."""
        self.again: set[bytes] = set()
        """Folders to look at again: something in them would not settle."""
        self._todo: list[Todo] = []
        self._late: list[Todo] | None = None
        """New folders wait for the end, when what is gone is known: one that was moved is compared with what it was, and not read."""
        self._gone: dict[tuple[bytes, bytes], tuple[Mark, int]] = {}
        self._came: set[int] = set()
        """Hashes of their marks: they may be a million."""
        self._had_any = False
        """There is a last snapshot: else nothing can be gone, and nothing can have come from elsewhere."""
        self._left: dict[int, Entry] = {}
        self._had: tuple[int, bool, bool] = (0, False, False)
        self._entry: Entry | None = None

    async def run(self, was: Entry | None, dirty: Dirty | None) -> Entry | None:
        """The entry of the home itself; None where there is nothing to be seen."""
        self._todo = [Todo(None, b"", HOME, was, dirty)]
        self._late, self._had_any = ([], True) if was else (None, False)
        while self._todo or self._late:
            if not self._todo:
                self._todo, self._late = self._late or [], None
                for todo in self._todo:
                    todo.was, todo.guessed = self._moved(todo.seen), True
            coming = [self._todo.pop() for _ in range(min(AHEAD, len(self._todo)))]
            for todo, known, listing in await self._looked(coming):
                await self._enter(todo, known, listing)
        return self._entry

    def loss(self) -> Loss:
        had, moved, empty = self._had
        return Loss(had, sum(count for known, count in self._gone.values() if hash(known) not in self._came), moved, empty)

    async def _looked(self, coming: Sequence[Todo]) -> list[tuple[Todo, Sequence[bytes], Listing]]:
        trees = await parts_of(self._repository, [todo.was.payload for todo in coming if todo.was])
        known = [trees[todo.was.payload] if todo.was else () for todo in coming]
        sifted = [self.same_rules and todo.listed and bool(parts) for todo, parts in zip(coming, known, strict=True)]
        some = [(todo.path, parts) for todo, parts, sift in zip(coming, known, sifted, strict=True) if sift]
        others = [(todo.path, todo.listed) for todo, sift in zip(coming, sifted, strict=True) if not sift]
        found = iter(await self._home.sift(some) if some else ())
        rest = iter(await self._home.look(others) if others else ())
        return [(todo, parts, next(found if sift else rest)) for todo, parts, sift in zip(coming, known, sifted, strict=True)]

    async def _enter(self, todo: Todo, known: Sequence[bytes], listing: Listing) -> None:
        if listing.folder is None:
            entry = None
            if listing.trouble and todo.seen is not None:
                above = todo.path.rpartition(b"/")[0]
                self.again.add(above)
                entry = self.contents.kept(above, todo.seen, todo.was, listing.trouble)
            await self._finish(self._deliver(todo, entry))
            return
        frame = Frame(todo, listing, known, settled=listing.settled)
        if todo.listed:
            await self._compare(frame)
        else:
            frame.again = not (untouched(todo.was, listing.folder) and self._pass_through(frame))
        await self._finish(frame)

    async def _finish(self, frame: Frame | None) -> None:
        """Leaves it, and those above for which it was the last; one that has to be listed after all is entered again."""
        while frame is not None and not frame.open:
            todo = frame.todo
            if frame.again:
                todo.dirty = Dirty(here=True, below=todo.dirty.below if todo.dirty else {})
                self._todo.append(todo)
                return
            frame = self._deliver(todo, await self._leave(frame))

    def _deliver(self, todo: Todo, entry: Entry | None) -> Frame | None:
        """A folder is done, or (None) gone. Gone from one that was not listed means that this one has to be."""
        frame = todo.parent
        if frame is None:
            self._entry = entry
            return None
        if entry is None:
            frame.again, frame.settled = frame.partial, frame.partial
        if not frame.kept or entry is not todo.was or todo.name in frame.entries:
            frame.entries[todo.name] = entry
        frame.open -= 1
        return frame

    def _pass_through(self, frame: Frame) -> bool:
        """Into the dirty ones below. False: one of them was not known."""
        below = frame.todo.dirty.below if frame.todo.dirty else {}
        old = frame.old(below)
        if not below.keys() <= old.keys():
            return False
        frame.partial = True
        for name, dirty in below.items():
            if old[name].kind == Kind.FOLDER:
                self._push(Todo(frame, join(frame.todo.path, name), name, old[name], None if old[name].flags & Flag.STALE else dirty))
        return True

    def _push(self, todo: Todo) -> None:
        assert todo.parent is not None
        todo.parent.open += 1
        if todo.was is None and self._late is not None:
            self._late.append(todo)
        else:
            self._todo.append(todo)

    async def _compare(self, frame: Frame) -> None:
        path, listing, sifted = frame.todo.path, frame.listing, frame.listing.sifted
        names = {seen.name for seen in listing.entries}
        frame.kept = sifted is not None
        gone = (sifted.missing | sifted.others.keys() if sifted is not None else frame.rows().keys()) - names
        simple = sifted is not None and only_folders(listing.entries, sifted)
        old = sifted.others if sifted is not None and simple else frame.old(gone | names)
        for name in gone:
            self._left[old[name].ino] = old[name]
            self.contents.relinked |= bool(old[name].flags & Flag.LINKED)
            frame.entries[name] = None
        changed: list[tuple[Seen, Entry | None]] = []
        for seen in listing.entries:
            before = old.get(seen.name)
            if self._is_ignored(path, seen, before):
                frame.ignored.add(seen.name)
                frame.entries[seen.name] = None
            elif seen.kind == Kind.FOLDER:
                self._folder(frame, seen, before)
            elif before is not None and untouched(before, seen):
                frame.entries[seen.name] = before
            else:
                self.contents.relinked |= before is not None and bool(before.flags & Flag.LINKED)
                changed.append((seen, before or self._moved(seen)))
        stored = {entry.name: entry for entry in await self.contents.store(path, changed)}
        frame.entries |= {seen.name: stored.get(seen.name) for seen, _ in changed}
        if len(stored) < len(changed) or any(entry.flags & UNVOUCHED for entry in stored.values()):
            self.again.add(path)
        frame.settled &= len(stored) == len(changed)

    def _is_ignored(self, path: bytes, seen: Seen, before: Entry | None) -> bool:
        if self.same_rules and before is not None and before.kind == seen.kind:
            return False
        return self._ignores.ignored(join(path, seen.name), folder=seen.kind == Kind.FOLDER)

    def _moved(self, seen: Seen | None) -> Entry | None:
        """What had this inode and lost its name: its chunks, or its tree, are a good first guess. Every file below is still compared."""
        left = self._left.get(seen.ino) if seen is not None else None
        return left if left is not None and seen is not None and left.kind == seen.kind else None

    def _folder(self, frame: Frame, seen: Seen, before: Entry | None) -> None:
        dirty = frame.todo.dirty
        known = before if before is not None and before.kind == Kind.FOLDER else None
        # Of one that could not be read last time it is forgotten what was dirty below: all is.
        same = known is not None and known.ino == seen.ino and not known.flags & Flag.STALE
        below = dirty.below.get(seen.name) if dirty and same else None
        if dirty and same and below is None:
            if untouched(known, seen):
                frame.entries |= {} if frame.kept else {seen.name: known}
                return
            below = Dirty(here=True)
        if known is None:
            frame.entries[seen.name] = None
        elif known.ino != seen.ino:
            self._left[known.ino] = known
        self._push(Todo(frame, join(frame.todo.path, seen.name), seen.name, known or self._moved(seen), below, seen, guessed=known is None))

    async def _leave(self, frame: Frame) -> Entry:
        todo, was, folder = frame.todo, frame.todo.was, frame.listing.folder
        assert folder is not None
        if not frame.settled:
            self.again.add(todo.path)
        if frame.kept and not frame.entries and was is not None:
            payload, size = was.payload, was.size
            self._had = self._had if todo.path else (size, False, False)
        else:
            payload, size = await self._changed(frame)
        seen = folder._replace(name=todo.name, size=size)
        entry = entry_of(Reading(seen, xattrs=frame.listing.xattrs, settled=frame.settled), payload)
        return was if was == entry and was is not None else entry

    async def _changed(self, frame: Frame) -> tuple[bytes, int]:
        """The tree of a folder in which something is, or may be, different; and how many entries there are below."""
        old, was = frame.old(frame.entries), frame.todo.was
        self._count(frame, old)
        now = dict(frame.rows()) if frame.kept else {}
        for name, entry in frame.entries.items():
            if entry is None:
                now.pop(name, None)
            else:
                now[name] = frame.rows()[name] if entry == old.get(name) else encode_entry(entry)
        size = weight(frame.entries.values()) + (was.size - weight(old.values()) if frame.kept and was else 0)
        if not frame.todo.path and was:
            folder = frame.listing.folder
            moved = self.same_box and folder is not None and folder.ino != was.ino
            self._had = (was.size, moved, not now and not frame.ignored)
        if was and all(entry == old.get(name) for name, entry in frame.entries.items()):
            return was.payload, size
        return await self._tree(sorted(now.items())), size

    def _count(self, frame: Frame, old: dict[bytes, Entry]) -> None:
        """What is gone, and what came. A folder in whose place is something else is gone with all that was in it."""
        missing = [old[name] for name, entry in frame.entries.items() if name in old and name not in frame.ignored and is_gone(old[name], entry)]
        for entry in missing:
            count = 1 + (entry.size if entry.kind == Kind.FOLDER else 0)
            self._gone[(frame.todo.path, entry.name)] = (mark(entry), count)
        if self._had_any:
            self._came.update(hash(mark(entry)) for name, entry in frame.entries.items() if entry is not None and name not in old)
        if self.withhold and not frame.todo.guessed:
            frame.entries |= {entry.name: entry._replace(flags=entry.flags | Flag.STALE) for entry in missing}

    async def _tree(self, encoded: Sequence[tuple[bytes, bytes]]) -> bytes:
        """`encoded`: the entries by name, in order."""
        ids: list[tuple[bytes, bytes]] = []
        for part in split([name for name, _ in encoded]):
            first = encoded[part.start][0] if part else b""
            ids.append((first, await self._packer.add(b"t", b"E" + b"".join(encoded[at][1] for at in part))))
        return ids[0][1] if len(ids) == 1 else await self._packer.add(b"t", encode_parts(ids))


def weight(entries: Iterable[Entry | None]) -> int:
    """How many entries these are with all below."""
    return sum(1 + (entry.size if entry.kind == Kind.FOLDER else 0) for entry in entries if entry is not None)


def is_gone(before: Entry, now: Entry | None) -> bool:
    return now is None or before.kind == Kind.FOLDER != now.kind


def only_folders(entries: Iterable[Seen], sifted: Sifted) -> bool:
    """All else is just as it was."""
    if sifted.missing or any(entry.kind != Kind.FOLDER for entry in sifted.others.values()):
        return False
    return all(seen.kind == Kind.FOLDER and seen.name in sifted.others for seen in entries)


async def entries_of(repository: Repository, tree: bytes) -> list[Entry]:
    return [entry for part in (await parts_of(repository, [tree]))[tree] for entry in decode_entries(part)]


async def parts_of(repository: Repository, trees: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """The `E` blobs of each."""
    blobs = await repository.blobs(trees)
    large = {tree: decode_parts(data) for tree, data in blobs.items() if data[:1] == b"S"}
    parts = await repository.blobs(part for ids in large.values() for part in ids) if large else {}
    return {tree: [parts[part] for part in large[tree]] if tree in large else [data] for tree, data in blobs.items()}


def join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
