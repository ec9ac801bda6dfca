"""Where the snapshots of each person are: one repository a person, under one master key."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import NotFound
from .ports import KeyRing, ObjectStore, Sequences
from .repository import POINTER, Repository
from .verifier import Verification, verify


class Vault:
    def __init__(self, where: str, stores: Callable[[str], ObjectStore], keys: KeyRing, sequences: Sequences) -> None:
        self.where = where
        self._stores, self._keys, self._sequences = stores, keys, sequences

    async def open(self, person: str) -> Repository:
        """Made if there is none. Raises Damaged(rolled_back) for a store that is older than what this box has seen of it."""
        repository = await Repository.open(self._stores(person), self._keys, await self._sequences.highest(person))
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

    async def note(self, person: str, repository: Repository) -> None:
        await self._sequences.note(person, repository.root.sequence)

    async def verify(self, person: str) -> Verification:
        if await self.find(person) is None:
            return Verification()
        return await verify(self._stores(person), self._keys)
