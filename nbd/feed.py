"""One-to-many events inside core: whoever subscribes gets each one published afterwards, in order.

A reader that falls LIMIT events behind is cut off rather than allowed to hold memory: its stream ends, it comes back and reads the
present state afresh. Nobody may take an event for more than a hint to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
LIMIT = 4096
PAUSE_SECONDS = 5.0
"""After so long without an event a reader gets None: the moment to show the far end that the line is alive."""


async def merged(*feeds: AsyncIterator[T | None]) -> AsyncGenerator[T | None, None]:
    """What each of them gives, as it comes; ends when one of them does."""
    waiting = {asyncio.ensure_future(anext(feed)): feed for feed in feeds}
    try:
        while not any(task.done() and isinstance(task.exception(), StopAsyncIteration) for task in waiting):
            for task in [task for task in waiting if task.done()]:
                feed = waiting.pop(task)
                waiting[asyncio.ensure_future(anext(feed))] = feed
                yield task.result()
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class Feed(Generic[T]):
    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[tuple[T, ...]]] = set()
        """Each event is a tuple of one; the empty tuple is the end."""

    def publish(self, event: T) -> None:
        for queue in list(self._readers):
            if queue.qsize() < LIMIT:
                queue.put_nowait((event,))
            else:
                self._readers.discard(queue)
                queue.put_nowait(())

    def close(self) -> None:
        """End every stream."""
        for queue in self._readers:
            queue.put_nowait(())
        self._readers.clear()

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[T | None]]:
        """Events from this moment on, for as long as the block lasts; None after each PAUSE_SECONDS without one."""
        queue: asyncio.Queue[tuple[T, ...]] = asyncio.Queue()
        self._readers.add(queue)
        try:
            yield self._read(queue)
        finally:
            self._readers.discard(queue)

    async def _read(self, queue: asyncio.Queue[tuple[T, ...]]) -> AsyncIterator[T | None]:
        while True:
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    item = await queue.get()
            except TimeoutError:
                yield None
                continue
            if not item:
                return
            yield item[0]
