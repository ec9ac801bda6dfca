"""Brings all CUDA processes of a container to one state: look, do what is due, look again. It begins from whatever the last attempt left.

A call that was not answered may have taken effect, and one that was refused may have met a state that changed meanwhile: both are looked at again,
with back-off, as long as `patience`. What the driver refuses for good ends it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...errors import Conflict, Deadline, HostUnfit, NbdError, NotFound, Unreachable
from ..ports import Process
from .park_plan import Aim, Do, Turn, lost, named, next_turn
from .ports import CudaState, Parker, Pids

AGAIN = "cuda_state"
"""The code of a Conflict that a second look may end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds."""

    lock: float = 20.0
    """For work on the GPU to end. Longer than any sample that found it idle; a process whose work goes on is not idle."""
    patience: float = 60.0
    """For a driver that does not answer or is of two minds."""
    pause: float = 0.2
    longest_pause: float = 5.0
    release: float = 20.0
    """For the cards to show that a parked notebook has left them."""
    poll: float = 0.1


@dataclass(frozen=True, slots=True)
class Goal:
    container: str
    aim: Aim
    moves: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[int, int] = field(default_factory=dict)
    """Bytes by pid, as far as known."""
    size: int = 0
    """For those of whom it is not known."""


class Settler:
    def __init__(self, parker: Parker, pids: Pids, steady: Callable[[], float], pace: Pace) -> None:
        self._parker, self._pids, self._steady, self._pace = parker, pids, steady, pace

    def processes(self, container: str) -> dict[int, Process]:
        found = {pid: self._pids.of_pid(pid, container) for pid in self._pids.of_container(container)}
        return {pid: process for pid, process in found.items() if process is not None}

    async def states(self, container: str) -> Mapping[int, CudaState]:
        """Of those with a CUDA context. Raises HostUnfit, Unreachable, Deadline."""
        return await self._parker.states(list(self.processes(container).values()))

    async def settle(self, goal: Goal) -> Mapping[int, CudaState]:
        """Return once the aim is reached, with the states that show it. Raises what stands in the way: then it is somewhere between."""
        deadline, pause = self._steady() + self._pace.patience, self._pace.pause
        without_context: set[int] = set()
        before: Turn | None = None
        while True:
            try:
                processes = self.processes(goal.container)
                states = await self._parker.states([process for pid, process in processes.items() if pid not in without_context])
                turn = self._turn(states, goal)
                if turn is None:
                    return states
                if turn.do is not Do.WAIT and turn != before:
                    before = turn
                    await self._do(turn, goal, processes, without_context)
                    continue
                error: NbdError = Deadline(f"{turn.do} {named(turn.pids)}: the CUDA driver shows no change")
            except (Deadline, Unreachable, Conflict) as caught:
                if isinstance(caught, Conflict) and caught.code != AGAIN:
                    raise
                error = caught
            before = None
            if self._steady() > deadline:
                raise error
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._pace.longest_pause)

    def _turn(self, states: Mapping[int, CudaState], goal: Goal) -> Turn | None:
        if goal.aim is Aim.PARKED and (gone := lost(states)):
            raise HostUnfit(gone, code="cuda_lost")
        return next_turn(states, goal.aim)

    async def _do(self, turn: Turn, goal: Goal, processes: Mapping[int, Process], without_context: set[int]) -> None:
        for pid in turn.pids:
            try:
                await self._one(turn.do, processes[pid], goal)
            except NotFound as error:
                # One that has ended is not there at the next look. One that only asked what cards there are cannot be locked and has nothing to move.
                if error.code == "no_context":
                    without_context.add(pid)

    async def _one(self, do: Do, process: Process, goal: Goal) -> None:
        size = goal.sizes.get(process.pid, goal.size)
        if do is Do.LOCK:
            await self._parker.lock(process, self._pace.lock)
        elif do is Do.CHECKPOINT:
            await self._parker.checkpoint(process, size)
        elif do is Do.RESTORE:
            await self._parker.restore(process, goal.moves, size)
        else:
            await self._parker.unlock(process)
