"""Looks after all homes: who is kept, what is asked of their snapshots. Core's only partner in `nbd sync`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

from ..errors import InvalidInput, NbdError, NotFound, Refused
from ..homemessages import HomeBrief
from ..messages import DifferenceView, EntryView, HomeView, RestoreRequest, SnapshotView, Unkept
from . import views
from .comparer import compare
from .contents import shown
from .guardian import Guardian, Means
from .keeper import Keeper
from .model import HomeReady, HomeRequest, Listed, Snapshot
from .ports import Target
from .repository import Repository
from .restorer import Progress, Restorer
from .snapshotter import Request

log = logging.getLogger(__name__)
FIRST_LOOK_SECONDS = 5.0
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 5.0, 300.0
HALF = "not protected: the home was brought here in part only"
HALF_HINT = "the next start brings the rest: nbctl start; or say that it is whole: nbctl start --empty-home"


class Steward:
    def __init__(self, means: Means, keeper: Keeper, *, protect: bool = True) -> None:
        self._means, self._keeper = means, keeper
        self._protect = protect
        """False: no new snapshots; those that are there can be read."""
        self._guardians: dict[str, Guardian] = {}
        self._beginnings: dict[str, asyncio.Task[None]] = {}
        if means.vault.outbox:
            means.vault.outbox.published = self._published

    async def watch(self, homes: Iterable[HomeRequest]) -> None:
        """These homes are in use, and no others. May be told again and again."""
        used = {home.person: home for home in homes if self._protect}
        for person, guardian in list(self._guardians.items()):
            if used.get(person) != guardian.home:
                self._end_beginning(person)
                guardian.unwatch()
        for home in used.values():
            await self._watch(await self._guardian(home))

    async def ready(self, home: HomeRequest, *, in_use: bool = False) -> HomeReady:
        """`in_use`: core's word, which it may not have given to `watch` yet. Raises as the keeper's."""
        return await self._keeper.ready(home, in_use=in_use or self._in_use(home.person))

    async def bring(self, home: HomeRequest, target: Target, progress: Progress) -> SnapshotView:
        """One without an id: there was nothing to bring. Raises as the keeper's."""
        brought = await self._keeper.bring(home, target, progress, in_use=self._in_use(home.person))
        return views.snapshot(brought) if brought else SnapshotView("", 0.0, "")

    async def flush(self, home: HomeRequest, request: Request) -> HomeView:
        """Raises Refused(code=home_half) for a home that is not whole."""
        guardian = await self._guardian(home)
        if self._protect:
            await self._flush(guardian, request)
        return await self._view(guardian)

    async def status(self, home: HomeRequest) -> HomeView:
        guardian = await self._guardian(home)
        if guardian.known.protected is None and not guardian.working:
            await self._first_look(guardian)
        return await self._view(guardian)

    async def briefs(self) -> tuple[HomeBrief, ...]:
        """How each home stands of which anything is known here; quick, and it asks no store."""
        people = sorted({*self._guardians, *await self._keeper.people()})
        return tuple([await self._brief(person) for person in people])

    async def _brief(self, person: str) -> HomeBrief:
        guardian, spooled = self._guardians.get(person), self._means.vault.spooled(person)
        if guardian is not None and guardian.work.looker.root is not None:
            await self._keeper.met(person, guardian.work.looker.root)
        brief = replace(await self._keeper.brief(person), spooled_bytes=spooled.bytes if spooled else 0)
        if guardian is None:
            return brief
        known, work = guardian.known, guardian.work
        unsaved = await work.weigh_unsaved()
        return replace(
            brief, watched=self._in_use(person), protected=views.seconds(work.protected()), trouble=known.trouble.message if known.trouble else "",
            since=views.seconds(known.since), pending=guardian.pending(), withheld=views.withheld(guardian),
            unsaved_bytes=unsaved.bytes if unsaved else 0,
        )  # fmt: skip

    async def snapshots(self, home: HomeRequest) -> list[SnapshotView]:
        repository = await self._means.vault.find(home.person)
        return [views.snapshot(listed) for listed in newest_first(repository)] if repository else []

    async def entries(self, home: HomeRequest, snapshot: str, path: str) -> list[EntryView]:
        repository = await self._repository(home)
        found = await Restorer(repository).entries(await repository.snapshot(one_of(repository, snapshot)), path.encode("utf-8", "surrogateescape"))
        return [views.entry(one) for one in found]

    async def differences(self, home: HomeRequest, before: str, after: str) -> list[DifferenceView]:
        repository = await self._repository(home)
        old, new = [await repository.snapshot(one_of(repository, which)) for which in (before, after)]
        return [views.difference(one) for one in await compare(repository, old, new)]

    @asynccontextmanager
    async def calm(self, person: str) -> AsyncIterator[None]:
        """While the block lasts, nothing of this home is saved."""
        guardian = self._guardians.get(person)
        async with guardian.turn if guardian else nullcontext():
            yield

    async def restore(self, home: HomeRequest, asked: RestoreRequest, target: Target, progress: Progress) -> SnapshotView:
        repository = await self._repository(home)
        path = asked.path.encode("utf-8", "surrogateescape")
        listed, snapshot = await self._chosen(repository, asked, path)
        await Restorer(repository).restore(snapshot, path, target, progress)
        return views.snapshot(listed)

    async def close(self) -> None:
        for person in list(self._beginnings):
            self._end_beginning(person)
        await asyncio.gather(*(guardian.close() for guardian in self._guardians.values()))

    def _published(self, person: str, lost: bool) -> None:  # noqa: FBT001 - a callback's
        guardian = self._guardians.get(person)
        if guardian and lost:
            guardian.look_again("a snapshot that waited on this box was not whole any more")

    def _in_use(self, person: str) -> bool:
        guardian = self._guardians.get(person)
        return person in self._beginnings or (guardian is not None and guardian.watched)

    async def _watch(self, guardian: Guardian) -> None:
        """Nothing is recorded of a home that is half. One that is as it should be whatever its last snapshot had is recorded so first."""
        person = guardian.home.person
        if guardian.watched or person in self._beginnings:
            guardian.look_out()
            return
        if await self._keeper.half(person):
            log.warning("the home of %s was brought here in part only: nothing is recorded of it", person)
        elif await self._keeper.accepted(guardian.home):
            self._beginnings[person] = asyncio.create_task(self._begin(guardian), name=f"the first look at the home of {person}")
        else:
            guardian.watch()

    async def _begin(self, guardian: Guardian) -> None:
        pause = FIRST_PAUSE_SECONDS
        while await self._keeper.accepted(guardian.home):
            try:
                await self._flush(guardian, Request("begin"))
            except NbdError as error:
                log.warning("the home of %s is not recorded as it is: %s", guardian.home.person, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)
        self._beginnings.pop(guardian.home.person, None)
        guardian.watch()

    def _end_beginning(self, person: str) -> None:
        task = self._beginnings.pop(person, None)
        if task:
            task.cancel()

    async def _flush(self, guardian: Guardian, request: Request) -> None:
        home = guardian.home
        if await self._keeper.half(home.person):
            raise Refused(HALF, code="home_half", hint=HALF_HINT)
        accepted = await self._keeper.accepted(home)
        if accepted:
            await self._keeper.hold_newest(home.person)
        await guardian.flush(replace(request, confirmed=request.confirmed or accepted))
        if accepted or request.confirmed:
            await self._keeper.recorded(home.person)

    async def _guardian(self, home: HomeRequest) -> Guardian:
        """One a person. A home that moved, or an account made anew, has a new one; the old one ends first."""
        guardian = self._guardians.get(home.person)
        while guardian is not None and guardian.home != home:
            await guardian.close()
            if self._guardians.get(home.person) is guardian:
                del self._guardians[home.person]
            guardian = self._guardians.get(home.person)
        return self._guardians.setdefault(home.person, guardian or Guardian(home, self._means))

    async def _first_look(self, guardian: Guardian) -> None:
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
            guardian.known.trouble = None

    async def _view(self, guardian: Guardian) -> HomeView:
        known, work = guardian.known, guardian.work
        off = ("not protected: the admin of this box switched it off", "homes.protect in the settings")
        sentence, hint = views.sentence(guardian) if self._protect else off
        spooled = self._means.vault.spooled(guardian.home.person)
        if spooled and known.trouble is None:
            sentence, hint = views.waits(spooled, self._means.vault.where)
        if await self._keeper.half(guardian.home.person):
            sentence, hint = HALF, HALF_HINT
        unsaved = await work.weigh_unsaved()
        return HomeView(
            guardian.home.path, self._in_use(guardian.home.person), views.seconds(work.protected()), self._means.vault.where, sentence, hint,
            known.trouble.message if known.trouble else "", views.seconds(known.since), guardian.pending(),
            tuple(Unkept(one.path, one.reason) for one in known.skipped), known.skipped_count,
            withheld=views.withheld(guardian), alarms=await self._keeper.alarms(guardian.home.person),
            unsaved=views.unsaved(unsaved), saving=views.saving(work.looker.moving, unsaved), source=work.lookout.name if guardian.watched else "",
            source_why=work.lookout.why, proved=views.seconds(known.proved), waiting=views.waiting(spooled),
        )  # fmt: skip

    async def _repository(self, home: HomeRequest) -> Repository:
        repository = await self._means.vault.find(home.person)
        if repository is None:
            raise NotFound("there are no snapshots of your home yet", hint="nbctl home status says why")
        return repository

    async def _chosen(self, repository: Repository, asked: RestoreRequest, path: bytes) -> tuple[Listed, Snapshot]:
        if asked.snapshot:
            listed = one_of(repository, asked.snapshot)
            return listed, await repository.snapshot(listed)
        for listed in newest_first(repository):
            snapshot = await repository.snapshot(listed) if asked.at is None or listed.time / 1e9 <= asked.at else None
            if snapshot and await self._has(repository, snapshot, path):
                return listed, snapshot
        when = "" if asked.at is None else " from then or before"
        raise NotFound(f"no snapshot{when} has {shown(path) or 'the home'}", hint="see: nbctl home snapshots")

    @staticmethod
    async def _has(repository: Repository, snapshot: Snapshot, path: bytes) -> bool:
        try:
            await Restorer(repository).entries(snapshot, path)
        except NotFound:
            return False
        return True


def newest_first(repository: Repository) -> list[Listed]:
    return sorted(repository.root.snapshots, key=lambda listed: listed.time, reverse=True)


def one_of(repository: Repository, asked: str) -> Listed:
    """The snapshot whose id begins so. "latest" is the newest."""
    listed = newest_first(repository)
    found = listed[:1] if asked == "latest" else [one for one in listed if asked and one.id.startswith(asked)]
    if not found:
        raise NotFound(f"there is no snapshot {asked[:70]!r}", hint="see: nbctl home snapshots")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} snapshots have an id that begins with {asked!r}", hint="say more of it", code="ambiguous")
    return found[0]
