"""Stores that hold back: so many requests at a time, so many bytes a second. One limit is shared by the stores of all persons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from ..homes.bandwidth import Bucket, Limits
from ..homes.ports import ObjectStore
from .wrapping import Call, Step, T, WrappedStore, received

LOOK_AGAIN_SECONDS = 5.0
"""The hour may have come in which another rate holds."""


class ConcurrentStore(WrappedStore):
    """At most as many calls at a time as `slots` has; the others wait in line."""

    def __init__(self, store: ObjectStore, slots: asyncio.Semaphore) -> None:
        super().__init__(store)
        self._slots = slots

    async def _through(self, step: Step, call: Call[T]) -> T:
        async with self._slots:
            return await call(self._store)


class Line:
    """One direction. Who spends waits until the debt of those before is paid; what goes, goes whole."""

    def __init__(self, limits: Limits, clock: Callable[[], float], minute: Callable[[], float]) -> None:
        self._limits, self._clock, self._minute = limits, clock, minute
        self._bucket = Bucket(0.0, clock())
        self._turn = asyncio.Lock()

    async def spend(self, size: int) -> None:
        async with self._turn:
            while pause := self._pause():
                await asyncio.sleep(min(pause, LOOK_AGAIN_SECONDS))
            self.owe(size)

    def owe(self, size: int) -> None:
        self._bucket = self._bucket.spent(size)

    def _pause(self) -> float:
        rate = self._limits.at(self._minute())
        self._bucket = self._bucket.filled(rate, self._clock())
        return self._bucket.wait(rate)


class Lines:
    """To the store and from it, each with its own limit's worth."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        def minute() -> float:
            now = datetime.fromtimestamp(wall())  # noqa: DTZ006 - the box's own clock, as the settings say
            return now.hour * 60 + now.minute + now.second / 60

        self.up, self.down = Line(limits, clock, minute), Line(limits, clock, minute)


class ThrottledStore(WrappedStore):
    """What is fetched is known when it is here: then it is owed, and the next one waits."""

    def __init__(self, store: ObjectStore, lines: Lines) -> None:
        super().__init__(store)
        self._lines = lines

    async def _through(self, step: Step, call: Call[T]) -> T:
        if step.sends:
            await self._lines.up.spend(step.sends)
        elif step.what in ("fetch", "read"):
            await self._lines.down.spend(0)
        result = await call(self._store)
        self._lines.down.owe(received(result))
        return result
