"""Says how a home is kept: to its person in full, and to core in short."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ..errors import NbdError
from ..homemessages import HomeBrief
from ..messages import HomeView, Unkept
from . import views
from .keeping.guardian import Guardian, Means
from .ledger import COMING, HALF, HALF_HINT, Ledger

FIRST_LOOK_SECONDS = 5.0


class Teller:
    def __init__(self, means: Means, ledger: Ledger, *, protect: bool) -> None:
        self._means, self._ledger, self._protect = means, ledger, protect

    async def view(self, guardian: Guardian, *, in_use: bool) -> HomeView:
        known, work = guardian.known, guardian.work
        off = ("not protected: the admin of this box switched it off", "homes.protect in the settings")
        sentence, hint = views.sentence(guardian, in_use=in_use) if self._protect else off
        spooled = self._means.vault.spooled(guardian.home.person)
        if spooled and known.trouble is None:
            sentence, hint = views.waits(spooled, self._means.vault.where)
        if await self._ledger.half(guardian.home.person):
            sentence, hint = COMING if guardian.home.person in self._ledger.under_way else (HALF, HALF_HINT)
        unsaved = await work.weigh_unsaved()
        return HomeView(
            guardian.home.path, in_use, views.seconds(work.protected()), self._means.vault.where, sentence, hint,
            known.trouble.message if known.trouble else "", views.seconds(known.since), guardian.pending(),
            tuple(Unkept(one.path, one.reason) for one in known.skipped), known.skipped_count,
            withheld=views.withheld(guardian), alarms=await self._ledger.alarms(guardian.home.person),
            unsaved=views.unsaved(unsaved), saving=views.saving(work.looker.moving, unsaved), source=work.lookout.name if guardian.watched else "",
            source_why=work.lookout.why, proved=views.seconds(known.proved), waiting=views.waiting(spooled),
        )  # fmt: skip

    async def brief(self, person: str, guardian: Guardian | None, *, in_use: bool) -> HomeBrief:
        """Asks no store."""
        spooled = self._means.vault.spooled(person)
        if guardian is not None and guardian.work.looker.root is not None:
            await self._ledger.met(person, guardian.work.looker.root)
        brief = replace(await self._ledger.brief(person), spooled_bytes=spooled.bytes if spooled else 0)
        if guardian is None:
            return brief
        known, work = guardian.known, guardian.work
        unsaved = await work.weigh_unsaved()
        return replace(
            brief, watched=in_use, protected=views.seconds(work.protected()), trouble=known.trouble.message if known.trouble else "",
            since=views.seconds(known.since), pending=guardian.pending(), withheld=views.withheld(guardian),
            unsaved_bytes=unsaved.bytes if unsaved else 0,
        )  # fmt: skip

    async def first_look(self, guardian: Guardian) -> None:
        """What the store knows of a home that was not looked at since sync came up."""
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                repository = await self._means.vault.find(guardian.home.person)
                newest = repository.root.newest() if repository else None
                if repository and newest:
                    known = guardian.known
                    known.snapshot = snapshot = await repository.snapshot(newest)
                    known.skipped, known.skipped_count = snapshot.skipped, snapshot.skipped_count
        except TimeoutError:
            guardian.known.trouble = NbdError(f"the store {self._means.vault.where} does not answer", code="store_away", retryable=True)
        except NbdError as error:
            guardian.known.trouble = error
        else:
            if guardian.known.since is None:  # What a look met is not mended by the store's answer.
                guardian.known.trouble = None
