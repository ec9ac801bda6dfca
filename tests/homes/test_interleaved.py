"""Several at once on one store: a prune beside a writer that is frozen at any of its requests, a writer beside a frozen prune, two boxes that have
one home.

Nothing locks. What is proven is that the pointer's compare and swap and the day's grace are enough: no chunk that a snapshot needs is ever gone.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nbd.errors import NbdError, Unreachable
from nbd.homes.ports import Versioned
from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.retention import HOUR, Policy
from nbd.homes.snapshots.snapshotter import Report, Request, Snapshotter
from nbd.homes.snapshots.verifier import verify
from nbd.host.ignores import IgnoreRules
from tests.fakes.object_store import MemoryStore

from .world import KEYS, SOAK, Tree, World, different, in_memory, look, opened, restored, without_threads

NOTHING = Policy(recent=0, hourly=0, daily=0, weekly=0, monthly=0)
PASTS, SCHEDULES = 3 * SOAK, 40 * SOAK
Gate = Callable[[], Awaitable[None]]


class SharedStore(MemoryStore):
    """One of several doors to the same objects; before each request it waits until it may."""

    def __init__(self, behind: MemoryStore, gate: Gate) -> None:
        super().__init__()
        self.objects, self._versions, self._numbers = behind.objects, behind._versions, behind._numbers
        self._gate = gate

    async def _called(self, what: str, key: str) -> None:
        await self._gate()
        await super()._called(what, key)


class Freeze:
    """Stops whoever comes by for the so many-th time, lets something else happen, and lets them go on."""

    def __init__(self, at: int, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._left, self._meanwhile = at, meanwhile
        self.happened = False

    async def __call__(self) -> None:
        self._left -= 1
        if self._left == -1:
            self.happened = True
            await self._meanwhile()


@dataclass
class Past:
    """A home and its store, in which much is dead, some of it doomed since yesterday, and comes back to life in the next snapshot."""

    home: Path
    objects: dict[str, bytes]
    named: Report
    tree: Tree
    back: Path
    hours: int = 0

    @classmethod
    async def make(cls, folder: Path, seed: int) -> Past:
        world, chance = await World.make(folder, store := MemoryStore()), random.Random(seed)
        (world.home / "stays").write_bytes(chance.randbytes(3000))
        named = await world.snap(name="kept")
        tree = look(world.home)
        past = cls(world.home, store.objects, named, tree, folder / "back")
        gone = {}
        for number in range(9):
            path = world.home / f"f{number}"
            gone[path] = chance.randbytes(70_000 if number % 3 == 0 else 500)
            path.write_bytes(gone[path])
            await past.snapshot(store)
            path.unlink()
            await past.snapshot(store)
            if number in (3, 6):
                past.hours += 25
                await past.prune(store)
        for path, data in gone.items():
            path.write_bytes(data)
        return past

    def store(self) -> MemoryStore:
        """As it was before anybody did anything."""
        store = MemoryStore()
        store.objects = dict(self.objects)
        store._versions = {key: str(next(store._numbers)) for key in self.objects}
        return store

    async def snapshot(self, store: MemoryStore) -> Report:
        repository = await Repository.open(store, KEYS)
        async with opened(self.home) as home:
            now = lambda: time.time_ns() + self.hours * HOUR  # noqa: E731
            return await Snapshotter(repository, IgnoreRules(), now).take(home, Request(confirmed=True))

    async def prune(self, store: MemoryStore) -> None:
        pruner = Pruner(await Repository.open(store, KEYS))
        await pruner.execute(await pruner.plan(NOTHING, time.time_ns() + self.hours * HOUR))

    async def prunes(self, store: MemoryStore, times: int) -> None:
        for _ in range(times):
            self.hours += 25
            await self.prune(store)

    async def proven(self, store: MemoryStore, reports: list[tuple[Report, Tree]]) -> None:
        assert (await verify(store, KEYS)).good
        repository = await Repository.open(store, KEYS)
        for report, tree in [*reports, (self.named, self.tree)]:
            assert report.listed.id in {listed.id for listed in repository.root.snapshots}
            progress = await restored(repository, report, self.back)
            assert not progress.damaged
            assert different(look(self.back), tree) == {}
            shutil.rmtree(self.back)


async def until_done(work: Callable[[MemoryStore], Coroutine[Any, Any, Any]], door: MemoryStore, store: MemoryStore) -> Any:
    """Whoever was frozen for days may find things gone, and begins again; once is enough."""
    try:
        return await work(door)
    except NbdError:
        return await work(store)


@pytest.mark.parametrize("seed", range(PASTS))
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_prunes_beside_a_frozen_snapshot(tmp_path: Path, seed: int, times: int) -> None:
    """At each of its requests, for one to three days."""
    without_threads()
    with in_memory(tmp_path) as memory:
        past, at = await Past.make(memory, seed), 0
        while True:
            store, past.hours = past.store(), 50
            freeze = Freeze(at, lambda: past.prunes(store, times))  # noqa: B023
            report = await until_done(past.snapshot, SharedStore(store, freeze), store)
            await past.proven(store, [(report, look(past.home))])
            at += 1
            if not freeze.happened:
                break
    assert at > 12


@pytest.mark.parametrize("seed", range(PASTS))
async def test_snapshots_beside_a_frozen_prune(tmp_path: Path, seed: int) -> None:
    """At each of its requests, for days in which others have pruned."""
    without_threads()
    with in_memory(tmp_path) as memory:
        past, at = await Past.make(memory, seed), 0
        while True:
            store, past.hours = past.store(), 100
            reports: list[Report] = []

            async def meanwhile() -> None:
                reports.append(await past.snapshot(store))  # noqa: B023
                await past.prunes(store, 2)  # noqa: B023
                reports[:] = [await past.snapshot(store)]  # noqa: B023

            freeze = Freeze(at, meanwhile)
            await until_done(past.prune, SharedStore(store, freeze), store)
            await past.proven(store, [(report, look(past.home)) for report in reports])
            at += 1
            if not freeze.happened:
                break
    assert at > 12


@pytest.mark.parametrize("seed", range(PASTS))
async def test_prunes_beside_a_frozen_restore(tmp_path: Path, seed: int) -> None:
    """At each of its requests: for a day it reads what it read when it began, though a prune has dropped the snapshot meanwhile."""
    without_threads()
    with in_memory(tmp_path) as memory:
        past, at = await Past.make(memory, seed), 0
        while True:
            store, past.hours = past.store(), 50
            before = await past.snapshot(store)
            tree = look(past.home)

            async def meanwhile() -> None:
                """Nothing that is kept needs any of its files."""
                away = [path.rename(memory / path.name) for path in past.home.glob("f*")]
                await past.snapshot(store)  # noqa: B023
                await past.prunes(store, 1)  # noqa: B023
                for path in away:
                    path.rename(past.home / path.name)

            freeze = Freeze(at, meanwhile)
            repository = await Repository.open(store, KEYS)
            repository.store = SharedStore(store, freeze)
            progress = await restored(repository, before, past.back)
            assert not progress.damaged
            assert different(look(past.back), tree) == {}
            shutil.rmtree(past.back)
            at += 1
            if not freeze.happened:
                break
    assert at > 2


class Turns:
    """Who may make the next request is drawn, once everybody who is at work has one to make. (Of several at once from one, the others wait for the
    first a moment, in which it makes no new one.)"""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def door(self, name: str) -> Gate:
        self._waiting[name] = []

        async def gate() -> None:
            turn = asyncio.get_running_loop().create_future()
            self._waiting[name].append(turn)
            self._draw()
            await turn

        return gate

    def leave(self, name: str) -> None:
        del self._waiting[name]
        self._draw()

    def _draw(self) -> None:
        if self._waiting and all(self._waiting.values()):
            self._waiting[self._chance.choice(sorted(self._waiting))].pop(0).set_result(None)
            asyncio.get_running_loop().call_later(0.001, self._draw)


async def work_on(world: World, chance: random.Random, acked: list[tuple[Report, Tree]]) -> None:
    """A box: it changes its home and saves, loses to the other now and then, prunes, and is started anew."""
    for number in range(4):
        (world.home / f"f{chance.randrange(5)}").write_bytes(chance.randbytes(chance.choice((10, 3000))))
        try:
            acked.append((await world.snap(confirmed=True, name=f"n{number}" if number == 1 else ""), look(world.home)))
        except NbdError:
            world.repository = await Repository.open(world.store, KEYS)
        if chance.random() < 0.3:
            await pruned(world.repository)
        if chance.random() < 0.3:
            world.repository = await Repository.open(world.store, KEYS)


async def pruned(repository: Repository) -> None:
    try:
        await Pruner(repository).execute(await Pruner(repository).plan(Policy(), time.time_ns()))
    except NbdError:
        await repository.refresh()


async def test_two_boxes_with_one_home(tmp_path: Path) -> None:
    """The versions of both are kept, whoever's request comes first."""
    without_threads()
    lost = 0
    for seed in range(SCHEDULES):
        with in_memory(tmp_path) as memory:
            store, turns = MemoryStore(), Turns(random.Random(seed))
            acked: list[tuple[Report, Tree]] = []

            async def box(name: str) -> None:
                chance = random.Random(f"{seed} {name}")  # noqa: B023
                (memory / name).mkdir()
                try:
                    await work_on(await World.make(memory / name, SharedStore(store, doors[name])), chance, acked)  # noqa: B023
                finally:
                    turns.leave(name)  # noqa: B023

            doors = {name: turns.door(name) for name in ("one", "two")}
            await asyncio.gather(box("one"), box("two"))
            assert len(acked) >= 6
            lost += 8 - len(acked)
            repository = await Repository.open(store, KEYS)
            assert {report.listed.id for report, _ in acked} <= {listed.id for listed in repository.root.snapshots}
            assert (await verify(store, KEYS)).good
            for report, tree in random.Random(seed).sample(acked, 3):
                await restored(repository, report, memory / "back")
                assert different(look(memory / "back"), tree) == {}
                shutil.rmtree(memory / "back")
    assert lost < SCHEDULES, "who loses tries again"


class ForgetfulLine(MemoryStore):
    """Fails at the first index that is asked of it."""

    async def fetch(self, key: str) -> Versioned:
        if key.startswith("index/") and self.calls.count(("fetch", key)) == 0:
            await self._called("fetch", key)
            raise Unreachable("reset", code="store_away")
        return await super().fetch(key)


async def test_a_refresh_that_breaks_off_forgets_nobody(tmp_path: Path) -> None:
    """The new version of the pointer with the old list of snapshots would be a licence to drop what another box has added."""
    store = ForgetfulLine()
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    one, two = await World.make(tmp_path / "x", store), await World.make(tmp_path / "y", store)
    (one.home / "f").write_bytes(b"1")
    (two.home / "f").write_bytes(b"2")
    other = await one.snap()
    with pytest.raises(Unreachable):
        await two.snap(confirmed=True)
    mine = await two.snap(confirmed=True)
    assert set(two.repository.root.snapshots) == {other.listed, mine.listed}
