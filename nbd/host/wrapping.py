"""What a store around another one is made of: the port's own shape, every call through one place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

from ..homes.ports import ObjectStore, Stored, Versioned

T = TypeVar("T")
Call = Callable[[ObjectStore], Awaitable[T]]


class Step(NamedTuple):
    """One call of the port, in numbers."""

    what: str
    key: str
    sends: int = 0
    """Bytes of the object."""
    wants: int = 0
    """Bytes asked for, where that is known beforehand."""


class Clock:
    """The box's, where a wrapper needs one."""

    def now(self) -> float:
        """Seconds; never goes back."""
        return time.monotonic()

    def minute(self) -> float:
        """Of the day, as the box's own clock shows it."""
        shown = datetime.now()  # noqa: DTZ005 - what the settings mean
        return shown.hour * 60 + shown.minute + shown.second / 60

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


BOX_CLOCK = Clock()


class WrappedStore:
    """Passes everything on. Who comes from it changes `_through`, or a call."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def create(self, key: str, data: bytes) -> str | None:
        return await self._through(Step("create", key, len(data)), lambda store: store.create(key, data))

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        return await self._through(Step("replace", key, len(data)), lambda store: store.replace(key, data, expected))

    async def fetch(self, key: str) -> Versioned:
        return await self._through(Step("fetch", key), lambda store: store.fetch(key))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._through(Step("read", key, wants=length), lambda store: store.read(key, offset, length))

    async def list(self, prefix: str) -> list[Stored]:
        return await self._through(Step("list", prefix), lambda store: store.list(prefix))

    async def delete(self, key: str) -> None:
        await self._through(Step("delete", key), lambda store: store.delete(key))

    async def _through(self, step: Step, call: Call[T]) -> T:
        return await call(self._store)


def received(result: object) -> int:
    """Bytes of the object in an answer."""
    if isinstance(result, Versioned):
        return len(result.data)
    return len(result) if isinstance(result, bytes) else 0
