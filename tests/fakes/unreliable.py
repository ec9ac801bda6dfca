"""A store on a bad day: a share of the calls fails before, or after, it has taken effect."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from typing import TypeVar

from nbd.errors import Unreachable
from nbd.homes.ports import ObjectStore, Stored, Versioned

T = TypeVar("T")


class UnreliableStore:
    def __init__(self, store: ObjectStore, *, share: float, seed: int) -> None:
        self.store, self.share, self._random = store, share, random.Random(seed)

    async def create(self, key: str, data: bytes) -> str | None:
        return await self._maybe(self.store.create(key, data))

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        return await self._maybe(self.store.replace(key, data, expected))

    async def fetch(self, key: str) -> Versioned:
        return await self._maybe(self.store.fetch(key))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._maybe(self.store.read(key, offset, length))

    async def list(self, prefix: str) -> list[Stored]:
        return await self._maybe(self.store.list(prefix))

    async def delete(self, key: str) -> None:
        await self._maybe(self.store.delete(key))

    async def _maybe(self, call: Awaitable[T]) -> T:
        fails = self._random.random() < self.share
        if fails and self._random.random() < 0.5:
            call.close()  # type: ignore[attr-defined]
            raise Unreachable("reset before the request", code="store_away")
        result = await call
        if fails:
            raise Unreachable("reset after the request", code="store_away")
        return result
