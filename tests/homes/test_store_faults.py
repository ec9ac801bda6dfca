"""A fifth of all requests has a bad day. What nbd calls protected is then in the store, whole: an independent reader finds all of it there, by a
line of its own that has no bad days. And it always gets there.

`NBD_SOAK=10` (make soak) does ten times as much.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nbd.errors import Damaged, NbdError
from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.retention import DAY, Policy
from nbd.homes.snapshots.snapshotter import Report
from nbd.homes.snapshots.verifier import verify
from nbd.host.stores import Stores, stores_of
from nbd.host.wrapping import Clock
from tests.contracts.object_stores import settings_of
from tests.fakes.fault_server import FAULTS, FaultServer, faulty
from tests.fakes.object_servers import BUCKET, Server, s3
from tests.services.guarded import House, until

from .bucket_reader import BucketReader
from .world import KEYS, MASTER, SOAK, Tree, World, look

ROUNDS = 12 * SOAK
PATIENCE = 0.5
SETTLES = 60.0


class Hasty(Clock):
    """Pauses between tries are twenty times shorter."""

    def now(self) -> float:
        return time.monotonic() * 20

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3() as found:
        yield found


@asynccontextmanager
async def bad_days(server: Server, folder: Path, seed: int, **more: object) -> AsyncIterator[tuple[FaultServer, Stores, BucketReader]]:
    async with faulty(server.address, seed, **more) as faults:  # type: ignore[arg-type]
        secrets = {**server.secrets, "endpoint": faults.endpoint}
        settings = replace(settings_of(server, folder, secrets), store_timeout=PATIENCE)
        prefix = f"{folder.name}-{seed}"
        yield faults, stores_of(settings, f"s3://{BUCKET}/{prefix}", Hasty()), BucketReader(server, f"{prefix}/ada", folder / "copy")


def change(home: Path, chance: random.Random, number: int) -> None:
    """A bit of work."""
    for _ in range(chance.randrange(1, 6)):
        path = home / f"d{chance.randrange(4)}" / f"f{chance.randrange(12)}"
        path.parent.mkdir(exist_ok=True)
        what = chance.random()
        if what < 0.15 and path.exists():
            path.unlink()
        else:
            path.write_bytes(chance.randbytes(chance.choice([10, 3000, 300_000])) if what < 0.8 else b"again %d" % number)


def bearable(error: NbdError) -> None:
    """A bad day costs time, never what is stored."""
    assert not isinstance(error, Damaged), error


async def acknowledged(world: World, name: str) -> Report:
    """As a guardian does: what fails is begun again, from what the store has."""
    async with asyncio.timeout(SETTLES):
        while True:
            try:
                return await world.snap(name=name, confirmed=True)
            except NbdError as error:
                bearable(error)
            try:
                world.repository = await Repository.open(world.store, KEYS)
            except NbdError as error:
                bearable(error)


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_acknowledged_is_there(server: Server, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with bad_days(server, tmp_path, seed) as (faults, stores, place):
        async with asyncio.timeout(SETTLES):
            world = await opened_at_last(tmp_path, stores)
        kept: list[tuple[Report, Tree]] = []
        for number in range(ROUNDS):
            change(world.home, chance, number)
            kept.append((await acknowledged(world, f"round {number}"), look(world.home)))
            assert await asyncio.to_thread(place.restored, MASTER) == kept[-1][1], number
            if number % 5 == 4:
                await pruned(world, number)
        report, tree = chance.choice(kept)
        assert await asyncio.to_thread(place.restored, MASTER, report.listed.id) == tree, "named ones are kept, whatever was pruned"
        faults.share = 0.0
        found = await verify(world.store, KEYS)
        assert found.good, found
        assert stores.counts["create"].errors > 0


async def opened_at_last(folder: Path, stores: Stores) -> World:
    while True:
        try:
            return await World.make(folder, stores("ada"))
        except NbdError as error:
            bearable(error)


async def pruned(world: World, number: int) -> None:
    """It may fail; then it has done no harm."""
    pruner = Pruner(world.repository)
    try:
        await pruner.execute(await pruner.plan(Policy(), time.time_ns() + number * DAY))
    except NbdError as error:
        bearable(error)


async def test_a_guardian_says_protected_when_it_is(server: Server, tmp_path: Path) -> None:
    """Whenever it says that all is kept up to a moment, what was there then is in the store."""
    chance = random.Random(7)
    async with bad_days(server, tmp_path, 7) as (faults, stores, place), AsyncExitStack() as until_the_end:
        house = House(tmp_path, store=stores("ada"))  # type: ignore[arg-type]
        until_the_end.push_async_callback(house.steward.close)
        await house.steward.watch([house.home])
        for number in range(ROUNDS):
            change(house.path, chance, number)
            done = time.time()

            async def told(done: float = done) -> bool:
                status = await house.status()
                return status.protected is not None and status.protected > done and status.sentence.startswith("protected")

            await until(told, SETTLES)
            assert await asyncio.to_thread(place.restored, MASTER) == look(house.path), number
        assert sum(faults.met.values()) > 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_kind_of_bad_day(server: Server, tmp_path: Path, fault: str) -> None:
    """Every other request, of one kind alone."""
    chance = random.Random(1)
    async with bad_days(server, tmp_path, 11, share=0.3 if "silent" in fault else 0.5, only=(fault,)) as (faults, stores, place):
        world = await opened_at_last(tmp_path, stores)
        for number in range(3):
            change(world.home, chance, number)
            await acknowledged(world, f"round {number}")
            assert await asyncio.to_thread(place.restored, MASTER) == look(world.home), number
            with suppress(NbdError):
                await stores("ada").list("")
        assert faults.met[fault] > 0


async def test_a_store_that_lies_about_all_is_never_believed(server: Server, tmp_path: Path) -> None:
    """Half of everything is kept, and all of it acknowledged: no snapshot is, and when the days are good again, it goes on."""
    async with bad_days(server, tmp_path, 3, share=0.0) as (faults, stores, place):
        world = await World.make(tmp_path, stores("ada"))
        (world.home / "work").write_bytes(os.urandom(100_000))
        faults.share, faults.only = 1.0, ("half kept",)
        for _ in range(3):
            with pytest.raises(NbdError) as said:
                await world.snap()
            assert said.value.retryable
        faults.share = 0.0
        await acknowledged(world, "at last")
        assert await asyncio.to_thread(place.restored, MASTER) == look(world.home)


async def test_lines_are_kept_and_no_more_than_so_many(server: Server, tmp_path: Path) -> None:
    """Many people's stores at once: as many requests as the settings say, by as many connections, which are used again and again."""
    async with bad_days(server, tmp_path, 5, share=0.0) as (faults, stores, _):
        people = [f"person{number}" for number in range(20)]
        for _ in range(4):
            await asyncio.gather(*(stores(person).create(f"data/{number:02}", b"x" * 1000) for number in range(4) for person in people))
            await asyncio.gather(*(stores(person).fetch("data/00") for person in people))
        assert faults.most == 8
        assert faults.requests >= 160
        assert faults.connections <= 2 * 8, "a new one at times, where two were free at once; never one a request"
