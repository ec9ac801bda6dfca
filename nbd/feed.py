"""One-to-many events inside core: whoever subscribes gets each one published afterwards, in order.

A reader that falls LIMIT events behind is cut off rather than allowed to hold memory: its stream ends, it comes back and reads the
present state afresh. Nobody may take an event for more than a hint to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
LIMIT = 4096


class Feed(Generic[T]):
    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[T | None]] = set()

    def publish(self, event: T) -> None:
        for queue in list(self._readers):
            if queue.qsize() >= LIMIT:
                self._readers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def close(self) -> None:
        """End every stream."""
        for queue in self._readers:
            queue.put_nowait(None)
        self._readers.clear()

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[T]]:
        """Events from this moment on, for as long as the block lasts."""
        queue: asyncio.Queue[T | None] = asyncio.Queue()
        self._readers.add(queue)
        try:
            yield self._read(queue)
        finally:
            self._readers.discard(queue)

    async def _read(self, queue: asyncio.Queue[T | None]) -> AsyncIterator[T]:
        while (event := await queue.get()) is not None:
            yield event
