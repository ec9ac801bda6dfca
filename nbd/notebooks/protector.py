"""Sees to it that homes are kept while notebooks run in them, and that what happens to a notebook is a snapshot with its name. Never the reason why a
notebook does not start or stop: a store that is away is said, and what was wanted stays pending in sync.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..errors import NbdError, Unreachable
from . import homecoming
from .homenews import HomeNews
from .model import USING, Notebook, Occupant, State
from .ports import Homes, People
from .roster import Passing, Roster

log = logging.getLogger(__name__)
TELL_SECONDS = 5.0
BROKEN_OFF = "broken_off"


@dataclass(frozen=True, slots=True)
class Pace:
    flush_seconds: float = 30.0
    """So long a stop waits for its snapshot."""
    look_seconds: float = 0.5
    """So often it is asked how far that is."""


class Protector:
    def __init__(self, homes: Homes, people: People, roster: Roster, news: HomeNews, pace: Pace = Pace()) -> None:
        self._homes, self._people, self._roster, self._news, self._pace = homes, people, roster, news, pace
        self._telling = asyncio.Lock()
        self._trouble = ""
        self._unheard: dict[str, tuple[Notebook, str]] = {}
        """Snapshots that sync did not acknowledge, by notebook: it may never have heard of them."""
        self._asking: asyncio.Task[None] | None = None

    async def tell(self) -> None:
        """Which homes are in use now, and how all stand. At each change and at each reconcile, so that a sync that was restarted knows again."""
        trouble = ""
        try:
            async with asyncio.timeout(min(TELL_SECONDS, self._pace.flush_seconds)), self._telling:
                await self._homes.watch(await self._used())
                self._roster.again(self._news.take(await self._homes.briefs()))
            self._ask_again()
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
        """The snapshot at the end of a run. Waits so long and no longer, and shows how far it is."""
        row = self._roster.get(notebook)
        await self._snapshot(row, homecoming.occasion(row.stop_reason))
        await self.tell()  # So that who is told that it has stopped is told what of its home is not in the store yet.

    async def before_change(self, notebook: str) -> None:
        """The snapshot of a home before another profile works in it."""
        await self._snapshot(self._roster.get(notebook), "profile")

    async def before_freeze(self, notebook: str) -> None:
        """The snapshot of a home as the frozen notebook in it last saw it."""
        await self._snapshot(self._roster.get(notebook), "freeze")

    async def _snapshot(self, row: Notebook, event: str) -> None:
        try:
            async with asyncio.timeout(self._pace.flush_seconds):
                await self._flush(row, event)
        except (NbdError, TimeoutError) as error:
            why = str(error) or "the store is slow"
            log.warning("%s: the snapshot of its %s is pending: %s", row.title, event, why, extra={"NBD_NOTEBOOK": row.id})
            self._unheard[row.id] = (row, event)
            self._show_unheard()
        else:
            self._unheard.pop(row.id, None)
            self._show_unheard()

    def _ask_again(self) -> None:
        """Sync answers. What it has pending it goes on with by itself; of the rest it does not know."""
        for row, event in list(self._unheard.values()):
            brief = self._news.heard(row.owner)
            if brief and f"{event} {homecoming.name(row)}" in brief.pending:
                del self._unheard[row.id]
        self._show_unheard()
        if self._unheard and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._repeat(*next(iter(self._unheard.values()))), name="a snapshot that sync did not hear of")

    async def _repeat(self, row: Notebook, event: str) -> None:
        try:
            async with asyncio.timeout(self._pace.flush_seconds):
                await self._flush(row, event)
        except (NbdError, TimeoutError) as error:
            log.debug("%s: the snapshot of its %s is still pending: %s", row.title, event, error)
            return
        self._unheard.pop(row.id, None)
        self._show_unheard()

    async def close(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _show_unheard(self) -> None:
        self._roster.again(self._news.miss({row.owner: f"{event} {homecoming.name(row)}" for row, event in self._unheard.values()}))

    async def _flush(self, row: Notebook, event: str) -> None:
        who = await self._people.occupant(row.owner)
        if who is None:
            return
        async with self._shown(row, who):
            try:
                await self._homes.flush(who, event, homecoming.name(row))
            except Unreachable as error:
                if error.code != BROKEN_OFF:
                    raise
                # Sync died in the middle, and comes up again: it knows nothing of what it was asked.
                await self._homes.flush(who, event, homecoming.name(row))

    @asynccontextmanager
    async def _shown(self, row: Notebook, who: Occupant) -> AsyncIterator[None]:
        """While the block lasts, its notebook says how much of the home is saved."""
        showing = asyncio.create_task(self._show(row, who), name=f"how far {row.title} is saved")
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)

    async def _show(self, row: Notebook, who: Occupant) -> None:
        phase = homecoming.SAVING if row.state is State.STOPPING else homecoming.HOME
        self._roster.show(row.id, Passing(homecoming.saving(phase, None)))
        while True:
            await asyncio.sleep(self._pace.look_seconds)
            try:
                self._roster.show(row.id, Passing(homecoming.saving(phase, await self._homes.status(who))))
            except NbdError as error:
                log.debug("%s: how far it is saved cannot be said: %s", row.title, error)

    async def _used(self) -> list[Occupant]:
        owners = sorted({row.owner for row in self._roster.all() if row.state in USING})
        found = [await self._people.occupant(owner) for owner in owners]
        return [who for who in found if who is not None]
