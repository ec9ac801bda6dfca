"""At most one task per notebook at a time: who has the task acts for the notebook, so no two ever race."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)
Work = Coroutine[Any, Any, None]


class Tasks:
    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def busy(self) -> frozenset[str]:
        return frozenset(key for key, task in self._tasks.items() if not task.done())

    def replace(self, key: str, work: Work) -> None:
        """Make `work` the task of `key`; the present one is cancelled and has ended before `work` begins."""
        before = self._before(key)
        if before:
            before.cancel()
        self._put(key, before, work)

    def follow(self, key: str, work: Work) -> None:
        """Make `work` the task of `key` once the present one has ended by itself."""
        self._put(key, self._before(key), work)

    async def settled(self, key: str) -> None:
        """Return when nothing is at work on `key`."""
        while (task := self._tasks.get(key)) and not task.done():
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancel everything and wait; nothing is cleaned up."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _before(self, key: str) -> asyncio.Task[None] | None:
        """The present task, unless it is the one that is asking: a task may name its own successor."""
        task = self._tasks.get(key)
        return None if task is None or task.done() or task is asyncio.current_task() else task

    def _put(self, key: str, before: asyncio.Task[None] | None, work: Work) -> None:
        task = asyncio.create_task(self._after(before, work), name=f"notebook {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._done(key, done, work))

    async def _after(self, before: asyncio.Task[None] | None, work: Work) -> None:
        if before:
            await ended(before)
        await work

    def _done(self, key: str, task: asyncio.Task[None], work: Work) -> None:
        work.close()  # Does nothing to one that has run; one whose turn never came would be complained of.
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled() and (error := task.exception()):
            log.error("%s: %s", key, error, exc_info=error, extra={"NBD_NOTEBOOK": key})


async def ended(task: asyncio.Task[None]) -> None:
    """Return when it has. Cancelled meanwhile, it is cancelled too, and only its end ends this: whoever comes next meets nobody at work."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
            task.cancel()
    if cancelled:
        raise asyncio.CancelledError
