"""A store that tries again: with jitter, within a budget, and only what may be repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import Conflict, NbdError
from ..homes.ports import ObjectStore, Stored, Versioned

T = TypeVar("T")


class RetryingStore:
    """The port's own shape around another store."""

    def __init__(self, store: ObjectStore, *, budget: float = 60.0, first: float = 0.2, longest: float = 10.0) -> None:
        self._store, self._budget, self._first, self._longest = store, budget, first, longest

    async def create(self, key: str, data: bytes) -> None:
        await self._again(lambda: self._store.create(key, data))

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        """After a failure that may have taken effect, a conflict can be our own success: then the bytes there are ours."""
        tries = 0

        async def attempt() -> str:
            nonlocal tries
            tries += 1
            try:
                return await self._store.replace(key, data, expected)
            except Conflict:
                present = await self._store.fetch(key) if tries > 1 else None
                if present is not None and present.data == data:
                    return present.version
                raise

        return await self._again(attempt)

    async def fetch(self, key: str) -> Versioned:
        return await self._again(lambda: self._store.fetch(key))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._again(lambda: self._store.read(key, offset, length))

    async def list(self, prefix: str) -> list[Stored]:
        return await self._again(lambda: self._store.list(prefix))

    async def delete(self, key: str) -> None:
        await self._again(lambda: self._store.delete(key))

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + self._budget, self._first
        while True:
            try:
                return await call()
            except NbdError as error:
                if not error.retryable or loop.time() + pause > end:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, self._longest)
