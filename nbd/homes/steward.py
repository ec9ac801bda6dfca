"""Looks after all homes: who is kept, what is asked of their snapshots. Core's only partner in `nbd sync`."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext

from ..errors import InvalidInput, NbdError, NotFound, Refused
from ..homemessages import HomeBrief
from ..messages import DifferenceView, EntryView, HomeView, RestoreRequest, SnapshotView
from . import views
from .beginnings import Beginnings
from .keeper import Keeper, settled
from .keeping.guardian import Guardian, Means
from .model import HomeReady, HomeRequest, Listed, Snapshot
from .ports import Target
from .snapshots.comparer import compare
from .snapshots.contents import shown
from .snapshots.repository import Repository
from .snapshots.restorer import Progress, Restorer
from .snapshots.retention import BEFORE
from .snapshots.snapshotter import Request
from .snapshots.sparing import Sparing
from .teller import Teller


class Steward:
    def __init__(self, means: Means, keeper: Keeper, *, protect: bool = True) -> None:
        self._means, self._keeper = means, keeper
        self._protect = protect
        """False: no new snapshots; those that are there can be read."""
        self._guardians: dict[str, Guardian] = {}
        self._beginnings = Beginnings(keeper.ledger)
        self._teller = Teller(means, keeper.ledger, protect=protect)
        if means.vault.outbox:
            means.vault.outbox.published = self._published

    async def begin(self) -> None:
        """Goes on with what was not done when sync ended. Core's word on who works where is still to come."""
        for person in await self._keeper.ledger.people() if self._protect else ():
            owed = await self._keeper.ledger.owed(person)
            if owed:
                await self._beginnings.owed(await self._guardian(HomeRequest(person, owed.uid, owed.path)), owed)

    async def watch(self, homes: Iterable[HomeRequest]) -> None:
        """These homes are in use, and no others. May be told again and again."""
        used = {home.person: home for home in homes if self._protect}
        for person, guardian in list(self._guardians.items()):
            if used.get(person) != guardian.home:
                self._beginnings.end(person)
                guardian.unwatch()
        for home in used.values():
            await self._beginnings.watch(await self._guardian(home))

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
            await self._beginnings.flush(guardian, request)
        return await self._teller.view(guardian, in_use=self._in_use(home.person))

    async def status(self, home: HomeRequest) -> HomeView:
        guardian = await self._guardian(home)
        if guardian.known.protected is None and not guardian.working:
            await self._teller.first_look(guardian)
        return await self._teller.view(guardian, in_use=self._in_use(home.person))

    async def briefs(self) -> tuple[HomeBrief, ...]:
        """How each home stands of which anything is known here; quick, and it asks no store."""
        people = sorted({*self._guardians, *await self._keeper.ledger.people()})
        return tuple([await self._teller.brief(person, self._guardians.get(person), in_use=self._in_use(person)) for person in people])

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
        """`asked.to`: a place in the home, where what is there is replaced; it is kept first. Raises Refused(not_saved_first)."""
        repository = await self._repository(home)
        path = asked.path.encode("utf-8", "surrogateescape")
        listed, snapshot = await self._chosen(repository, asked, path)
        if asked.to and self._protect:
            await kept_first(self, home)
            target = await sparing(await self._repository(home), posixpath.relpath(asked.to, home.path), target)
        await Restorer(repository).restore(snapshot, path, target, progress)
        await settled(target)
        return views.snapshot(listed)

    async def close(self) -> None:
        await self._beginnings.close()
        await asyncio.gather(*(guardian.close() for guardian in self._guardians.values()))

    def _published(self, person: str, lost: bool) -> None:  # noqa: FBT001 - a callback's
        guardian = self._guardians.get(person)
        if guardian and lost:
            guardian.look_again("a snapshot that waited on this box was not whole any more")
        elif guardian:
            guardian.settle()

    def _in_use(self, person: str) -> bool:
        guardian = self._guardians.get(person)
        return self._beginnings.under_way(person) or (guardian is not None and guardian.watched)

    async def _guardian(self, home: HomeRequest) -> Guardian:
        """One a person. A home that moved, or an account made anew, has a new one; the old one ends first."""
        guardian = self._guardians.get(home.person)
        while guardian is not None and guardian.home != home:
            await guardian.close()
            if self._guardians.get(home.person) is guardian:
                del self._guardians[home.person]
            guardian = self._guardians.get(home.person)
        return self._guardians.setdefault(home.person, guardian or Guardian(home, self._means, self._keeper.ledger.debts(home)))

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


async def kept_first(steward: Steward, home: HomeRequest) -> None:
    """Before names in a home are replaced: what they hold is in a snapshot, or nothing is replaced."""
    try:
        await steward.flush(home, Request("restore", BEFORE))
    except NbdError as error:
        message = f"what is in your home now could not be saved first: {error.message}"
        raise Refused(message, code="not_saved_first", hint="restore into a new folder instead: leave --to and --in-place out") from error


async def sparing(repository: Repository, below: str, target: Target) -> Target:
    """The same target, for what is in no snapshot even now. Of a place to which a link leads it is not known where in the home it is."""
    newest = repository.root.newest()
    if newest is None or below == ".." or below.startswith("../"):
        return target
    where = b"" if below == "." else below.encode("utf-8", "surrogateescape")
    return Sparing(target, repository, await repository.snapshot(newest), where)


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
