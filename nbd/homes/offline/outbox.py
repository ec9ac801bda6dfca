"""Snapshots that wait on this box for a store that is away: taken into the spool, published when the store is back (docs/decisions/0006-spool.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from ...errors import NbdError, NotFound
from ..ports import KeyRing, ObjectStore, Sequences, Spool
from ..snapshots.copies import Copies
from ..snapshots.repository import POINTER, Repository
from . import spool, spooling
from .publishing import Publishing
from .spool import Spooled

log = logging.getLogger(__name__)
FULL_REST = 20.0
"""After a look that did not fit, so many times as long as it took."""


@dataclass(slots=True)
class Lane:
    """Of one person."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who holds it is the only one that commits to the spool, or moves the pointer from it."""
    repository: Repository | None = None
    """Where snapshots are taken to while anything is in the spool."""
    tidy: bool = False
    """What killed looks left in the spool has been cleared away."""
    spooled: Spooled | None = None
    why: str = ""
    """What kept the first of them from the store."""
    indexes: tuple[str, ...] = ()
    """Those of the last look that ended well; one that fails in its middle leaves no more behind."""
    full: tuple[float, NbdError] | None = None
    """Until then, of the loop's clock, it is not tried again to get all that is new into the spool: that may be gigabytes each time."""


@dataclass(frozen=True, slots=True)
class Means:
    stores: Callable[[str], ObjectStore]
    keys: KeyRing
    sequences: Sequences
    spool: Spool
    copies: Callable[[str], Copies]
    box: str


class Outbox:
    def __init__(self, means: Means) -> None:
        self._means = means
        self._lanes: dict[str, Lane] = {}
        self.published: Callable[[str, bool], None] = lambda person, lost: None
        """Called after each publishing: whose, and whether something of it could not be."""

    def spooled(self, person: str) -> Spooled | None:
        """What waits; None for nothing. As far as it is known: `people` looks."""
        return self._lane(person).spooled

    async def people(self) -> list[str]:
        """Of whom something waits."""
        found = [person for person in await self._means.spool.people() if await spooling.begun(self._means.spool.store(person))]
        for person in found:
            if self.spooled(person) is None:
                self._lane(person).spooled = await self._measured(person)
        return found

    async def repository(self, person: str) -> Repository | None:
        """Where this person's snapshots go, and can be read, while something of theirs is in the spool. Raises what opening it does."""
        lane, local = self._lane(person), self._means.spool.store(person)
        if lane.repository is None and await spooling.begun(local):
            opened, measured = await self._opened(person), await self._measured(person)
            if await spooling.begun(local) and lane.repository is None:  # Else it was published meanwhile, or opened.
                lane.repository, lane.spooled, lane.indexes = opened, lane.spooled or measured, opened.root.indexes
        return lane.repository

    def current(self, person: str, repository: Repository) -> bool:
        """Whether this is where snapshots go now."""
        lane = self._lane(person)
        return lane.repository is repository if repository.spooling else lane.repository is None and lane.spooled is None

    async def aside(self, person: str, error: NbdError) -> Repository:
        """From now on snapshots go to the spool; with the turn held. Raises the error again where it is not the store's, or where too little is
        known on this box."""
        lane, means = self._lane(person), self._means
        local = means.spool.store(person)
        if lane.repository is not None or not spool.is_away(error) or await spooling.begun(local):
            raise error  # What waits there already is not touched, even where it cannot be opened without the store.
        await self._clear(person)
        if not await spooling.begin(local, means.copies(person)):
            raise error
        lane.repository, lane.why = await self._opened(person), error.message
        self._refuse_while_full(lane)
        return lane.repository

    @asynccontextmanager
    async def taking(self, person: str) -> AsyncIterator[None]:
        """Holds the turn, and afterwards notes what waits."""
        lane, clock = self._lane(person), asyncio.get_running_loop().time
        async with lane.turn:
            began = clock()
            try:
                if lane.spooled is not None:
                    self._refuse_while_full(lane)
                yield
            except BaseException as error:
                if isinstance(error, NbdError) and error.code == spool.FULL and lane.full is None:
                    lane.full = (clock() + (clock() - began) * FULL_REST, error)
                with suppress(NbdError):
                    await self._fail(person)
                raise
            lane.full = None
            await self._settle(person)

    def _refuse_while_full(self, lane: Lane) -> None:
        if lane.full is not None and asyncio.get_running_loop().time() < lane.full[0]:
            raise lane.full[1]
        lane.full = None

    async def _fail(self, person: str) -> None:
        """The spool is as it was before the look."""
        lane, local = self._lane(person), self._means.spool.store(person)
        if lane.repository is None:
            return
        if await spooling.begun(local) and lane.spooled is not None:
            await spooling.roll_back(lane.repository, lane.indexes)
            await spooling.tidy(local, lane.repository)
        else:
            await self._clear(person)
            lane.repository = None

    async def _settle(self, person: str) -> None:
        lane, local = self._lane(person), self._means.spool.store(person)
        if lane.repository is None:
            return
        if not await spooling.begun(local):
            lane.repository = None  # Nothing had changed: the next look tries the store again.
            return
        lane.indexes = lane.repository.root.indexes
        if not lane.tidy:
            await spooling.tidy(local, lane.repository)
            lane.tidy = True
        if lane.spooled is None:
            log.warning("the snapshots of %s wait on this box from now on: %s", person, lane.why or "the store was away before")
        lane.spooled = await self._measured(person)

    async def publish(self, person: str) -> None:
        """Returns when nothing is in the spool any more. Raises why it still is."""
        lane, means = self._lane(person), self._means
        local = means.spool.store(person)
        if not await spooling.begun(local):
            return
        try:
            store = await Repository.open(means.stores(person), means.keys, await means.sequences.highest(person), means.copies(person))
            publishing = Publishing(local, store)
            await publishing.upload()
            async with lane.turn:
                lost, before = False, ""
                while before != (before := (await local.fetch(POINTER)).version):  # A name may be given without holding the turn.
                    lost |= await publishing.finish()
                await means.sequences.note(person, store.root.sequence)
                await self._clear(person)
                lane.repository = lane.spooled = None
        except NbdError as error:
            if lane.spooled is not None:
                lane.spooled = replace(lane.spooled, trouble=error.message)
            raise
        log.info("what waited on this box for the store of %s is in it", person)
        self.published(person, lost)

    async def _opened(self, person: str) -> Repository:
        means = self._means
        repository = await spooling.opened(means.spool.store(person), means.stores(person), means.keys, means.copies(person))
        repository.box = means.box
        return repository

    async def _measured(self, person: str) -> Spooled:
        local, before = self._means.spool.store(person), self._lane(person).spooled
        size = sum(stored.size for stored in await local.list(""))
        try:
            codec = self._means.keys.open_home((await local.fetch(spooling.CONFIG)).data)
            snapshots = spool.added(*await spooling.roots(local, codec)).snapshots
        except (NbdError, NotFound) as error:
            return Spooled(size, 0, trouble=error.message)
        since = min((listed.time for listed in snapshots), default=None)
        return Spooled(size, len(snapshots), since, before.trouble if before else self._lane(person).why)

    async def _clear(self, person: str) -> None:
        """The pointer first: from then on there is nothing, whatever is left."""
        await self._means.spool.clear(person, POINTER)

    def _lane(self, person: str) -> Lane:
        return self._lanes.setdefault(person, Lane())
