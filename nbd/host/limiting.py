"""Stores that hold back: so many requests at a time, so many bytes a second. One limit is shared by the stores of all persons."""

from __future__ import annotations

import asyncio

from ..homes.ports import ObjectStore
from ..homes.stores.bandwidth import Bucket, Limits
from .wrapping import BOX_CLOCK, Call, Clock, Step, T, WrappedStore, received

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

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits, self._clock = limits, clock
        self._bucket = Bucket(0.0, clock.now())
        self._turn = asyncio.Lock()

    async def spend(self, size: int) -> None:
        async with self._turn:
            while pause := self._pause():
                await self._clock.sleep(min(pause, LOOK_AGAIN_SECONDS))
            self.owe(size)

    def owe(self, size: int) -> None:
        self._bucket = self._bucket.spent(size)

    def _pause(self) -> float:
        rate = self._limits.at(self._clock.minute())
        self._bucket = self._bucket.filled(rate, self._clock.now())
        return self._bucket.wait(rate)


class Lines:
    """To the store and from it, each with its own limit's worth."""

    def __init__(self, limits: Limits, clock: Clock = BOX_CLOCK) -> None:
        self.up, self.down = Line(limits, clock), Line(limits, clock)


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
