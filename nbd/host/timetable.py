"""Calls things again and again: APScheduler on the program's own loop."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

log = logging.getLogger(__name__)
JITTER = 0.1
"""Of the time between two calls: many boxes do not ask one store in the same second."""


class Scheduler:
    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone=datetime.UTC)
        self._running: set[asyncio.Task[None]] = set()
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        self._scheduler.start()

    def every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        async def once() -> None:
            task = asyncio.current_task()
            assert task
            self._running.add(task)
            try:
                await call()
            except Exception:  # the clock's last door: the next call may go well
                log.exception("something that is done now and then met a defect")
            finally:
                self._running.discard(task)

        trigger = IntervalTrigger(seconds=seconds, jitter=seconds * JITTER, timezone=datetime.UTC)
        self._scheduler.add_job(once, trigger, max_instances=1, coalesce=True, misfire_grace_time=None)

    async def close(self) -> None:
        self._scheduler.shutdown(wait=False)
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
