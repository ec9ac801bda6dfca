"""A home with its life and its memory: what each acknowledged snapshot has to hold, kept beside nbd and without its code.

Snapshots are taken of everything, or of what an event source would have called dirty; sometimes the program is killed at one of its requests, the
disk reads badly, or nobody has confirmed a loss. Whatever was acknowledged and not pruned comes back exactly, always.
"""

from __future__ import annotations

import random
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nbd.errors import Refused
from nbd.homes.model import Kind, Listed, Seen
from nbd.homes.ports import LargeFile, Listing, OpenHome, Reading
from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.retention import HOUR, Policy
from nbd.homes.snapshots.snapshotter import Report, Request, Snapshotter
from nbd.homes.snapshots.verifier import verify
from nbd.host.ignores import IgnoreRules
from tests.fakes.object_store import MemoryStore

from .life import Hand
from .world import KEYS, Tree, World, different, look, opened

NOTHING = Policy(recent=0, hourly=0, daily=0, weekly=0, monthly=0)
PIECE = 128 << 10


class Killed(BaseException):
    """The program is gone at this request. A BaseException, so that nothing in it takes it for a trouble of the store."""


class MortalStore(MemoryStore):
    left: int | None = None
    """So many requests until the end."""

    async def _called(self, what: str, key: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        await super()._called(what, key)


class BadDisk:
    """An open home in which some things cannot be read today."""

    def __init__(self, home: OpenHome, known: Tree, chance: random.Random) -> None:
        """`known`: what was read before. What is new and unreadable has no last good reading, and is found again by a look at everything."""
        self._home, self._known, self._chance = home, known, chance

    async def look(self, folders: Sequence[tuple[bytes, bool]]) -> list[Listing]:
        return [self._spoilt(path, listing) for (path, _), listing in zip(folders, await self._home.look(folders), strict=True)]

    async def sift(self, folders: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Listing]:
        return [self._spoilt(path, listing) for (path, _), listing in zip(folders, await self._home.sift(folders), strict=True)]

    def _spoilt(self, path: bytes, listing: Listing) -> Listing:
        return Listing(None, trouble="Input/output error") if path and self._fails(path, stat.S_ISDIR) else listing

    def _fails(self, path: bytes, kind: Callable[[int], bool]) -> bool:
        return path in self._known and kind(self._known[path][0]) and self._chance.random() < 0.2

    async def read(self, folder: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        found = await self._home.read(folder, wanted)
        paths = [folder + b"/" + seen.name if folder else seen.name for seen in wanted]
        return [self._spoilt_reading(path, one) for path, one in zip(paths, found, strict=True)]

    def _spoilt_reading(self, path: bytes, reading: Reading) -> Reading:
        known = reading.seen is not None and reading.seen.kind == Kind.FILE and self._fails(path, stat.S_ISREG)
        return Reading(None, trouble="Input/output error") if known else reading

    async def open_large(self, folder: bytes, wanted: Seen) -> LargeFile | Reading:
        return await self._home.open_large(folder, wanted)

    async def close(self) -> None:
        await self._home.close()


class Lived:
    def __init__(self, world: World, store: MortalStore, back: Path) -> None:
        self.world, self.store, self._back = world, store, back
        self.hand = Hand(world.home)
        self.acked: dict[str, tuple[Report, Tree, Sparse]] = {}
        self.again: frozenset[bytes] = frozenset()
        self.paths: list[bytes] = [b"a"]
        self.hours = 0
        self.blind = True
        """What was dirty is forgotten: the next look is at everything."""
        self.restored = 0

    @classmethod
    async def born(cls, folder: Path, scratch: Path) -> Lived:
        """The home lives in `folder`, and comes back into `scratch`."""
        store = MortalStore()
        return cls(await World.make(folder, store), store, scratch / "back")

    def now(self) -> int:
        return time.time_ns() + self.hours * HOUR

    async def act(self, name: str, path: bytes, other: bytes, number: int) -> bool:
        """Whether it took effect. What the file system refuses is part of life."""
        try:
            if name in KEEPING:
                await getattr(self, name)(number)
            else:
                getattr(self.hand, name)(path, other, number)
        except (OSError, ValueError):
            return False
        return True

    async def snapshot(self, number: int) -> None:
        """Often of the dirty folders only; where nbd asks for a look at everything after it, that is part of the promise."""
        if number % 8 == 3:
            await self.snapshot(0)
            folders = sorted({path.rpartition(b"/")[0] for path in self.paths})
            await self.act("link", self.paths[number % len(self.paths)], folders[number // 7 % len(folders)] + b"/l%d" % number, number)
        dirty = None if self.blind or number % 4 == 0 else frozenset(self.hand.touched | self.again)
        name = f"n{number}" if number % 16 == 1 else ""
        report = await self._take(Request("save", name, dirty, confirmed=True))
        if report.prove:
            report = await self._take(Request("save", "", None, confirmed=True))
        self._acknowledged(report)
        if number % 3 == 0:
            await self._comes_back(report.listed.id)

    async def snapshot_unconfirmed(self, number: int) -> None:
        """What is gone may be held back, or the home not believed at all; nothing that is there may be missing."""
        await self.snapshot(0)
        before = self._newest()
        old, hand = self.acked[before.id][1], self.hand
        for path in self.paths[number % 3 :: 3]:
            await self.act("remove", path, b"", number)
        hand.make_many(b"d%d" % number, b"", number)
        try:
            report = await self._take(Request(dirty=frozenset(hand.touched) if number % 2 else None))
        except Refused:  # Empty all of a sudden, it is not the home.
            assert self._newest() == before
        else:
            await self._held_back(report, old)
        await self.snapshot(0)

    async def _held_back(self, report: Report, old: Tree) -> None:
        """With `withheld`, the old names whose folder is still there are all kept; without, the home is as it is."""
        now = expected(look(self.world.home))
        if report.withheld:
            for path in sorted(old.keys() - now.keys()):
                parent = path.rpartition(b"/")[0] or b"."
                if parent in now and stat.S_ISDIR(now[parent][0]):
                    now[path] = old[path]
        found = await self._restored(report)
        wrong = different({path: facts[:-1] for path, facts in found.items()}, {path: facts[:-1] for path, facts in now.items()})
        assert not wrong, wrong

    async def snapshot_killed(self, number: int) -> None:
        """At any request of a snapshot, or just after it."""
        self.store.left = number % 12
        try:
            await self._take(Request(confirmed=True))
        except Killed:
            await self.restart(number)
        finally:
            self.store.left = None
            self.blind = True

    async def snapshot_of_a_bad_disk(self, number: int) -> None:
        """Nothing is promised of what could not be read, but that it is read again."""
        for path in (b"x", b"x/y", b"x/y/z"):
            await self.act("make_folder", path, b"", 0)
        await self.act("write", b"x/y/z/f", b"", 1)
        await self.snapshot(0)
        for path in self.paths[number % 3 :: 3]:
            await self.act("append", path, b"", number)
        await self.act("append", b"x/y/z/f", b"", 1)
        dirty = frozenset(self.hand.touched | self.again)
        async with opened(self.world.home) as home:
            request = Request("save", "", dirty, confirmed=True)
            report = await self._snapshotter().take(BadDisk(home, self.acked[self._newest().id][1], random.Random(number)), request)
        self.blind, self.hand.touched, self.again = report.prove, set(), report.again
        await self.snapshot(1)

    async def restart(self, _: int) -> None:
        """Nothing is left but the store, and what the box noted of it."""
        self.store.left = None
        sequence = self.world.repository.root.sequence
        self.world.repository = await Repository.open(self.store, KEYS, sequence)
        self.blind = True
        assert self.acked.keys() <= self._kept()

    async def prune(self, number: int) -> None:
        """Now, or after some time; killed in the middle of it, now and then."""
        self.hours += (0, 1, 5, 25)[number % 4]
        policy = NOTHING if number % 3 else Policy()
        pruner = Pruner(self.world.repository)
        plan = await pruner.plan(policy, self.now())
        self.store.left = number % 9 if number % 5 == 0 else None
        try:
            await pruner.execute(plan)
        except Killed:
            self.store.left = None
            self.world.repository = await Repository.open(self.store, KEYS)
        self.store.left = None
        dropped = self.acked.keys() - self._kept()
        assert dropped <= {listed.id for listed in plan.drop}
        assert not [name for name in dropped if self.acked[name][0].listed.name]
        self.acked = {name: held for name, held in self.acked.items() if name not in dropped}

    async def restore(self, number: int) -> None:
        if self.acked:
            await self._comes_back(list(self.acked)[number % len(self.acked)])

    async def restore_in_place(self, number: int) -> None:
        """An old state over the home as it is now."""
        if self.acked:
            report = self.acked[list(self.acked)[number % len(self.acked)]][0]
            await self.world.restore(report, self.world.home)
            self.blind = True

    async def end(self) -> None:
        await self.snapshot(0)
        for name in random.Random(len(self.acked)).sample(list(self.acked), min(4, len(self.acked))):
            await self._comes_back(name)
        assert (await verify(self.store, KEYS)).good
        self.hand.close()

    def _snapshotter(self) -> Snapshotter:
        return Snapshotter(self.world.repository, IgnoreRules(), self.now)

    async def _take(self, request: Request) -> Report:
        async with opened(self.world.home) as home:
            return await self._snapshotter().take(home, request)

    def _acknowledged(self, report: Report) -> None:
        tree = look(self.world.home)
        self.paths = [path for path in tree if path != b"."] or [b"a"]
        self.acked[report.listed.id] = (report, expected(tree), allocated(self.world.home, tree))
        self.blind, self.hand.touched, self.again = False, set(), report.again

    def _newest(self) -> Listed:
        newest = self.world.repository.root.newest()
        assert newest is not None
        return newest

    def _kept(self) -> set[str]:
        return {listed.id for listed in self.world.repository.root.snapshots}

    async def _comes_back(self, name: str) -> None:
        report, tree, sparse = self.acked[name]
        target = self._back
        try:
            progress = await self.world.restore(report, target)
            assert not progress.damaged
            assert {skipped.reason for skipped in progress.skipped} <= {"a device or socket is not restored"}, progress.skipped[:3]
            wrong = different(expected(look(target)), tree)
            assert not wrong, wrong
            for path, blocks in allocated(target, tree).items():
                assert blocks <= sparse[path] + PIECE, f"{path!r} was sparse"
        finally:
            shutil.rmtree(target)
        self.restored += 1

    async def _restored(self, report: Report) -> Tree:
        target = self._back
        try:
            await self.world.restore(report, target)
            return expected(look(target))
        finally:
            shutil.rmtree(target)


Sparse = dict[bytes, int]
KEEPING = {
    act.__name__: weight
    for act, weight in (
        (Lived.snapshot, 8), (Lived.snapshot_unconfirmed, 1), (Lived.snapshot_killed, 1), (Lived.snapshot_of_a_bad_disk, 1), (Lived.restart, 1),
        (Lived.prune, 2), (Lived.restore, 1), (Lived.restore_in_place, 1),
    )
}  # fmt: skip
"""What is done with the home's snapshots, and how often."""


def expected(tree: Tree) -> Tree:
    """As it comes back: no devices and sockets, no setuid, no setgid but on folders."""
    kept = {path: facts for path, facts in tree.items() if stat.S_IFMT(facts[0]) not in (stat.S_IFCHR, stat.S_IFSOCK)}
    return {path: (*facts[:4], facts[4] & (0o3777 if stat.S_ISDIR(facts[0]) else 0o1777), *facts[5:]) for path, facts in kept.items()}


def allocated(root: Path, tree: Tree) -> Sparse:
    """Bytes on the disk of each large file that a path can be named of."""
    large = [path for path, facts in tree.items() if stat.S_ISREG(facts[0]) and len(facts[6]) >= 1 << 20 and len(path) < 3000]
    return {path: (root / path.decode("utf-8", "surrogateescape")).lstat().st_blocks * 512 for path in large}
