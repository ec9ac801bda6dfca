"""How the keeping of a home begins: not at all while it is half; and by recording what is there, where somebody said that it is as it should be,
whatever its last snapshot had.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from ..errors import NbdError, Refused
from .keeping.guardian import Guardian
from .ledger import HALF, HALF_HINT, Ledger
from .model import Owed
from .snapshots.snapshotter import Request

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 5.0, 300.0


class Beginnings:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def watch(self, guardian: Guardian) -> None:
        """Nothing is recorded of a home that is half. One that is as it should be whatever its last snapshot had is recorded so first."""
        person = guardian.home.person
        if guardian.watched or person in self._tasks:
            guardian.look_out()
            return
        if await self._ledger.half(person):
            log.warning("the home of %s was brought here in part only: nothing is recorded of it", person)
        elif await self._ledger.accepted(guardian.home):
            self._tasks[person] = asyncio.create_task(self._begin(guardian), name=f"the first look at the home of {person}")
        else:
            await self._watch(guardian)

    async def owed(self, guardian: Guardian, owed: Owed) -> None:
        """What a sync that was killed left undone. Nothing is recorded of a home that is half."""
        if not await self._ledger.half(guardian.home.person):
            log.info("the home of %s is looked at: nobody knows that all of it was saved", guardian.home.person)
            guardian.wish(Request(owed.event or "save", owed.name))

    async def _watch(self, guardian: Guardian) -> None:
        guardian.watch()
        await guardian.owe(Request())

    async def _begin(self, guardian: Guardian) -> None:
        pause = FIRST_PAUSE_SECONDS
        while await self._ledger.accepted(guardian.home):
            try:
                await self.flush(guardian, Request("begin"))
            except NbdError as error:
                log.warning("the home of %s is not recorded as it is: %s", guardian.home.person, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)
        self._tasks.pop(guardian.home.person, None)
        await self._watch(guardian)

    def under_way(self, person: str) -> bool:
        return person in self._tasks

    def end(self, person: str) -> None:
        task = self._tasks.pop(person, None)
        if task:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for person in list(self._tasks):
            self.end(person)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def flush(self, guardian: Guardian, request: Request) -> None:
        """Raises Refused(code=home_half) for a home that is not whole, and as the guardian's."""
        home = guardian.home
        if await self._ledger.half(home.person):
            raise Refused(HALF, code="home_half", hint=HALF_HINT)
        accepted = await self._ledger.accepted(home)
        held = not accepted or await self._ledger.hold_newest(home.person)
        await guardian.flush(replace(request, confirmed=request.confirmed or accepted))
        if not held:  # Its store is away: this one waits on the box now, and so can the name of the one before it.
            await self._ledger.hold_newest(home.person, but=1)
        if accepted or request.confirmed:
            await self._ledger.recorded(home.person)
