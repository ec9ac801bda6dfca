"""The worlds that test_parker.py holds to the contract of `notebooks.rest.ports.Parker`: one in memory, and the real adapter with its helper
processes over the simulated libcuda, on real pids of real processes."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nbd.errors import Deadline, HostUnfit
from nbd.gpus.model import GIB, Card
from nbd.gpus.ports import CardProcess
from nbd.host.cudapark import CudaParker, Deadlines
from nbd.host.processes import KernelProcesses
from nbd.host.simulated.cuda import SimulatedCuda, compile_cuda
from nbd.host.simulated.simulate import SimulatedCard, put_processes, write_cards
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.ports import Parker
from tests.fakes.cuda import FakeCuda
from tests.fakes.driver import FakeDriver

A, B, OTHER = (f"GPU-51515151-000{number}-4000-8000-000000000001" for number in (1, 2, 3))
QUICK = Deadlines(open=20.0, call=1.0, copy=1.0, remembered=0.0)


class ParkWorld(Protocol):
    @property
    def parker(self) -> Parker: ...

    def begin(self, **on: int) -> Process:
        """A process with a CUDA context and so many GiB on the cards "a" and "b"; they are of one model, "other" is of another."""

    def plain(self) -> Process:
        """A process without a CUDA context."""

    def end(self, process: Process) -> None: ...

    def on_cards(self) -> set[tuple[str, int | None]]: ...

    def calls(self) -> list[tuple[str, int]]: ...

    def busy(self, process: Process) -> None:
        """Its work on the GPU does not end."""

    def refuse(self, call: str, process: Process) -> None:
        """The driver says each time that it does not support that."""

    def full(self, card: str) -> None:
        """It has no memory to restore to."""

    def empty(self, card: str) -> None: ...

    def silence(self, call: str) -> None:
        """It is not answered, until `speak`; nothing has happened."""

    async def speak(self) -> None: ...

    def old(self) -> None:
        """The driver is one without these calls."""

    def reachable(self, *cards: str) -> None: ...


@dataclass
class FakeWorld:
    driver: FakeDriver = field(default_factory=lambda: FakeDriver(Card(A, "A4000", 16 * GIB), Card(B, "A4000", 16 * GIB)))
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(4000))

    def __post_init__(self) -> None:
        self.parker = FakeCuda(self.driver)

    def begin(self, **on: int) -> Process:
        process = self.plain()
        self.parker.begin(process, *(CardProcess({"a": A, "b": B, "other": OTHER}[name], None, size * GIB) for name, size in on.items()))
        return process

    def plain(self) -> Process:
        number = next(self.numbers)
        return Process(number, number)

    def end(self, process: Process) -> None:
        self.parker.end(process.pid)

    def on_cards(self) -> set[tuple[str, int | None]]:
        return {(process.card, process.pid) for process in self.driver.running}

    def calls(self) -> list[tuple[str, int]]:
        return self.parker.calls

    def busy(self, process: Process) -> None:
        self.parker.busy.add(process.pid)

    def refuse(self, call: str, process: Process) -> None:
        self.parker.refusals[call, process.pid] = HostUnfit("not supported", code="cannot_park")

    def full(self, card: str) -> None:
        self.parker.full.add(card)

    def empty(self, card: str) -> None:
        self.parker.full.discard(card)

    def silence(self, call: str) -> None:
        def hook(moment: str, what: str, pid: int) -> None:
            if what == call:
                raise Deadline("the CUDA driver did not answer")

        self.parker.hook = hook

    async def speak(self) -> None:
        self.parker.hook = lambda moment, what, pid: None

    def old(self) -> None:
        self.parker.unfit = "the NVIDIA driver is too old to park a process"

    def reachable(self, *cards: str) -> None:
        self.parker.moves_to = frozenset(cards)


class SimulatedWorld:
    def __init__(self, library: Path, folder: Path, deadlines: Deadlines = QUICK) -> None:
        self.box, self.cuda = folder / "box", SimulatedCuda(folder / "cuda")
        self.parker = CudaParker(library_folder=library.parent, simulated_box=self.box, simulated_cuda=self.cuda.file, deadlines=deadlines)
        self.running: list[subprocess.Popen[bytes]] = []
        self.cards: dict[str, dict[int, int | None]] = {A: {}, B: {}, OTHER: {}}
        others = SimulatedCard(OTHER, name="NVIDIA RTX 6000 Ada Generation", used_bytes=0)
        write_cards(self.box, SimulatedCard(A, used_bytes=0), SimulatedCard(B, used_bytes=0), others)

    def begin(self, **on: int) -> Process:
        process = self.plain()
        for name, size in on.items():
            card = {"a": A, "b": B, "other": OTHER}[name]
            self.cards[card][process.pid] = size * GIB
            put_processes(self.box, card, self.cards[card])
        return process

    def plain(self) -> Process:
        self.running.append(subprocess.Popen(["sleep", "1000"]))
        pid = self.running[-1].pid
        ticks = KernelProcesses().start_ticks(pid)
        assert ticks is not None
        return Process(pid, ticks)

    def end(self, process: Process) -> None:
        (mine,) = (one for one in self.running if one.pid == process.pid)
        mine.kill()
        mine.wait()

    def on_cards(self) -> set[tuple[str, int | None]]:
        found, card = set[tuple[str, int | None]](), ""
        for line in self.box.read_text().splitlines():
            word, _, value = line.partition(" ")
            card = value if word == "card" else card
            if word == "process":
                found.add((card, int(value.split(" ")[0])))
        return found

    def calls(self) -> list[tuple[str, int]]:
        return self.cuda.calls()

    def busy(self, process: Process) -> None:
        self.cuda.say(f"busy {process.pid}")

    def refuse(self, call: str, process: Process) -> None:
        self.cuda.say(f"error {call} 801 {process.pid}")

    def full(self, card: str) -> None:
        self._use(card, 16 * GIB)

    def empty(self, card: str) -> None:
        self._use(card, 0)

    def _use(self, card: str, size: int) -> None:
        lines, here = [], False
        for line in self.box.read_text().splitlines():
            here = line == f"card {card}" if line.startswith("card ") else here
            lines.append(f"used {size}" if here and line.startswith("used ") else line)
        self.box.write_text("".join(f"{line}\n" for line in lines))

    def silence(self, call: str) -> None:
        self.cuda.say(f"hang {'state' if call == 'states' else call}")

    async def speak(self) -> None:
        self.cuda.unsay("hang")

    def old(self) -> None:
        self.cuda.say("driver 12040")

    def reachable(self, *cards: str) -> None:
        """The driver moves processes to any card, unless it is too old for that."""
        if not cards:
            self.cuda.say("driver 12080")

    async def close(self) -> None:
        self.cuda.unsay("hang", "slow", "busy")
        await self.parker.close()
        for process in self.running:
            process.kill()
            process.wait()


@asynccontextmanager
async def fake_world(library_folder: Path, folder: Path) -> AsyncIterator[ParkWorld]:
    yield FakeWorld()


@asynccontextmanager
async def simulated_world(library_folder: Path, folder: Path) -> AsyncIterator[SimulatedWorld]:
    world = SimulatedWorld(await asyncio.to_thread(compile_cuda, library_folder), folder)
    try:
        yield world
    finally:
        await world.close()

