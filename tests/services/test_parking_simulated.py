"""Parking from the service to the driver's door: real processes, real helper processes, both simulated libraries, the real pool over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Conflict, HostUnfit, NoCapacity
from nbd.gpus.model import GIB, Lease, Request
from nbd.gpus.pool import Pool
from nbd.host.headroom import KernelMemory
from nbd.host.nvml import NvmlCards
from nbd.host.simulated.simulate import compile_library, put_processes
from nbd.notebooks.model import Notebook, State, Want
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.park_survey import ParkParts
from nbd.notebooks.rest.parking import Parking
from nbd.notebooks.rest.settling import Pace
from nbd.notebooks.roster import Roster
from nbd.notebooks.starter import Clocks
from tests.contracts.parkers import A, B, SimulatedWorld, simulated_world
from tests.fakes.driver import FakeSpecs
from tests.fakes.leases import MemoryLeases
from tests.fakes.machine import MemoryStore
from tests.services.parkhouse import FakePids

QUICK = Pace(lock=0.2, patience=5.0, pause=0.01, longest_pause=0.1, release=5.0, poll=0.01)


class Bench:
    def __init__(self, world: SimulatedWorld, cards: NvmlCards) -> None:
        self.world, self.pids, self.leases = world, FakePids({"box": {}}), MemoryLeases()
        self.roster = Roster(MemoryStore())
        loop = asyncio.get_running_loop()
        self.pool = Pool(cards, self.leases, FakeSpecs(), lambda: 1.0, recheck_seconds=0.02)
        clocks = Clocks(lambda: 1.0, loop.time)
        self.positions: list[int] = []
        parts = ParkParts(world.parker, cards, self.pids, KernelMemory(), self.pool, self.leases, clocks)
        self.parking = Parking(parts, self.roster, lambda notebook: lambda position, reason: self.positions.append(position), QUICK)

    def begin(self, **on: int) -> Process:
        process = self.world.begin(**on)
        self.pids.containers["box"][process.pid] = process
        return process

    async def ready(self, *cards: str) -> None:
        await self.roster.add(Notebook("nb", "nb", "ada", "gpu", "jupyterlab", 1.0, State.RUNNING, Want.RUNNING, container="box"))
        await self.leases.replace("nb", [Lease(card, "nb", "ada/nb", 1.0) for card in cards])

    async def held(self, notebook: str) -> set[str]:
        return {lease.card for lease in await self.leases.leases() if lease.notebook == notebook}


@pytest.fixture
async def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.getbasetemp() / "simulated-cuda"
    async with simulated_world(folder, tmp_path) as world:
        cards = NvmlCards(library_folder=(await asyncio.to_thread(compile_library, folder)).parent, simulated_box=world.box)
        try:
            yield Bench(world, cards)
        finally:
            await cards.close()


async def test_parked_lent_to_another_and_brought_back(bench: Bench) -> None:
    first, second = bench.begin(a=1, b=1), bench.begin(b=1)
    await bench.ready(A, B)
    assert await bench.parking.obstacle("nb") == ""
    await bench.parking.park("nb")
    assert (bench.roster.get("nb").state, await bench.held("nb"), bench.world.on_cards()) == (State.PARKED, set(), set())
    await bench.pool.lease("other", "bob/other", Request(only=(A,)))
    bench.world.reachable()  # a driver that moves nobody: its own cards are waited for
    back = asyncio.create_task(bench.parking.unpark("nb"))
    async with asyncio.timeout(20):
        while not bench.positions:
            await asyncio.sleep(0.01)
    assert not back.done()
    await bench.pool.release("other", ())
    await asyncio.wait_for(back, 20)
    assert (bench.roster.get("nb").state, await bench.held("nb")) == (State.RUNNING, {A, B})
    assert bench.world.on_cards() == {(A, first.pid), (B, first.pid), (B, second.pid)}
    assert set(bench.world.cuda.states().values()) == {0}


async def test_it_moves_to_a_card_of_the_kind_that_is_free(bench: Bench) -> None:
    process = bench.begin(a=2)
    await bench.ready(A)
    await bench.parking.park("nb")
    await bench.pool.lease("other", "bob/other", Request(only=(A,)))
    await asyncio.wait_for(bench.parking.unpark("nb"), 20)
    assert await bench.held("nb") == {B}
    assert bench.world.on_cards() == {(B, process.pid)}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("busy {pid}", Conflict),
        ("error checkpoint 801 {pid}", HostUnfit),
        ("once checkpoint 2 {pid}", NoCapacity),
        ("after checkpoint 999 {pid}", HostUnfit),
    ],
)
async def test_a_park_that_fails_leaves_it_running(bench: Bench, line: str, error: type[Exception]) -> None:
    first, second = bench.begin(a=1), bench.begin(b=1)
    await bench.ready(A, B)
    bench.world.cuda.say(line.format(pid=max(first.pid, second.pid)))
    with pytest.raises(error):
        await bench.parking.park("nb")
    assert (bench.roster.get("nb").state, await bench.held("nb")) == (State.RUNNING, {A, B})
    assert bench.world.on_cards() == {(A, first.pid), (B, second.pid)}
    assert set(bench.world.cuda.states().values()) == {0}


async def test_a_restore_that_finds_no_room_once_is_made_good(bench: Bench) -> None:
    process = bench.begin(a=1)
    await bench.ready(A)
    await bench.parking.park("nb")
    bench.world.reachable()
    bench.world.cuda.say(f"once restore 2 {process.pid}")
    with pytest.raises(NoCapacity, match="not enough free memory"):
        await bench.parking.unpark("nb")
    assert (bench.roster.get("nb").state, await bench.held("nb"), bench.world.on_cards()) == (State.PARKED, set(), set())
    await bench.parking.unpark("nb")
    assert (bench.roster.get("nb").state, bench.world.on_cards()) == (State.RUNNING, {(A, process.pid)})


async def test_more_than_the_box_has_is_not_begun(bench: Bench) -> None:
    process = bench.begin(a=15)
    await bench.ready(A)
    put_processes(bench.world.box, A, {process.pid: 1_000_000 * GIB})
    with pytest.raises(HostUnfit, match=r"of memory free|memory limit"):
        await bench.parking.park("nb")
    assert bench.world.calls() == []
