"""Adds blobs: each once, many to a pack, sealed and sent while the next are being read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ...errors import Conflict
from ..model import NO_ID, Place
from ..ports import Codec
from .copies import KEPT
from .encoding import PACK_MAGIC, PACK_TAIL, encode_footer
from .repository import Repository

PACK_BYTES = 8 << 20
ON_THE_WAY = 3
ATTEMPTS = 5
MANY_PLACES, MANY_BYTES = 50_000, 256 << 20
Blob = tuple[bytes, bytes, bytes | memoryview]


class Packer:
    """One writing. What it stored counts as stored for this writing only, until the pointer names it.

    A long one has the pointer name what it stored from time to time: memory stays bounded, and one that is killed goes on where it was."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._swept = repository.root.swept
        self._waiting: list[Blob] = []
        self._bytes = 0
        self._ids: set[bytes] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._unnamed = 0
        self.places: list[Place] = []
        """What no index has yet."""
        self.stored = 0
        """Bytes sent."""

    async def add(self, kind: bytes, content: bytes | memoryview) -> bytes:
        return await self.put(kind, self._repository.codec.identify(kind, content), content)

    async def put(self, kind: bytes, part: bytes, content: bytes | memoryview) -> bytes:
        """The id, under which the content is stored once `flush` returned. Raises Conflict as a commit does."""
        if kind in KEPT:
            self._repository.copies.put(part, bytes(content))
        if part in self._ids or self._repository.find(part) is not None:
            return part
        self._ids.add(part)
        self._waiting.append((kind, part, content))
        self._bytes += len(content)
        self._repository.moving.found += len(content)
        if self._bytes >= PACK_BYTES:
            await self._send()
            if len(self.places) >= MANY_PLACES or self._unnamed >= MANY_BYTES:
                await self.name()
        return part

    async def flush(self) -> Sequence[Place]:
        await self._send()
        while self._tasks:
            await self._tasks.pop(0)
        return self.places

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def again(self) -> None:
        """After a lost commit: what this writing stored is still there, unless a prune came between. Call after a refresh."""
        if self._repository.root.swept != self._swept:
            self._ids, self.places, self._swept = {part for _, part, _ in self._waiting}, [], self._repository.root.swept

    async def name(self) -> None:
        """What was stored until now counts for everybody from now on. Raises Conflict where a prune came between."""
        repository, places = self._repository, list(self.places)
        for _ in range(ATTEMPTS):
            indexes = await repository.add_index(places)
            try:
                await repository.move(replace(repository.root, indexes=indexes))
                break
            except Conflict:  # Of another's snapshot, say. What was found to be stored stays so as long as nothing is swept away.
                await repository.refresh()
                if repository.root.swept != self._swept:
                    raise
        else:
            raise Conflict("the home's snapshots change all the time", retryable=True)
        self.places, self._unnamed = self.places[len(places) :], 0
        self._ids.difference_update(place.id for place in places)

    async def _send(self) -> None:
        if not self._waiting:
            return
        blobs, self._waiting, self._bytes = self._waiting, [], 0
        while len(self._tasks) >= ON_THE_WAY:
            await self._tasks.pop(0)
        self._tasks.append(asyncio.create_task(self._ship(blobs)))

    async def _ship(self, blobs: Sequence[Blob]) -> None:
        name, data, places = await asyncio.to_thread(packed, self._repository.codec, blobs)
        kept = {part: bytes(content) for kind, part, content in blobs if kind in KEPT}
        size = sum(len(content) for _, _, content in blobs)
        del blobs  # Megabytes, for as long as a slow store takes.
        await self._repository.store.create(f"data/{name.hex()}", data)
        await self._repository.copies.keep(kept)
        self.places += places
        self.stored += len(data)
        self._repository.moving.sent += size
        self._unnamed += len(data)


def packed(codec: Codec, blobs: Sequence[Blob]) -> tuple[bytes, bytes, list[Place]]:
    sealed = [(kind, part, codec.seal(kind, part, content), len(content)) for kind, part, content in blobs]
    return joined(codec, sealed)


def joined(codec: Codec, sealed: Sequence[tuple[bytes, bytes, bytes, int]]) -> tuple[bytes, bytes, list[Place]]:
    """A pack: its name, its bytes, what lies where."""
    places, offset = [], 0
    for kind, part, body, content in sealed:
        places.append(Place(part, kind, NO_ID, offset, len(body), content))
        offset += len(body)
    footer = codec.seal(b"f", NO_ID, encode_footer(places))
    data = b"".join([*(body for _, _, body, _ in sealed), footer, PACK_TAIL.pack(len(footer), PACK_MAGIC)])
    name = codec.digest(data)
    return name, data, [place._replace(pack=name) for place in places]
