"""Brings what waits on this box into the stores, as soon as they are back: tried again and again, later each time, for each person by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ...errors import NbdError
from .outbox import Outbox

log = logging.getLogger(__name__)
PAUSE_SECONDS, MOST_PAUSE_SECONDS = 5.0, 60.0
AT_ONCE = 4


class Publisher:
    def __init__(self, outbox: Outbox, clock: Callable[[], float]) -> None:
        """`clock`: seconds that never go back."""
        self._outbox, self._clock = outbox, clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._pauses: dict[str, tuple[float, float]] = {}
        """After a failure: when to try again, and how long to wait after the next one."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def tick(self) -> None:
        """Begins a try for everybody who is due; to be called every PAUSE_SECONDS. A large one takes its time, and holds up nobody else."""
        for person in await self._outbox.people():
            if person not in self._tasks and self._pauses.get(person, (0.0, 0.0))[0] <= self._clock():
                self._tasks[person] = asyncio.create_task(self._try(person), name=f"publishing what waits for {person}")

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _try(self, person: str) -> None:
        try:
            async with self._slots:
                await self._outbox.publish(person)
            self._pauses.pop(person, None)
        except NbdError as error:
            log.info("what waits on this box for the store of %s is not in it yet: %s", person, error)
            self._later(person)
        except Exception:  # a defect must be seen, and tried again
            log.exception("publishing what waits for %s met a defect", person)
            self._later(person)
        finally:
            del self._tasks[person]

    def _later(self, person: str) -> None:
        pause = self._pauses.get(person, (0.0, PAUSE_SECONDS))[1]
        self._pauses[person] = (self._clock() + pause, min(2 * pause, MOST_PAUSE_SECONDS))
