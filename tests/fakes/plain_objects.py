"""Plain objects in memory. `between` is what somebody else does just before the next write takes effect."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

from nbd.errors import Conflict, NbdError
from nbd.homes.attached.model import Remote, There
from nbd.homes.attached.names import Named, sorted_out


class MemoryObjects:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, int] = {}
        self.calls: list[tuple[str, str]] = []
        self.trouble: NbdError | None = None
        self.between: Callable[[], None] | None = None
        self.midway: Callable[[], None] | None = None
        """What somebody does while a large one goes up."""
        self.closed: dict[str, str] = {}

    def set(self, key: str, data: bytes) -> None:
        """As another tool would."""
        self.objects[key] = data
        self.modified[key] = 1_700_000_000_000_000_000 + len(self.calls) * 1_000_000

    async def listing(self) -> There:
        await self._called("list", "")
        named = [Named(key, Remote(len(data), version_of(data), self.modified[key])) for key, data in self.objects.items()]
        return sorted_out(named, dict(self.closed))

    async def look(self, key: str) -> str | None:
        await self._called("look", key)
        return version_of(self.objects[key]) if key in self.objects else None

    async def read(self, key: str, version: str, offset: int, length: int) -> bytes:
        await self._called("read", key)
        self._still(key, version)
        return self.objects[key][offset : offset + length]

    async def put(self, key: str, data: bytes, expected: str | None) -> str:
        await self._called("put", key)
        self._others()
        self._still(key, expected)
        self.set(key, bytes(data))
        return version_of(data)

    async def put_large(self, key: str, content: AsyncIterator[bytes], size: int, expected: str | None) -> str:
        await self._called("put_large", key)
        data = b""
        async for part in content:
            data += part
            act, self.midway = self.midway, None
            if act:
                act()
        self._others()
        self._still(key, expected)
        assert len(data) == size
        self.set(key, data)
        return version_of(data)

    async def delete(self, key: str, expected: str) -> None:
        await self._called("delete", key)
        self._others()
        if key in self.objects:
            self._still(key, expected)
            del self.objects[key]

    def _still(self, key: str, expected: str | None) -> None:
        present = version_of(self.objects[key]) if key in self.objects else None
        if present != expected:
            raise Conflict(f"{key} was changed by another", code="store_changed")

    def _others(self) -> None:
        act, self.between = self.between, None
        if act:
            act()

    async def _called(self, what: str, key: str) -> None:
        self.calls.append((what, key))
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble


def version_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
