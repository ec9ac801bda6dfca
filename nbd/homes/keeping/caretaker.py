"""Does for homes what nobody asks for: drops what the retention does not keep, reads what is kept and says when it is not what was stored. And the
same for who asks. One home at a time, never two things with one home.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass

from ...errors import Conflict, NbdError, NotFound, Unreachable
from ...homemessages import KeptView, PruneView
from ...messages import SnapshotView, VerifyView
from .. import views
from ..keeper import Keeper
from ..ports import Notes
from ..snapshots.naming import forget
from ..snapshots.pruner import Plan, Pruner, worth_it
from ..snapshots.repository import Repository
from ..snapshots.retention import Policy
from ..snapshots.verifier import Verification
from ..steward import one_of
from .duties import SHARE, Duty, Failed, Rhythm, due
from .guardian import Means

log = logging.getLogger(__name__)
ATTEMPTS = 3
MOST_PAUSE_SECONDS = 60.0
MOMENT_SECONDS = 2.0
CALM_SECONDS = 20.0
"""So long saves of a home wait at most, for a prune that lost to them again and again."""
SHOWN_DAMAGES = 20
Calm = Callable[[str], AbstractAsyncContextManager[None]]
"""While it is entered, the home of this person is not saved."""


@dataclass(frozen=True, slots=True)
class Care:
    policy: Policy
    rhythm: Rhythm


class Caretaker:
    def __init__(self, means: Means, notes: Notes, keeper: Keeper, care: Care, calm: Calm) -> None:
        self._vault, self._wall, self._notes, self._keeper, self._care, self._calm = means.vault, means.wall, notes, keeper, care, calm
        self._failed: dict[str, dict[Duty, Failed]] = {}
        self._at: set[str] = set()

    @property
    def pause(self) -> float:
        """Seconds between two ticks."""
        rhythm = self._care.rhythm
        return min([MOST_PAUSE_SECONDS, *(every / 2 for every in (rhythm.prune, rhythm.prove, rhythm.sample) if every)])

    async def tick(self) -> None:
        """What is due now, of everybody."""
        for person in sorted({*await self._notes.people(), *await self._vault.people()}):
            try:
                await self._look_after(person)
            except NbdError as error:
                log.warning("what is due for the home of %s is not done: %s", person, error)

    async def prune(self, person: str, *, dry_run: bool) -> PruneView:
        """Raises Conflict while something else is done with what is kept, or where saves came between each time; Refused(code=clock), Damaged."""
        with self._turn(person):
            self._refuse_while_away(person)
            return await self._prune(person, dry_run=dry_run)

    async def forget(self, person: str, snapshot: str) -> SnapshotView:
        with self._turn(person):
            self._refuse_while_away(person)
            repository = await self._repository(person)
            listed = one_of(repository, snapshot)
            await forget(repository, listed.id)
            await self._vault.note(person, repository)
            log.info("snapshot %s of the home of %s is forgotten: they asked for it", listed.id[:12], person)
            return views.snapshot(listed)

    async def verify(self, person: str, share: float = 1.0) -> VerifyView:
        """What was found is remembered until all was read and is good. Raises Conflict while something else is done with what is kept."""
        with self._turn(person):
            found = await self._vault.verify(person, share)
            await self._remember(person, found, whole=share >= 1)
            return VerifyView(found.good, found.snapshots, found.objects, found.bytes, tuple(found.damages), tuple(found.paths))

    def _refuse_while_away(self, person: str) -> None:
        if self._vault.spooled(person):
            raise Unreachable("snapshots wait on this box for a store that is away: nothing is dropped meanwhile", code="store_away")

    async def _look_after(self, person: str) -> None:
        note, now = await self._notes.read(person), self._wall()
        if not note.known:
            note = await self._notes.change(person, known=now)
        if note.parted:
            await self._keeper.ledger.keep_both(person)
        for duty in due(note, now, self._care.rhythm, self._failed.get(person, {})):
            if person in self._at:
                return
            await self._do(person, duty)

    async def _do(self, person: str, duty: Duty) -> None:
        failed = self._failed.setdefault(person, {})
        try:
            if duty is Duty.PRUNE:
                await self.prune(person, dry_run=False)
            else:
                await self.verify(person, 1.0 if duty is Duty.PROVE else SHARE)
        except NbdError:
            failed[duty] = Failed(failed[duty].times + 1 if duty in failed else 1, self._wall())
            raise
        failed.pop(duty, None)

    async def _prune(self, person: str, *, dry_run: bool) -> PruneView:
        repository = await self._vault.find(person)
        if repository is None:
            return PruneView(person, done=True, snapshots=(), freed_bytes=0, deleted=0)
        if not dry_run and await self._long_look(person):
            raise Conflict("so much is being saved just now that nothing is dropped meanwhile", hint="it is tried again", retryable=True)
        pruner = Pruner(repository)
        for attempt in range(1, ATTEMPTS + 1):
            # The last try keeps saves away for a moment: who saves all the time must not keep everything for ever.
            async with self._calmed(person, last=attempt == ATTEMPTS):
                plan = await pruner.plan(self._care.policy, self._wall())
                if dry_run or not worth_it(plan, repository.root) or await self._executed(person, pruner, plan):
                    break
        else:
            raise Conflict("the home was saved again and again meanwhile: nothing was dropped", hint="it is tried again", retryable=True)
        if not dry_run:
            dropped = (await self._notes.read(person)).dropped + len(plan.drop)
            await self._notes.change(person, pruned=self._wall(), dropped=dropped)
            await self._vault.note(person, repository)
        return pruned(person, plan, done=not dry_run)

    async def _long_look(self, person: str) -> bool:
        """Whether the home is being read for longer than a moment. After a prune a writing begins again, and one of hours would never end."""
        try:
            async with asyncio.timeout(MOMENT_SECONDS), self._calm(person):
                return False
        except TimeoutError:
            return True

    async def _executed(self, person: str, pruner: Pruner, plan: Plan) -> bool:
        """False: somebody was first."""
        try:
            await pruner.execute(plan)
        except Conflict:
            return False
        log.info("of the home of %s %d snapshots are dropped, %d objects are deleted", person, len(plan.drop), len(plan.delete))
        return True

    @asynccontextmanager
    async def _calmed(self, person: str, *, last: bool) -> AsyncIterator[None]:
        if not last:
            yield
            return
        try:
            async with asyncio.timeout(CALM_SECONDS), self._calm(person):
                yield
        except TimeoutError:
            raise Conflict("a prune took too long to keep saves waiting for it", hint="it is tried again", retryable=True) from None

    async def _remember(self, person: str, found: Verification, *, whole: bool) -> None:
        now = self._wall()
        damages = (*found.damages[:SHOWN_DAMAGES], *(f"{path} cannot be restored" for path in list(found.paths)[:SHOWN_DAMAGES]))
        before = (await self._notes.read(person)).damages
        if damages and damages != before:
            log.error("what is kept of the home of %s is damaged: %s", person, "; ".join(damages[:3]))
        values = {"proven": now} if whole else {"sampled": now}
        await self._notes.change(person, damages=damages if whole or damages else before, **values)

    async def _repository(self, person: str) -> Repository:
        repository = await self._vault.find(person)
        if repository is None:
            raise NotFound("there are no snapshots of this home", hint="nbctl home status says why")
        return repository

    @contextmanager
    def _turn(self, person: str) -> Iterator[None]:
        """One thing at a time with what is kept of a home. Raises Conflict."""
        if person in self._at:
            raise Conflict("your snapshots are being verified or pruned just now", hint="wait for that to end", retryable=True)
        self._at.add(person)
        try:
            yield
        finally:
            self._at.discard(person)


def pruned(person: str, plan: Plan, *, done: bool) -> PruneView:
    reasons = {kept.snapshot.id: kept.reasons for kept in plan.keep}
    listed = sorted([*(kept.snapshot for kept in plan.keep), *plan.drop], key=lambda one: one.time, reverse=True)
    shown = tuple(KeptView(views.snapshot(one), reasons.get(one.id, ())) for one in listed)
    return PruneView(person, done, shown, plan.freed, len(plan.delete) if done else 0)
