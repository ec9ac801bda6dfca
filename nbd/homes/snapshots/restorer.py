"""Brings a snapshot, or one path of it, back into a folder. Files come as they are proven: what is damaged is named and not written."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from ...errors import Damaged, NotFound
from ..model import NO_ID, Entry, Extent, Flag, Kind, Skipped, Snapshot
from ..ports import NewFile, Piece, Target, Writing
from .chunks import WHOLE
from .contents import extents_of, shown
from .repository import Repository
from .snapshotter import home_entry
from .walk import entries_of, join

BATCH_BYTES, BATCH_FILES = 8 << 20, 256
AT_ONCE = 3
FOLDERS_AT_ONCE = 64
MOST_ENTRIES = 1_000_000_000
Named = tuple[bytes, Entry]
"""A folder, and what is in it."""
UNDRESSED = (Kind.SOCKET, Kind.CHARACTER, Kind.BLOCK)
Linked = tuple[int, int, int, bytes]


@dataclass(slots=True)
class Progress:
    """Grows while a restore runs; may be read at any time."""

    entries: int = 0
    bytes: int = 0
    already: int = 0
    already_bytes: int = 0
    of_entries: int = 0
    of_bytes: int = 0
    """How much there is to do in all; 0 while nobody has counted."""
    skipped: list[Skipped] = field(default_factory=list)
    """Not restorable here by rule or for a reason of the folder."""
    refused: int = 0
    """How many of these for a reason of the folder."""
    damaged: list[Skipped] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    """What is gathered on the way and done at the end."""

    target: Target
    progress: Progress
    only: Container[bytes] | None = None
    """Paths; what is not among them is passed over, with all below it. None: everything."""
    left: int = 0
    """No more entries than this can come: a tree that holds itself many times over would go on for ever."""
    folders: list[tuple[bytes, Entry]] = field(default_factory=list)
    first: dict[Linked, bytes] = field(default_factory=dict)
    links: list[tuple[bytes, bytes]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Restorer:
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def restore(self, snapshot: Snapshot, path: bytes, target: Target, progress: Progress, only: Container[bytes] | None = None) -> None:
        """`path` `b""`: the whole home; of it, `only` these paths. Runs again over its own half work. What was not restored is in `progress`.
        Raises NotFound, and HostUnfit(no_space) from the target."""
        job = Job(target, progress, only)
        try:
            await self._all(job, snapshot, path)
        finally:
            for task in job.tasks:
                task.cancel()
            await asyncio.gather(*job.tasks, return_exceptions=True)

    async def entries(self, snapshot: Snapshot, path: bytes) -> list[Entry]:
        """What is in a folder of a snapshot; of a file, itself."""
        entry = (await self._way(snapshot, path))[-1][1]
        return await entries_of(self._repository, entry.payload) if entry.kind == Kind.FOLDER else [entry]

    async def _all(self, job: Job, snapshot: Snapshot, path: bytes) -> None:
        way = await self._way(snapshot, path)
        for folder, entry in way[1:-1]:
            (absent,) = await job.target.missing([(folder.rpartition(b"/")[0], entry)])
            if absent and self._result(job, folder, (await job.target.make([folder]))[0]):
                job.folders.append((folder, entry))
        folder, entry = way[-1]
        job.progress.of_entries = job.progress.of_entries or bool(folder) + (entry.size if entry.kind == Kind.FOLDER else 0)
        if entry.kind == Kind.FOLDER:
            job.left = min(entry.size, MOST_ENTRIES)
            await self._tree(job, folder, entry)
        elif self._restorable(job, folder.rpartition(b"/")[0], entry):
            # Who names one file may want it because what is there has the right size and time, and is wrong.
            await self._start(job, [[(folder.rpartition(b"/")[0], entry)]])
        await self._settle(job, 0)
        for source, name in job.links:
            self._result(job, name, await job.target.link(source, name))
        dressed = sorted(job.folders, key=lambda one: one[0].count(b"/") + bool(one[0]), reverse=True)
        for (name, _), trouble in zip(dressed, await job.target.dress(dressed), strict=True):
            if trouble:
                self._result(job, name, trouble)

    async def _way(self, snapshot: Snapshot, path: bytes) -> list[tuple[bytes, Entry]]:
        """From the home to the path: each with its entry."""
        entry = await home_entry(self._repository, snapshot)
        assert entry is not None
        way = [(b"", entry)]
        for name in path.split(b"/") if path else ():
            found = await entries_of(self._repository, entry.payload) if entry.kind == Kind.FOLDER else []
            entry = next((one for one in found if one.name == name), None)
            if entry is None:
                raise NotFound(f"{shown(path)} is not in this snapshot")
            way.append((join(way[-1][0], name), entry))
        return way

    async def _tree(self, job: Job, path: bytes, entry: Entry) -> None:
        """Many folders at a time: parents are made before what is in them, files gather across folders until they are worth a batch."""
        stack, todo = [(path, entry)], list[Named]()
        while stack:
            some, stack = stack[-FOLDERS_AT_ONCE:], stack[:-FOLDERS_AT_ONCE]
            made = await job.target.make([folder for folder, _ in some if folder])
            troubles = dict(zip([folder for folder, _ in some if folder], made, strict=True))
            names: list[Named] = []
            for folder, one in some:
                if folder and not self._result(job, folder, troubles[folder]):
                    continue
                job.folders.append((folder, one))
                entries = await self._listing(job, folder, one)
                stack += [(join(folder, child.name), child) for child in entries if child.kind == Kind.FOLDER]
                names += [(folder, child) for child in entries if child.kind != Kind.FOLDER]
            todo += await self._missing(job, names)
            *full, todo = list(batches(todo)) or [[]]
            await self._start(job, full)
        await self._start(job, [todo] if todo else [])

    async def _listing(self, job: Job, folder: bytes, entry: Entry) -> list[Entry]:
        try:
            entries = await entries_of(self._repository, entry.payload)
            job.left -= len(entries)
            if job.left < 0:
                raise Damaged("it has more entries than it says")
            return entries if job.only is None else [one for one in entries if join(folder, one.name) in job.only]
        except Damaged as error:
            job.progress.damaged.append(Skipped(shown(folder) or ".", error.message))
            return []

    async def _missing(self, job: Job, names: Sequence[Named]) -> list[Named]:
        wanted = [name for name in names if self._restorable(job, *name)]
        missing = await job.target.missing(wanted) if wanted else []
        job.progress.already += missing.count(False)
        job.progress.already_bytes += sum(entry.size for (_, entry), absent in zip(wanted, missing, strict=True) if not absent)
        return [name for name, absent in zip(wanted, missing, strict=True) if absent]

    async def _start(self, job: Job, some: Sequence[list[Named]]) -> None:
        for batch in some:
            await self._settle(job, AT_ONCE - 1)
            large = len(batch) == 1 and batch[0][1].kind == Kind.FILE and batch[0][1].size > WHOLE
            work = self._large(job, *batch[0]) if large else self._small(job, batch)
            job.tasks.add(asyncio.create_task(work))

    def _restorable(self, job: Job, folder: bytes, entry: Entry) -> bool:
        path = join(folder, entry.name)
        if entry.kind == Kind.SKIPPED or entry.kind in UNDRESSED:
            why = entry.payload[:1000].decode("utf-8", "replace") if entry.kind == Kind.SKIPPED else "a device or socket is not restored"
            job.progress.skipped.append(Skipped(shown(path), why))
            return False
        if entry.flags & Flag.LINKED:
            first = job.first.setdefault((entry.ino, entry.size, entry.mtime, entry.payload), path)
            if first != path:
                job.links.append((first, path))
                return False
        return True

    async def _settle(self, job: Job, left: int) -> None:
        """Waits until at most so many batches are under way; raises what one of them raised."""
        while len(job.tasks) > left:
            done, job.tasks = await asyncio.wait(job.tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _small(self, job: Job, batch: Sequence[Named]) -> None:
        try:
            writings = await self._writings(batch)
        except Damaged:
            writings = []
            for folder, entry in batch:
                try:
                    writings += await self._writings([(folder, entry)])
                except Damaged as error:
                    job.progress.damaged.append(Skipped(shown(join(folder, entry.name)), error.message))
        for (folder, writing), trouble in zip(writings, await job.target.write(writings), strict=True):
            if self._result(job, join(folder, writing.entry.name), trouble):
                job.progress.bytes += sum(len(piece.data) for piece in writing.pieces)

    async def _writings(self, batch: Sequence[Named]) -> list[tuple[bytes, Writing]]:
        extents = [await self._extents(entry) if entry.kind == Kind.FILE else [] for _, entry in batch]
        blobs = await self._repository.blobs(extent.id for parts in extents for extent in parts if extent.id != NO_ID)
        return [(folder, Writing(entry, tuple(pieces_of(parts, 0, blobs)))) for (folder, entry), parts in zip(batch, extents, strict=True)]

    async def _extents(self, entry: Entry) -> list[Extent]:
        extents = await extents_of(self._repository, entry)
        if sum(extent.length for extent in extents) != entry.size:
            raise Damaged("its parts do not make its size")
        return extents

    async def _large(self, job: Job, folder: bytes, entry: Entry) -> None:
        path = join(folder, entry.name)
        try:
            extents = await self._extents(entry)
            file = await job.target.begin(folder, entry)
        except Damaged as error:
            job.progress.damaged.append(Skipped(shown(path), error.message))
            return
        except OSError as error:
            self._result(job, path, error.strerror or "cannot be written")
            return
        try:
            await self._fill(job, file, list(windows(extents)))
            await file.finish()
            job.progress.entries += 1
        except Damaged as error:
            await file.abandon()
            job.progress.damaged.append(Skipped(shown(path), error.message))
        except OSError as error:
            await file.abandon()
            self._result(job, path, error.strerror or "cannot be written")
        except BaseException:
            await file.abandon()
            raise

    async def _fill(self, job: Job, file: NewFile, parts: Sequence[list[Extent]]) -> None:
        """The next part is fetched while this one is written."""
        at, coming = 0, [self._fetched(part) for part in parts[:1]]
        try:
            for number, part in enumerate(parts):
                blobs = await coming.pop()
                coming = [self._fetched(following) for following in parts[number + 1 : number + 2]]
                await file.write(list(pieces_of(part, at, blobs)))
                at += sum(extent.length for extent in part)
                job.progress.bytes += sum(extent.length for extent in part if extent.id != NO_ID)
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    def _fetched(self, part: Sequence[Extent]) -> asyncio.Task[dict[bytes, bytes]]:
        return asyncio.create_task(self._repository.blobs([extent.id for extent in part if extent.id != NO_ID]))

    def _result(self, job: Job, path: bytes, trouble: str) -> bool:
        if trouble:
            job.progress.skipped.append(Skipped(shown(path), trouble))
            job.progress.refused += 1
        else:
            job.progress.entries += 1
        return not trouble


def pieces_of(extents: Sequence[Extent], at: int, blobs: dict[bytes, bytes]) -> Iterator[Piece]:
    for extent in extents:
        if extent.id != NO_ID:
            data = blobs[extent.id]
            if len(data) != extent.length:
                raise Damaged("a part has another length than its file says")
            yield Piece(at, data)
        at += extent.length


def batches(names: Sequence[Named]) -> Iterator[list[Named]]:
    batch: list[Named] = []
    size = 0
    for folder, entry in names:
        weight = entry.size if entry.kind == Kind.FILE else 0
        if batch and (size + weight > BATCH_BYTES or len(batch) >= BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append((folder, entry))
        size += weight
    if batch:
        yield batch


def windows(extents: Sequence[Extent]) -> Iterator[list[Extent]]:
    part: list[Extent] = []
    size = 0
    for extent in extents:
        weight = extent.length if extent.id != NO_ID else 0
        if part and size + weight > BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(extent)
        size += weight
    if part:
        yield part
