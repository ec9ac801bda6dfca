"""Makes a home ready before a notebook starts in it: sees that it is there and the person's own, and brings it to its newest snapshot where nothing
can be lost by that (standing.py). While it is being brought it is half, and a note on the box says so, whatever is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from ..errors import HostUnfit, NbdError, Unreachable
from .fitness import fit, worked_in
from .keeping.guardian import Means
from .keeping.ownrules import own_rules
from .keeping.proof import changed_since
from .ledger import Ledger
from .model import HomeFacts, HomeNote, HomeReady, HomeRequest, Listed, Root, Snapshot
from .ports import HomeFolders, Notes, OpenHome, Target
from .sizes.room import amount
from .snapshots.careful import Careful
from .snapshots.changes import Changes, changes, weight
from .snapshots.repository import Repository
from .snapshots.restorer import Progress, Restorer
from .snapshots.snapshotter import home_entry
from .snapshots.walk import entries_of
from .standing import Circumstances, Move, Verdict, head_of, verdict
from .tops import SKELETON, tops_of

log = logging.getLogger(__name__)
ASK_SECONDS, WAIT_SECONDS = 2.0, 15.0
"""How long the store may take to say what there is: where the home was worked in, and where the start depends on it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is brought, to a home that is `base` now, or in which nobody has worked."""

    repository: Repository
    listed: Listed
    base: Listed | None
    worthless: frozenset[bytes]

    async def prepared(self) -> tuple[Snapshot, Changes | None]:
        snapshot = await self.repository.snapshot(self.listed)
        return snapshot, await changes(self.repository, await self.repository.snapshot(self.base), snapshot) if self.base else None


class Keeper:
    def __init__(self, means: Means, notes: Notes, folders: HomeFolders, skeleton: str = SKELETON) -> None:
        self._means, self._notes, self._folders, self._skeleton = means, notes, folders, skeleton
        self.ledger = Ledger(means, notes, folders)
        self._turns: dict[str, asyncio.Lock] = {}

    async def ready(self, home: HomeRequest, *, in_use: bool) -> HomeReady:
        """Whether a notebook may start in it, or it has to be brought first. Raises HostUnfit(home_unfit), Deadline; and HostUnfit(home_not_back)
        where nobody has worked in the home and the store does not say whether there is something to bring."""
        note, facts = await self._notes.read(home.person), await self._folders.look(home.path)
        ready = fit(home, facts, was_mounted=note.mounted and not note.accepted)
        if in_use or note.accepted == facts.inode:
            return ready
        if note.bringing:
            return replace(ready, bring="it was brought back in part")
        with explained():
            return await self._compared(home, facts, ready)

    async def _compared(self, home: HomeRequest, facts: HomeFacts, ready: HomeReady) -> HomeReady:
        note = await self._notes.read(home.person)
        seen = await self._circumstances(home, facts, note)
        found = verdict(seen)
        await self._settle(home, facts, found, seen.newest)
        return replace(ready, bring=found.reason if found.move in (Move.FILL, Move.PROVE) else "")

    async def bring(self, home: HomeRequest, target: Target, progress: Progress, *, in_use: bool) -> Listed | None:
        """Bring it; None where there turned out to be nothing to do. May be called again over its own half work, which goes on where it was.

        Raises HostUnfit(home_not_back): the store is away, the disk full, the key another, a file damaged.
        """
        async with self._turns.setdefault(home.person, asyncio.Lock()):
            facts = await self._folders.look(home.path)
            fit(home, facts)
            if in_use or (await self._notes.read(home.person)).accepted == facts.inode:
                return None
            self.ledger.under_way.add(home.person)
            try:
                with explained():
                    return await self._bring(home, facts, target, progress)
            finally:
                self.ledger.under_way.discard(home.person)

    async def _bring(self, home: HomeRequest, facts: HomeFacts, target: Target, progress: Progress) -> Listed | None:
        repository = await self._means.vault.find(home.person)
        chosen = await self._chosen(home, facts, repository) if repository else None
        if repository is None or chosen is None:
            return None
        await self._carry_out(home, target, progress, Job(repository, *chosen))
        values = {"bringing": "", "base": "", "brought": chosen[0].id, "parted": "", "accepted": facts.inode, "mounted": facts.mounted}
        await self._notes.change(home.person, **values)
        log.info("the home of %s is brought to its snapshot of %s", home.person, chosen[0].id[:12])
        return chosen[0]

    async def _circumstances(self, home: HomeRequest, facts: HomeFacts, note: HomeNote) -> Circumstances:
        try:
            async with self._opened(home) as held:
                tops = await tops_of(held, self._means, self._skeleton)
        except NbdError as error:
            return Circumstances(f"it cannot be looked at: {error.message}")
        sign = worked_in(tops)
        root = await self._root(home.person, sign)
        newest = root.newest() if root else None
        covered = newest is not None and not sign and await self._covered(home.person, newest, {top.name for top in tops})
        told = newest is not None and newest.id == note.told
        head = head_of(root, self._means.vault.box, note.brought) if root else None
        return Circumstances(sign, head, newest, told=told, covered=covered)

    @asynccontextmanager
    async def _opened(self, home: HomeRequest) -> AsyncIterator[OpenHome]:
        held = await self._means.homes.open(home.path, home.uid)
        try:
            yield held
        finally:
            await held.close()

    async def _root(self, person: str, worked: str) -> Root | None:
        """A start in a home in which somebody works does not wait for a store."""
        try:
            async with asyncio.timeout(ASK_SECONDS if worked else WAIT_SECONDS):
                return await self._means.vault.peek(person)
        except TimeoutError:
            error: NbdError = Unreachable(f"the store {self._means.vault.where} does not answer", code="store_away")
        except NbdError as raised:
            error = raised
        if not worked:
            raise error
        log.warning("whether another box has worked in the home of %s cannot be said: %s", person, error)
        return None

    async def _covered(self, person: str, newest: Listed, here: set[bytes]) -> bool:
        repository = await self._means.vault.find(person)
        home = await home_entry(repository, await repository.snapshot(newest)) if repository else None
        return not repository or not home or {entry.name for entry in await entries_of(repository, home.payload)} <= here

    async def _settle(self, home: HomeRequest, facts: HomeFacts, found: Verdict, newest: Listed | None) -> None:
        """Write down what follows from what was found, where nothing is brought."""
        if found.move is Move.PARTED and newest:
            await self._notes.change(home.person, told=newest.id, parted=newest.id)
        if found.move in (Move.NONE, Move.PARTED):
            await self._notes.change(home.person, mounted=facts.mounted)

    async def _chosen(self, home: HomeRequest, facts: HomeFacts, repository: Repository) -> tuple[Listed, Listed | None, frozenset[bytes]] | None:
        """What to bring; what the home is now, where it is known; and what may be replaced in it besides."""
        note, root = await self._notes.read(home.person), repository.root
        async with self._opened(home) as held:
            tops = await tops_of(held, self._means, self._skeleton)
            worthless = frozenset(top.name for top in tops if top.skeleton)
            if note.bringing:
                return one_of(root, note.bringing), one_of(root, note.base) if note.base else None, worthless
            seen = await self._circumstances(home, facts, note)
            found = verdict(seen)
            if found.move is Move.PROVE and seen.head:
                text = (await own_rules(held)).text
                first = await changed_since(repository, await repository.snapshot(seen.head), held, self._means.rules(text))
                log.info("since its last snapshot here the home of %s is %s", home.person, f"changed: {first}" if first else "as it was")
                found = verdict(replace(seen, unchanged=not first))
        await self._settle(home, facts, found, seen.newest)
        if found.move not in (Move.FILL, Move.FORWARD) or seen.newest is None:
            return None
        return seen.newest, seen.head if found.move is Move.FORWARD else None, worthless

    async def _carry_out(self, home: HomeRequest, target: Target, progress: Progress, job: Job) -> None:
        snapshot, known = await job.prepared()
        progress.of_entries, progress.of_bytes = await weight(job.repository, snapshot, known.of if known else None)
        note, facts = await self._notes.read(home.person), await self._folders.look(home.path)
        if not note.bringing and progress.of_bytes > facts.free_bytes:
            lacks = amount(progress.of_bytes - facts.free_bytes)
            raise HostUnfit(f"the home needs {amount(progress.of_bytes)}, {lacks} more than is free", hint="make room")
        await self._notes.change(home.person, bringing=job.listed.id, base=job.base.id if job.base else "")
        careful = Careful(target, progress, known, job.worthless)
        if known:
            await careful.remove(known.in_the_way())
        await Restorer(job.repository).restore(snapshot, b"", careful, progress, known.of if known else None)
        if progress.damaged or progress.refused:
            first = (progress.damaged or progress.skipped)[0]
            lost = len(progress.damaged) + progress.refused
            raise HostUnfit(f"{lost} did not come back, such as {first.path}: {first.reason}", hint="nbctl home verify")
        top = await home_entry(job.repository, snapshot)
        if known and top:
            await careful.remove(known.gone())
            await careful.dress(known.left_behind(top))
        await settled(careful)


async def settled(target: Target) -> None:
    """On the disk, before anything says that the home is whole: a power cut must not leave half of it under that word."""
    try:
        await target.flush()
    except OSError as error:
        raise HostUnfit(f"the disk does not keep it: {error.strerror}", hint="look: journalctl -k") from None


@contextmanager
def explained() -> Iterator[None]:
    """Whatever kept a home from coming back has one code: a person decides between waiting, mending and starting without it."""
    try:
        yield
    except NbdError as error:
        message = f"what its snapshots have could not be brought here: {error.message}"
        raise HostUnfit(message, hint=error.hint, code="home_not_back", retryable=error.retryable) from error


def one_of(root: Root, snapshot: str) -> Listed:
    """Raises HostUnfit: without it nobody can say what is still to be brought."""
    found = next((one for one in root.snapshots if one.id == snapshot), None)
    if found is None:
        message = f"it was brought in part to snapshot {snapshot[:12]}, which is not kept any more"
        raise HostUnfit(message, hint="bring what is missing by hand: nbctl home restore")
    return found
