"""Parking with all it needs over a fake driver, and the one question that every test ends with: is everything whole?

Every call to the world passes a tripwire: a test says at which one the daemon is killed, before or after the call took effect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nbd.errors import NbdError
from nbd.gpus.model import GIB, Card, Lease
from nbd.gpus.pool import Pool
from nbd.gpus.ports import CardProcess
from nbd.notebooks.model import Notebook, Parked, State, Want
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.park_survey import ParkParts
from nbd.notebooks.rest.parking import Parking
from nbd.notebooks.rest.ports import CudaState, Headroom
from nbd.notebooks.rest.settling import Pace
from nbd.notebooks.roster import Roster
from nbd.notebooks.starter import Clocks
from tests.fakes.cuda import FakeCuda
from tests.fakes.driver import FakeDriver, FakeSpecs
from tests.fakes.leases import MemoryLeases
from tests.fakes.machine import MemoryStore

A, B, C = "GPU-aaaaaaaa", "GPU-bbbbbbbb", "GPU-cccccccc"
QUICK = Pace(lock=0.05, patience=0.02, pause=0.001, longest_pause=0.002, release=0.02, poll=0.001)


class Killed(BaseException):
    """The daemon dies here."""


@dataclass
class Tripwire:
    at: int = -1
    after: bool = False
    passed: int = 0

    def __call__(self, *, after: bool) -> None:
        if not after:
            self.passed += 1
        if self.passed == self.at and after is self.after:
            raise Killed


class TrippedStore(MemoryStore):
    def __init__(self, wire: Callable[[], Tripwire]) -> None:
        super().__init__()
        self._wire = wire

    async def save(self, notebook: Notebook) -> None:
        self._wire()(after=False)
        await super().save(notebook)
        self._wire()(after=True)


class TrippedLeases(MemoryLeases):
    def __init__(self, wire: Callable[[], Tripwire]) -> None:
        super().__init__()
        self._wire = wire

    async def replace(self, notebook: str, leases: Iterable[Lease]) -> None:
        self._wire()(after=False)
        await super().replace(notebook, leases)
        self._wire()(after=True)


@dataclass
class FakePids:
    containers: dict[str, dict[int, Process]] = field(default_factory=dict)

    def of_container(self, container: str) -> Collection[int]:
        return frozenset(self.containers.get(container, {}))

    def of_pid(self, pid: int, container: str) -> Process | None:
        return self.containers.get(container, {}).get(pid)


@dataclass
class FakeMemory:
    room: Headroom = field(default_factory=lambda: Headroom(200 * GIB, 100 * GIB))
    trouble: NbdError | None = None

    async def headroom(self, process: Process) -> Headroom:
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble
        return self.room


@dataclass
class ParkHouse:
    driver: FakeDriver = field(default_factory=lambda: FakeDriver(*(Card(uuid, "A4000", 16 * GIB) for uuid in (A, B, C))))
    pids: FakePids = field(default_factory=FakePids)
    memory: FakeMemory = field(default_factory=FakeMemory)
    wire: Tripwire = field(default_factory=Tripwire)
    positions: list[tuple[str, int, str]] = field(default_factory=list)
    later: float = 0.0
    """Seconds that the steady clock is ahead: for back-offs to be over."""

    def __post_init__(self) -> None:
        self.cuda = FakeCuda(self.driver)
        self.store, self.leases = TrippedStore(lambda: self.wire), TrippedLeases(lambda: self.wire)
        self.build()

    def build(self) -> None:
        self.roster = Roster(self.store)
        self.pool = Pool(self.driver, self.leases, FakeSpecs(), lambda: 1_000_000.0, recheck_seconds=0.005)
        clocks = Clocks(lambda: 1_000_000.0, lambda: time.monotonic() + self.later)
        parts = ParkParts(self.cuda, self.driver, self.pids, self.memory, self.pool, self.leases, clocks)
        self.parking = Parking(parts, self.roster, self.in_line, QUICK)

    def in_line(self, notebook: str) -> Callable[[int, str], None]:
        return lambda position, reason: self.positions.append((notebook, position, reason))

    def trip(self, at: int, *, after: bool) -> None:
        """Kill the daemon at that call from now on."""
        self.wire = Tripwire(at, after)

        def hook(moment: str, call: str, pid: int) -> None:
            self.wire(after=moment == "after")

        self.cuda.hook = hook

    async def restarted(self) -> None:
        """All that is in memory is gone."""
        self.wire = Tripwire()
        self.cuda.hook = lambda moment, call, pid: None
        self.build()
        await self.roster.load()
        for row in self.roster.all():
            await self.parking.recover(row.id)
        await self.mended()

    async def mended(self) -> None:
        """Until nothing is due; back-offs pass at once."""
        for _ in range(10):
            self.later += 3600.0
            due = [notebook for notebook in self.parking.due() if not self.waits_for_another(notebook)]
            if not due:
                return
            for notebook in due:
                await self.parking.mend(notebook)
        raise AssertionError(f"{due} is never put right")

    def waits_for_another(self, notebook: str) -> bool:
        """Its cards are leased to somebody else: it would stand in line for ever."""
        mine = self.roster.get(notebook).parked
        return mine is not None and any(lease.card in mine.memory and lease.notebook != notebook for lease in self.leases._leases)

    async def notebook(self, name: str, *processes: Mapping[str, int]) -> Notebook:
        """One that runs, with so many GiB on each card for each of its processes; its lease is on all of them."""
        row = Notebook(name, name, "ada", "gpu", "jupyterlab", 1.0, State.RUNNING, Want.RUNNING, container=f"box-{name}", run=1, started=2.0)
        await self.roster.add(row)
        cards = sorted({card for process in processes for card in process})
        await self.leases.replace(name, [Lease(card, name, row.title, 1.0) for card in cards])
        self.pids.containers[f"box-{name}"] = {}
        self.plain(name)
        for process in processes:
            self.process(name, process)
        return row

    def plain(self, name: str) -> Process:
        """A process without CUDA."""
        number = 100 + sum(len(mine) for mine in self.pids.containers.values())
        process = self.pids.containers[f"box-{name}"][number] = Process(number, number)
        return process

    def process(self, name: str, on: Mapping[str, int]) -> Process:
        process = self.plain(name)
        self.cuda.begin(process, *(CardProcess(card, None, size * GIB) for card, size in on.items()))
        return process

    def cuda_pids(self, name: str) -> list[int]:
        return [pid for pid in self.pids.containers[f"box-{name}"] if pid in self.cuda.known]

    def states(self, name: str) -> set[CudaState]:
        return {self.cuda.known[pid] for pid in self.cuda_pids(name)}

    async def cards(self, name: str) -> set[str]:
        return {lease.card for lease in await self.leases.leases() if lease.notebook == name}

    def state(self, name: str) -> State:
        return self.roster.get(name).state

    def parked(self, name: str) -> Parked | None:
        return self.roster.get(name).parked

    async def is_whole(self, name: str, sizes: Sequence[int]) -> None:
        """It all runs on cards of its own or all of it is parked and has none; nothing is locked, no byte is lost."""
        row, cards, mine = self.roster.get(name), await self.cards(name), set(self.cuda_pids(name))
        assert self.store.rows[name] == row
        on_cards = [process for process in self.driver.running if process.pid in mine]
        kept = [share for pid in mine for share in self.cuda.kept.get(pid, [])]
        assert sorted(share.memory_bytes or 0 for share in [*on_cards, *kept]) == sorted(size * GIB for size in sizes)
        assert {process.card for process in on_cards} <= cards
        if row.state is State.RUNNING:
            assert self.states(name) <= {CudaState.RUNNING}
            assert len(cards) == len({process.card for process in on_cards})
            assert row.parked is None
        else:
            assert row.state is State.PARKED
            assert self.states(name) <= {CudaState.CHECKPOINTED}
            assert cards == set()
            assert row.parked is not None
        leases = [lease.card for lease in await self.leases.leases()]
        assert len(leases) == len(set(leases))
