"""Sees to it that homes are kept while notebooks run in them, and that the end of a run is a snapshot. Never the reason why a notebook does not
start or stop: a store that is away is said in `nbctl home status`, and what was wanted stays pending there.
"""

from __future__ import annotations

import asyncio
import logging

from ..errors import NbdError
from .model import Occupant, State
from .ports import Homes, People
from .roster import Roster

log = logging.getLogger(__name__)
FLUSH_SECONDS, TELL_SECONDS = 30.0, 5.0
USING = frozenset({State.RUNNING, State.PARKED, State.FROZEN, State.STOPPING})


class Protector:
    def __init__(self, homes: Homes, people: People, roster: Roster, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._homes, self._people, self._roster = homes, people, roster
        self._flush_seconds = flush_seconds
        self._telling = asyncio.Lock()
        self._trouble = ""

    async def tell(self) -> None:
        """Which homes are in use now. Told at each change and at each reconcile, so that a sync that was restarted knows again."""
        trouble = ""
        try:
            async with asyncio.timeout(min(TELL_SECONDS, self._flush_seconds)), self._telling:
                await self._homes.watch(await self._used())
        except (NbdError, TimeoutError) as error:
            trouble = str(error) or "sync is silent"
        if trouble and trouble != self._trouble:
            log.warning("homes are not watched: %s", trouble)
        self._trouble = trouble

    async def accept(self, owner: str) -> None:
        """Their home is as it should be. Raises what sync raises: a start that was asked for so must not bring it back after all."""
        who = await self._people.occupant(owner)
        if who is not None:
            await self._homes.accept(who)

    async def last(self, notebook: str) -> None:
        """The snapshot at the end of a run, named for it; waits so long and no longer."""
        row = self._roster.get(notebook)
        try:
            async with asyncio.timeout(self._flush_seconds):
                who = await self._people.occupant(row.owner)
                if who is not None:
                    await self._homes.flush(who, "stop", row.name)
        except (NbdError, TimeoutError) as error:
            log.warning("%s: the snapshot of its stop is pending: %s", row.title, str(error) or "the store is slow", extra={"NBD_NOTEBOOK": notebook})

    async def _used(self) -> list[Occupant]:
        owners = sorted({row.owner for row in self._roster.all() if row.state in USING})
        found = [await self._people.occupant(owner) for owner in owners]
        return [who for who in found if who is not None]
