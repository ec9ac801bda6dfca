"""The CUDA driver's checkpoints, in memory: states of pids, and the card processes of a FakeDriver that come and go with them.

Passes tests/contracts/test_parker.py. What it does wrong on demand is what the real one was seen to do: it refuses, falls silent before or after it
did what it was asked for, and loses a process. Each call gives way to other tasks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nbd.errors import Conflict, Deadline, HostUnfit, NbdError, NoCapacity, NotFound
from nbd.gpus.ports import CardProcess
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.ports import CudaState
from tests.fakes.driver import FakeDriver

S = CudaState
Hook = Callable[[str, str, int], None]
"""Told "before" or "after", the call and the pid; what it raises is what the call raises."""


def quiet(moment: str, call: str, pid: int) -> None:
    return


@dataclass
class FakeCuda:
    driver: FakeDriver
    unfit: str = ""
    """Why nothing can be parked on this box."""
    moves_to: frozenset[str] = frozenset()
    """Cards that every process reaches."""
    hook: Hook = quiet
    known: dict[int, CudaState] = field(default_factory=dict)
    kept: dict[int, list[CardProcess]] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    refusals: dict[tuple[str, int], NbdError] = field(default_factory=dict)
    """By call and pid: raised each time, until it is taken away."""
    full: set[str] = field(default_factory=set)
    """Cards on which a restore finds no memory."""
    calls: list[tuple[str, int]] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is clear, calls that change something wait."""

    def __post_init__(self) -> None:
        self.answers.set()

    def begin(self, process: Process, *places: CardProcess) -> None:
        """The process makes a CUDA context."""
        self.known[process.pid] = S.RUNNING
        self.driver.running += [replace(place, pid=process.pid) for place in places]

    def end(self, pid: int) -> None:
        self.known.pop(pid, None)
        self.driver.running = [process for process in self.driver.running if process.pid != pid]

    async def obstacle(self) -> str:
        await asyncio.sleep(0)
        return self.unfit

    async def reaches(self, process: Process, cards: Sequence[str]) -> frozenset[str]:
        await asyncio.sleep(0)
        return self.moves_to & frozenset(cards)

    async def states(self, processes: Sequence[Process]) -> Mapping[int, CudaState]:
        await asyncio.sleep(0)
        self.hook("before", "states", 0)
        return {process.pid: self.known[process.pid] for process in processes if process.pid in self.known}

    async def lock(self, process: Process, seconds: float) -> None:
        await self._enter("lock", process.pid, S.RUNNING)
        if process.pid in self.busy:
            raise Conflict("it works", code="gpu_busy", retryable=True)
        self._leave("lock", process.pid, S.LOCKED)

    async def checkpoint(self, process: Process, size: int = 0) -> None:
        await self._enter("checkpoint", process.pid, S.LOCKED)
        mine = [place for place in self.driver.running if place.pid == process.pid]
        self.driver.running = [place for place in self.driver.running if place.pid != process.pid]
        self.kept[process.pid] = mine
        self._leave("checkpoint", process.pid, S.CHECKPOINTED)

    async def restore(self, process: Process, moves: Mapping[str, str], size: int = 0) -> None:
        await self._enter("restore", process.pid, S.CHECKPOINTED)
        back = [replace(place, card=moves.get(place.card, place.card)) for place in self.kept[process.pid]]
        if moves and not {place.card for place in self.kept[process.pid]} <= moves.keys():
            raise HostUnfit("not all cards are in it", code="cannot_move")
        if any(place.card in self.full for place in back):
            raise NoCapacity("no memory on the card", code="gpu_memory", retryable=True)
        self.driver.running += back
        del self.kept[process.pid]
        self._leave("restore", process.pid, S.LOCKED)

    async def unlock(self, process: Process) -> None:
        await self._enter("unlock", process.pid, S.LOCKED)
        self._leave("unlock", process.pid, S.RUNNING)

    def silence(self, moment: str, call: str) -> None:
        """The next such call is not answered: `before` or `after` it did what it was asked for."""

        def hook(now: str, what: str, pid: int) -> None:
            if (now, what) == (moment, call):
                self.hook = quiet
                raise Deadline("the driver did not answer")

        self.hook = hook

    def lose(self, call: str) -> None:
        """The next such call fails, and the process is in the state "failed"."""

        def hook(now: str, what: str, pid: int) -> None:
            if (now, what) == ("before", call):
                self.hook = quiet
                self.known[pid] = S.FAILED
                raise HostUnfit("unknown error", code="driver_failed")

        self.hook = hook

    async def _enter(self, call: str, pid: int, wanted: CudaState) -> None:
        await asyncio.sleep(0)
        self.calls.append((call, pid))
        await self.answers.wait()
        if pid not in self.known:
            raise NotFound(f"pid {pid} has ended", code="process_gone")
        self.hook("before", call, pid)
        if (call, pid) in self.refusals:
            raise self.refusals[call, pid]
        if self.known[pid] is not wanted:
            raise Conflict(f"pid {pid} is {self.known[pid]}", code="cuda_state", retryable=True)

    def _leave(self, call: str, pid: int, state: CudaState) -> None:
        self.known[pid] = state
        self.hook("after", call, pid)
