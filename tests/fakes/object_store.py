"""An object store in memory."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from nbd.errors import Conflict, NotFound
from nbd.homes.ports import Stored, Versioned


class MemoryStore:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self._versions: dict[str, str] = {}
        self._numbers = itertools.count()

    async def create(self, key: str, data: bytes) -> str | None:
        await self._called("create", key)
        return None if key in self.objects else self._set(key, data)

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        await self._called("replace", key)
        if self._versions.get(key) != expected:
            raise Conflict(f"{key} was changed by another", code="store_changed")
        return self._set(key, data)

    async def fetch(self, key: str) -> Versioned:
        await self._called("fetch", key)
        self._need(key)
        return Versioned(self.objects[key], self._versions[key])

    async def read(self, key: str, offset: int, length: int) -> bytes:
        await self._called("read", key)
        self._need(key)
        return self.objects[key][offset : offset + length]

    async def list(self, prefix: str) -> list[Stored]:
        await self._called("list", prefix)
        return sorted(Stored(key, len(data)) for key, data in self.objects.items() if key.startswith(prefix))

    async def delete(self, key: str) -> None:
        await self._called("delete", key)
        self.objects.pop(key, None)
        self._versions.pop(key, None)

    def dump(self, folder: Path) -> None:
        """As a store in a local folder has them."""
        for key, data in self.objects.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    async def _called(self, what: str, key: str) -> None:
        self.calls.append((what, key))
        await asyncio.sleep(0)

    def _need(self, key: str) -> None:
        if key not in self.objects:
            raise NotFound(f"{key} is not in the store", code="store_missing")

    def _set(self, key: str, data: bytes) -> str:
        self.objects[key] = bytes(data)
        self._versions[key] = str(next(self._numbers))
        return self._versions[key]
