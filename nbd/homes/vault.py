"""Where the snapshots of each person are: one repository a person, under one master key."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Damaged, NotFound, Refused
from .model import Root
from .ports import KeyRing, ObjectStore, Sequences
from .repository import CONFIGS, POINTER, Repository, rolled_back, root_of, rotate
from .verifier import Verification, verify


class Vault:
    def __init__(self, where: str, stores: Callable[[str], ObjectStore], keys: KeyRing, sequences: Sequences, box: str = "") -> None:
        self.where, self.box = where, box
        self._stores, self._keys, self._sequences = stores, keys, sequences

    async def open(self, person: str) -> Repository:
        """Made if there is none. Raises Damaged(rolled_back) for a store that is older than what this box has seen of it."""
        repository = await Repository.open(self._stores(person), self._keys, await self._sequences.highest(person))
        repository.box = self.box
        await self.note(person, repository)
        return repository

    async def find(self, person: str) -> Repository | None:
        """To read from: None, and nothing made, where there never was a snapshot."""
        try:
            await self._stores(person).fetch(POINTER)
        except NotFound:
            if not await self._sequences.highest(person):
                return None
        return await self.open(person)

    async def peek(self, person: str) -> Root | None:
        """What the pointer names, by two small requests. None where there never was a snapshot. Raises as `open`."""
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

    async def verify(self, person: str) -> Verification:
        if await self.find(person) is None:
            return Verification()
        return await verify(self._stores(person), self._keys)
