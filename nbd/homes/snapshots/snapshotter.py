"""Takes snapshots of one home: walks it, stores what is new, commits; begins again where another was first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from ...errors import Conflict, NbdError
from .. import guards
from ..model import FORMAT, Entry, Listed, Skipped, Snapshot
from ..ports import Ignores, OpenHome
from .encoding import encode_part
from .packer import Packer
from .repository import Moving, Repository
from .walk import Dirty, Walk, entries_of

ATTEMPTS = 5
SHOWN_SKIPPED = 100


@dataclass(frozen=True, slots=True)
class Request:
    """`dirty` None: a proving look at everything. `confirmed`: a person said that what is gone may go."""

    event: str = "save"
    name: str = ""
    dirty: frozenset[bytes] | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    listed: Listed
    snapshot: Snapshot
    again: frozenset[bytes]
    """Folders that would not settle: they belong in the next request's `dirty`."""
    prove: bool
    """A file with several names changed: a look at everything finds the other names."""
    withheld: str
    """Why deletions were not recorded, until a person confirms; empty if there is nothing to confirm."""
    skipped: tuple[Skipped, ...]
    """The first of what was looked at and cannot be kept."""
    skipped_count: int
    changed: bool
    """False: the tree is as it was, and no snapshot was needed."""


class Snapshotter:
    def __init__(self, repository: Repository, ignores: Ignores, now: Callable[[], int]) -> None:
        self._repository, self._ignores, self._now = repository, ignores, now

    async def take(self, home: OpenHome, request: Request) -> Report:
        """Durable in the store when it returns. Raises Refused(home_missing) for a home that is not there or empty all of a sudden, Conflict after
        losing to others again and again, and what the store raises: then nothing was acknowledged, and the next one begins where this ended."""
        packer, self._repository.moving = Packer(self._repository), Moving()
        try:
            for _ in range(ATTEMPTS - 1):
                try:
                    return await self._attempt(home, request, packer)
                except Conflict:
                    await self._repository.refresh()
                    packer.again()
            return await self._attempt(home, request, packer)
        finally:
            self._repository.moving = Moving()
            await packer.cancel()

    async def _attempt(self, home: OpenHome, request: Request, packer: Packer) -> Report:
        parent = self._repository.root.newest()
        before = await self._repository.snapshot(parent) if parent else None
        was = await home_entry(self._repository, before)
        walk = Walk(self._repository, home, packer, self._ignores)
        walk.same_box = before is not None and before.box == self._repository.box != ""
        walk.same_rules = before is not None and before.rules == self._ignores.digest
        unconfirmed = before.withheld if before is not None and not request.confirmed else 0
        walk.withhold = unconfirmed > 0
        dirty = Dirty.of(request.dirty) if request.dirty is not None and walk.same_rules else None
        entry = await walk.run(was, dirty)
        if entry is None:
            raise guards.missing("its folder cannot be read")
        loss = replace(walk.loss(), unconfirmed=unconfirmed)
        withheld = "" if request.confirmed else await self._suspicion(loss, entry)
        if withheld and not walk.withhold:
            walk = Walk(self._repository, home, packer, self._ignores)
            walk.withhold = True
            entry = await walk.run(was, None)
            if entry is None:
                raise guards.missing("its folder cannot be read")
        tree = (await packer.add(b"t", encode_part([entry]))).hex()
        skipped, skipped_count = tuple(walk.contents.skipped[:SHOWN_SKIPPED]), len(walk.contents.skipped)
        found = (frozenset(walk.again), walk.contents.relinked and dirty is not None, withheld, skipped, skipped_count)
        # Asked again, because the first answer was lost, a name is given once.
        known = not request.name or (parent is not None and (parent.event, parent.name) == (request.event, request.name))
        if before is not None and parent is not None and before.tree == tree and known:
            return Report(parent, before, *found, changed=False)
        places = await packer.flush()
        snapshot = Snapshot(
            format=FORMAT, time=max(self._now(), parent.time + 1 if parent else 0), name=request.name, event=request.event, tree=tree,
            parent=parent.id if parent else "", entries=entry.size, stored=packer.stored, rules=self._ignores.digest,
            skipped=skipped, skipped_count=skipped_count, withheld=max(loss.gone if withheld else 0, unconfirmed if dirty is not None else 0),
        )  # fmt: skip
        return Report(await self._repository.commit(places, snapshot), snapshot, *found, changed=True)

    async def _suspicion(self, loss: guards.Loss, entry: Entry) -> str:
        """Raises Refused where what is seen is not the home at all."""
        why = guards.refuse(loss)
        if why and (loss.now_empty or loss.moved):
            raise guards.missing(why)
        if why or loss.unconfirmed or loss.gone <= guards.FEW:
            return why
        before = await self._a_while_ago()
        return guards.refuse_slow(loss, before.entries, entry.size) if before else ""

    async def _a_while_ago(self) -> Snapshot | None:
        """As the home was then, or when a person said last that it is as it should be. None where that cannot be compared, or cannot be read now."""
        newest_first = sorted(self._repository.root.snapshots, key=lambda listed: listed.time, reverse=True)
        until = self._now() - guards.A_WHILE
        found = next((listed for listed in newest_first if listed.event in guards.MEANT or listed.time <= until), None)
        if found is None or found.box != self._repository.box:
            return None
        with suppress(NbdError):
            before = await self._repository.snapshot(found)
            return before if before.rules == self._ignores.digest else None
        return None


async def home_entry(repository: Repository, snapshot: Snapshot | None) -> Entry | None:
    """The entry of the home itself in a snapshot."""
    if snapshot is None:
        return None
    (entry,) = await entries_of(repository, bytes.fromhex(snapshot.tree))
    return entry
