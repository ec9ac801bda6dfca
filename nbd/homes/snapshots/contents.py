"""Stores what names hold: reads it through the open home, cuts it, gives the chunks to the packer, and makes the entries."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence

from ..model import NO_ID, Entry, Extent, Flag, Kind, Seen, Skipped
from ..ports import LargeFile, OpenHome, Reading
from .chunks import WHOLE, Cutter, by_offset
from .diff import mark
from .encoding import DIRECT_EXTENTS, LIST_EXTENTS, decode_extents, encode_extents, list_ids
from .packer import Packer
from .repository import Repository

BATCH_BYTES, BATCH_FILES = 8 << 20, 256
AT_ONCE_BYTES = 128 << 10
"""So much is hashed sooner than a thread is woken for it."""
WINDOW, SOON, KNOWN_BYTES = 8 << 20, 2 << 20, 64 << 20
"""Read at a time: of a new file; where something changed, until that is over; where nothing did."""
ATTEMPTS = 3
Wanted = tuple[Seen, Entry | None]
Pieces = list[tuple[Extent, memoryview]]


class Contents:
    def __init__(self, repository: Repository, home: OpenHome, packer: Packer) -> None:
        self._repository, self._home, self._packer = repository, home, packer
        self._cutter = Cutter(repository.codec.cut, lambda content: repository.codec.identify(b"d", content))
        self._linked: dict[tuple[int, int, int], Entry] = {}
        self.skipped: list[Skipped] = []
        self.relinked = False
        """Something with several names was read: names elsewhere may have changed with it, and no event says so."""

    async def store(self, folder: bytes, wanted: Sequence[Wanted]) -> list[Entry]:
        """An entry for each that is still there: read anew, or the last good one marked stale, or the reason why neither can be."""
        entries: list[Entry | None] = []
        for batch in batches(wanted):
            if len(batch) == 1 and batch[0][0].kind == Kind.FILE and batch[0][0].size > WHOLE:
                entries.append(await self._large(folder, *batch[0]))
            else:
                entries += await self._small(folder, batch)
        return [entry for entry in entries if entry is not None]

    async def _small(self, folder: bytes, batch: Sequence[Wanted]) -> list[Entry | None]:
        readings = await self._home.read(folder, [seen for seen, _ in batch])
        if sum(len(reading.data) for reading in readings) > AT_ONCE_BYTES:
            cut = await asyncio.to_thread(lambda: [self._cut(reading) for reading in readings])
        else:
            cut = [self._cut(reading) for reading in readings]
        return [await self._entry(folder, one, reading, pieces) for one, reading, pieces in zip(batch, readings, cut, strict=True)]

    def _cut(self, reading: Reading) -> Pieces:
        if reading.seen is None or reading.seen.kind != Kind.FILE:
            return []
        pieces: Pieces = []
        at, view = 0, memoryview(reading.data)
        for start, end in reading.segments:
            if start > at:
                pieces.append((Extent(start - at, NO_ID), view[:0]))
            pieces += self._cutter.chunks(view[start:end], start, {}, last=True)
            at = end
        if at < reading.seen.size:
            pieces.append((Extent(reading.seen.size - at, NO_ID), view[:0]))
        return pieces

    async def _entry(self, folder: bytes, wanted: Wanted, reading: Reading, pieces: Pieces) -> Entry | None:
        if reading.seen is None:
            return self.kept(folder, *wanted, reading.trouble) if reading.trouble else None
        if reading.seen.kind != Kind.FILE:
            return self._note(entry_of(reading, reading.data if reading.seen.kind == Kind.LINK else device_of(reading.seen)), reading.seen)
        for extent, content in pieces:
            if extent.id != NO_ID:
                await self._packer.put(b"d", extent.id, content)
        return self._note(entry_of(reading, await self._payload([extent for extent, _ in pieces])), reading.seen)

    def _note(self, entry: Entry, seen: Seen) -> Entry:
        self.relinked |= seen.nlink > 1
        return entry

    async def _payload(self, extents: list[Extent]) -> bytes:
        if len(extents) <= DIRECT_EXTENTS:
            return b"D" + encode_extents(extents)
        parts = [encode_extents(extents[at : at + LIST_EXTENTS]) for at in range(0, len(extents), LIST_EXTENTS)]
        return b"L" + b"".join([await self._packer.add(b"l", part) for part in parts])

    async def _large(self, folder: bytes, seen: Seen, before: Entry | None) -> Entry | None:
        known = self._linked.get((seen.ino, seen.ctime, seen.size))
        if known is not None:
            return known._replace(name=seen.name)
        for _ in range(ATTEMPTS):
            file = await self._home.open_large(folder, seen)
            if isinstance(file, Reading):
                return self.kept(folder, seen, before, file.trouble) if file.trouble else None
            try:
                extents = await self._read(file, before)
            finally:
                reading = await file.finish()
            if reading is not None and reading.seen is not None:
                entry = self._note(entry_of(reading, await self._payload(extents)), reading.seen)
                if seen.nlink > 1:
                    self._linked[(entry.ino, entry.ctime, entry.size)] = entry
                return entry
        return self.kept(folder, seen, before, "keeps changing while it is read")

    async def _read(self, file: LargeFile, before: Entry | None) -> list[Extent]:
        old = by_offset(await extents_of(self._repository, before)) if before and before.kind == Kind.FILE else {}
        extents: list[Extent] = []
        at, size = 0, file.opened.seen.size if file.opened.seen else 0
        for start, end in file.opened.segments:
            if start > at:
                extents.append(Extent(start - at, NO_ID))
            await self._segment(file, (start, end), old, extents)
            at = end
        return extents if at >= size else [*extents, Extent(size - at, NO_ID)]

    async def _segment(self, file: LargeFile, bounds: tuple[int, int], old: dict[int, Extent], extents: list[Extent]) -> None:
        """What is as it was is hashed and no more; what differs is cut, until the cuts are in step with the old ones again."""
        at, end = bounds
        while at < end:
            known = self._known(old, at, end)
            same = await self._same(file, at, known) if known else 0
            extents += known[:same]
            at += sum(extent.length for extent in known[:same])
            if at < end and (same < len(known) or not known):
                at = await self._cut_on(file, (at, end), old, extents)

    def _known(self, old: dict[int, Extent], at: int, end: int) -> list[Extent]:
        """The old chunks from here, as far as they are stored; some at a time."""
        known: list[Extent] = []
        start = at
        while at - start < KNOWN_BYTES and (extent := old.get(at)) and extent.id != NO_ID and at + extent.length <= end:
            if self._repository.find(extent.id) is None:
                break
            known.append(extent)
            at += extent.length
        return known

    async def _same(self, file: LargeFile, at: int, known: list[Extent]) -> int:
        identify = self._cutter.identify
        return await file.proven(at, [extent.length for extent in known], lambda number, view: identify(view) == known[number].id)

    async def _cut_on(self, file: LargeFile, bounds: tuple[int, int], old: dict[int, Extent], extents: list[Extent]) -> int:
        """Up to where an old chunk begins; the offset. Reads ahead while it cuts. A short read means that the file shrank: `finish` will tell."""
        at, end = bounds
        rest, size = b"", SOON if old else WINDOW
        coming = asyncio.create_task(file.read(at, min(size, end - at)))
        try:
            while True:
                more = await coming
                fetched = at + len(rest) + len(more)
                last = fetched >= end or not more
                if not last:
                    coming = asyncio.create_task(file.read(fetched, min(size, end - fetched)))
                window = memoryview(rest + more) if rest else memoryview(more)
                pieces = await asyncio.to_thread(lambda: list(self._cutter.chunks(window, at, old, last=last)))  # noqa: B023
                start, at = at, await self._put(pieces, at, old, extents)
                if at in old or last:
                    return at if at in old else end
                rest = bytes(window[at - start :])
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _put(self, pieces: Pieces, at: int, old: dict[int, Extent], extents: list[Extent]) -> int:
        """Up to where an old chunk begins, or all; the offset."""
        for extent, content in pieces:
            await self._packer.put(b"d", extent.id, content)
            extents.append(extent)
            at += extent.length
            if at in old:
                break
        return at

    def kept(self, folder: bytes, seen: Seen, before: Entry | None, why: str) -> Entry:
        """What cannot be read now: the last good reading stays; else a place that says why."""
        path = shown(folder + b"/" + seen.name if folder else seen.name)
        self.skipped.append(Skipped(path, why))
        if before is not None and is_the_same(before, seen):
            return before._replace(name=seen.name, flags=before.flags | Flag.STALE)
        return Entry(seen.name, Kind.SKIPPED, 0, seen.mode, seen.uid, seen.gid, 0, seen.mtime, seen.ctime, seen.ino, why.encode()[:1000])


def is_the_same(before: Entry, seen: Seen) -> bool:
    """Under another name, an inode alone proves nothing: inodes are used again."""
    if before.kind != seen.kind:
        return False
    return before.name == seen.name or (seen.kind == Kind.FILE and mark(before) == mark(seen))


async def extents_of(repository: Repository, entry: Entry) -> list[Extent]:
    if entry.payload[:1] == b"D":
        return decode_extents(entry.payload[1:])
    lists = list_ids(entry.payload)
    parts = await repository.blobs(lists)
    return [extent for part in lists for extent in decode_extents(parts[part])]


def entry_of(reading: Reading, payload: bytes) -> Entry:
    seen = reading.seen
    assert seen is not None
    flags = (0 if reading.settled else Flag.UNSETTLED) | (Flag.LINKED if seen.nlink > 1 and seen.kind != Kind.FOLDER else 0)
    return Entry(
        seen.name, seen.kind, flags, seen.mode, seen.uid, seen.gid, seen.size, seen.mtime, seen.ctime, seen.ino, payload, reading.xattrs
    )  # fmt: skip


def device_of(seen: Seen) -> bytes:
    """Linux's device number, as major and minor."""
    if seen.kind not in (Kind.CHARACTER, Kind.BLOCK):
        return b""
    number = seen.device
    return struct.pack(">II", (number >> 8) & 0xFFF | (number >> 32) & ~0xFFF & 0xFFFFFFFF, number & 0xFF | (number >> 12) & 0xFFFFFF00)


def batches(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Small ones together, a large one alone."""
    batch: list[Wanted] = []
    size = 0
    for one in wanted:
        weight = one[0].size if one[0].kind == Kind.FILE else 0
        if batch and (weight > WHOLE or size + weight > BATCH_BYTES or len(batch) >= BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += weight
        if weight > WHOLE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def shown(path: bytes) -> str:
    """A path for people and JSON: bytes that are no UTF-8 are escaped."""
    return path.decode("utf-8", "backslashreplace")


