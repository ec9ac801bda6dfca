"""What a person may know of their home beyond its state: what takes the room, what a confirmation lets go of, old texts, the states of a path."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from ..errors import NbdError, NotFound
from ..messages import HomeView, LossView, RoomView, TextView, UsageView, VersionView
from . import views
from .losses import losses
from .model import HomeRequest
from .ports import Homes
from .sizes.surveyor import Surveyor
from .snapshots.reader import states, text_of
from .snapshots.repository import Repository
from .snapshots.snapshotter import home_entry
from .steward import newest_first, one_of
from .vault import Vault

log = logging.getLogger(__name__)
STORE_SECONDS = 5.0
"""A store that does not say by then how much it holds is left out."""


class Insight:
    def __init__(self, vault: Vault, homes: Homes, surveyor: Surveyor, tariff: str = "") -> None:
        self._vault, self._homes, self._surveyor, self._tariff = vault, homes, surveyor, tariff

    async def with_room(self, home: HomeRequest, view: HomeView) -> HomeView:
        return replace(view, room=await self._room(home))

    async def usage(self, home: HomeRequest) -> UsageView:
        survey, measuring = self._surveyor.usage(home)
        room = await self._room(home)
        view = views.usage(home, survey, measuring=measuring)
        snapshots, stored = await self._kept(home)
        return replace(view, room=room, snapshots=snapshots, stored=stored, cost=views.cost(self._tariff, stored))

    async def losses(self, home: HomeRequest) -> LossView:
        repository = await self._repository(home)
        newest = repository.root.newest()
        entry = await home_entry(repository, await repository.snapshot(newest)) if newest else None
        if entry is None:
            return LossView(0, ())
        held = await self._homes.open(home.path, home.uid)
        try:
            return views.loss(await losses(repository, held, entry.payload))
        finally:
            await held.close()

    async def text(self, home: HomeRequest, snapshot: str, path: str) -> TextView:
        repository = await self._repository(home)
        listed = one_of(repository, snapshot)
        return views.text(path, listed, await text_of(repository, listed, raw(path)))

    async def versions(self, home: HomeRequest, path: str) -> list[VersionView]:
        repository = await self._repository(home)
        return [views.version(one) for one in await states(repository, newest_first(repository), raw(path))]

    async def _room(self, home: HomeRequest) -> RoomView | None:
        try:
            room, verdict = await self._surveyor.room(home)
        except NbdError as error:
            log.info("how full %s is cannot be said: %s", home.path, error)
            return None
        return views.room(room, verdict, self._surveyor.hint(home, verdict))

    async def _kept(self, home: HomeRequest) -> tuple[int | None, int | None]:
        """How many snapshots there are, and their bytes in the store."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                repository = await self._vault.find(home.person)
                if repository is None:
                    return 0, 0
                tables = list(repository.tables())
                stored = await asyncio.to_thread(lambda: sum(table.stored() for table in tables))
                return len(repository.root.snapshots), stored
        except (NbdError, TimeoutError) as error:
            log.info("what the store holds of %s cannot be said: %s", home.path, error or "it is slow")
            return None, None

    async def _repository(self, home: HomeRequest) -> Repository:
        repository = await self._vault.find(home.person)
        if repository is None:
            raise NotFound("there are no snapshots of your home yet", hint="nbctl home status says why")
        return repository


def raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
