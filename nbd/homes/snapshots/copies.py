"""What this box has of a home's repository without asking the store: a little in memory, more on a shelf.

Only what is small and read again and again: trees and chunk lists, the indexes, the newest snapshot, the config, the pointer as it was last seen.
The shelf is not trusted: what comes from it is proven by its id, or is sealed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from ..model import Place
from ..ports import Codec, Shelf

MEMORY_BYTES = 32 << 20
KEPT = (b"t", b"l")
"""Types of the blobs that are kept."""


class Memory:
    """Of all homes together; what was used longest ago goes first."""

    def __init__(self, most_bytes: int = MEMORY_BYTES) -> None:
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes, self._most = 0, most_bytes

    def get(self, part: bytes) -> bytes | None:
        if part in self._kept:
            self._kept.move_to_end(part)
        return self._kept.get(part)

    def put(self, part: bytes, content: bytes) -> None:
        if part not in self._kept:
            self._bytes += len(content)
        self._kept[part] = content
        while self._bytes > self._most:
            self._bytes -= len(self._kept.popitem(last=False)[1])


class Copies:
    """Of one home. Ids are keyed by home, so one memory and one shelf serve all."""

    def __init__(self, home: str = "", memory: Memory | None = None, shelf: Shelf | None = None) -> None:
        self._home, self._memory, self._shelf = home, memory or Memory(), shelf

    def get(self, part: bytes) -> bytes | None:
        return self._memory.get(part)

    def put(self, part: bytes, content: bytes) -> None:
        self._memory.put(part, content)

    async def recall(self, codec: Codec, places: Sequence[Place]) -> dict[bytes, bytes]:
        """What the shelf has of these, proven."""
        kinds = {place.id: place.type for place in places if place.type in KEPT}
        if self._shelf is None or not kinds:
            return {}
        found = await self._shelf.blobs(list(kinds))
        proven = await asyncio.to_thread(lambda: {part: data for part, data in found.items() if codec.identify(kinds[part], data) == part})
        for part, data in proven.items():
            self._memory.put(part, data)
        return proven

    async def keep(self, blobs: Mapping[bytes, bytes]) -> None:
        if self._shelf is not None and blobs:
            await self._shelf.keep_blobs(blobs)

    async def named(self, codec: Codec, kind: bytes, key: str) -> bytes | None:
        """The content of an object that is named by its id, proven."""
        content = await self.sealed(key)
        if content is None or (await asyncio.to_thread(codec.identify, kind, content)).hex() != key.rpartition("/")[2]:
            return None
        return content

    async def sealed(self, key: str) -> bytes | None:
        """The caller proves it."""
        return await self._shelf.kept(self._home, key) if self._shelf is not None else None

    async def keep_objects(self, new: Mapping[str, bytes], others: Collection[str]) -> None:
        """These, and of what was kept of this home before, the `others` and no more."""
        if self._shelf is not None:
            await self._shelf.keep_objects(self._home, new, others)
