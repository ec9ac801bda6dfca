"""Where the snapshots of each person are: one repository a person, under one master key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

from ..errors import Damaged, HostUnfit, NbdError, NotFound, Refused
from .model import Root
from .offline.outbox import Means, Outbox
from .offline.spool import Spooled
from .ports import KeyRing, ObjectStore, Sequences, Shelf, Spool
from .snapshots.copies import Copies, Memory
from .snapshots.repository import CONFIGS, POINTER, Repository, rolled_back, root_of, rotate
from .snapshots.verifier import Verification, verify


class Vault:
    def __init__(self, where: str, stores: Callable[[str], ObjectStore], keys: KeyRing, sequences: Sequences, box: str = "") -> None:
        self.where, self.box = where, box
        self._stores, self._keys, self._sequences = stores, keys, sequences
        self._memory = Memory()
        self._shelf: Shelf | None = None
        self.outbox: Outbox | None = None
        """None: what cannot get into the store now waits in the home alone."""

    def use(self, shelf: Shelf | None, spool: Spool | None) -> None:
        """What this box keeps beside the stores. Before anything is asked of them."""
        self._shelf = shelf
        self.outbox = Outbox(Means(self._stores, self._keys, self._sequences, spool, self._copies, self.box)) if spool else None

    async def open(self, person: str) -> Repository:
        """Made if there is none; while anything waits on this box for the store, the one that has it. Raises Damaged(rolled_back) for a store that
        is older than what this box has seen of it."""
        spooling = await self.outbox.repository(person) if self.outbox else None
        return spooling or await self._open(person)

    async def _open(self, person: str) -> Repository:
        repository = await Repository.open(self._stores(person), self._keys, await self._sequences.highest(person), self._copies(person))
        repository.box = self.box
        with suppress(HostUnfit):  # What this box keeps is full: read all the same. Each snapshot notes it again, and says so.
            await self.note(person, repository)
        return repository

    def _copies(self, person: str) -> Copies:
        return Copies(person, self._memory, self._shelf)

    @asynccontextmanager
    async def taking(self, person: str) -> AsyncIterator[None]:
        """Around all that is written for this person by way of `open` and `aside`."""
        async with self.outbox.taking(person) if self.outbox else nullcontext():
            yield

    async def aside(self, person: str, error: NbdError) -> Repository:
        """Where a snapshot can wait, after its store failed so. Raises the error again where it cannot."""
        if self.outbox is None:
            raise error
        return await self.outbox.aside(person, error)

    def current(self, person: str, repository: Repository) -> bool:
        """Whether what is written there gets where it should."""
        return self.outbox is None or self.outbox.current(person, repository)

    def spooled(self, person: str) -> Spooled | None:
        """What waits on this box for the store; None for nothing."""
        return self.outbox.spooled(person) if self.outbox else None

    async def find(self, person: str) -> Repository | None:
        """To read from: None, and nothing made, where there never was a snapshot."""
        if self.outbox and (spooling := await self.outbox.repository(person)):
            return spooling
        try:
            await self._stores(person).fetch(POINTER)
        except NotFound:
            if not await self._sequences.highest(person):
                return None
        return await self.open(person)

    async def peek(self, person: str) -> Root | None:
        """What the pointer names, by two small requests. None where there never was a snapshot. Raises as `open`."""
        if self.outbox and (spooling := await self.outbox.repository(person)):
            return spooling.root
        store, highest = self._stores(person), await self._sequences.highest(person)
        try:
            sealed = (await store.fetch(POINTER)).data
            config = (await store.fetch(CONFIGS[0])).data
            root = root_of(self._keys.open_home(config), sealed)
        except (NotFound, Damaged, Refused):
            # Whoever opens it knows what is wrong, and of the config's copy.
            repository = await self.find(person)
            return repository.root if repository else None
        if root.sequence < highest:
            raise rolled_back(root.sequence, highest)
        return root

    async def note(self, person: str, repository: Repository) -> None:
        """What the store has, and not what waits for it."""
        if not repository.spooling:
            await self._sequences.note(person, repository.root.sequence)

    async def people(self) -> list[str]:
        """Whose snapshots this box has seen."""
        return await self._sequences.people()

    async def rewrap(self, person: str) -> bool:
        """The home key of a person under the newest master key alone; may be repeated. False: there is no home of theirs."""
        store = self._stores(person)
        for key in CONFIGS:
            try:
                await store.fetch(key)
            except NotFound:
                continue
            await rotate(store, self._keys)
            return True
        return False

    async def verify(self, person: str, share: float = 1.0) -> Verification:
        """`share`: of the packs, taken at random, and one at least."""
        if await self.find(person) is None:
            return Verification()
        return await verify(self._stores(person), self._keys, share)
