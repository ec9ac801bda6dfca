"""Parks a notebook and brings it back: its cards are somebody else's meanwhile, its kernels, terminals and open pages stay. park_plan.py decides.

Order of a park: what is meant is written down; all its CUDA processes are locked, then all checkpointed; the cards show none of them; the row is
PARKED; the lease ends. What goes wrong before that is undone, and it runs as before. Of an unpark: the lease; room on the cards; all restored, with
`moves` when they are other cards; all unlocked; the row is RUNNING. What goes wrong is undone too: it stays parked, and the lease goes back.
Where neither can be, because the driver does not answer, it keeps its lease and its state, and `due` names it until one of the two is reached.

A notebook has one task at a time, and these methods are that task's. The reason of a failure is raised; its caller shows it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...errors import Conflict, HostUnfit, NbdError, Unreachable
from ..model import Notebook, Parked, State
from ..roster import Roster
from .park_memory import Memories
from .park_plan import Aim, lost, moves_of
from .park_survey import ParkParts, Surveyor
from .ports import CudaState
from .settling import Goal, Pace, Settler

log = logging.getLogger(__name__)
InLine = Callable[[str], Callable[[int, str], None]]
"""Of a notebook: what tells its person the place in line and why not yet."""
PACE = Pace()


class Parking:
    def __init__(self, parts: ParkParts, roster: Roster, in_line: InLine, pace: Pace = PACE) -> None:
        self._parts, self._roster, self._in_line, self._pace = parts, roster, in_line, pace
        self._steady = parts.clocks.steady
        self._settler = Settler(parts.parker, parts.pids, self._steady, pace)
        self._memories = Memories(roster, self._steady)
        self._surveyor = Surveyor(parts, self._settler, self._memories)

    async def obstacle(self, notebook: str) -> str:
        """Why it could not be parked now, for a person; empty where it can be tried. Only looks: nothing is locked for it."""
        try:
            return (await self._surveyor.before_park(self._roster.get(notebook)))[0]
        except NbdError as error:
            return f"it cannot be told: {error.message}"

    async def park(self, notebook: str) -> None:
        """On return it is PARKED and its lease has ended. Raises NbdError: then it runs as before, but for what `due` names."""
        row = self._roster.get(notebook)
        if row.state is not State.RUNNING or row.container is None:
            return
        reason, load = await self._surveyor.before_park(row)
        if reason:
            raise HostUnfit(f"{row.title} cannot be parked: {reason}", code="cannot_park")
        memory = self._memories.of(notebook)
        memory.promised = load.total
        try:
            await self._roster.change(notebook, parked=Parked(self._parts.clocks.wall(), load.by_card))
            await self._settler.settle(Goal(row.container, Aim.PARKED, sizes=load.by_pid))
            await self._left(row.container, tuple(load.by_card))
        except NbdError as error:
            if error.code == "cannot_park":
                memory.refused = (frozenset(load.processes), error.message)
            await self._undo_park(notebook, error)
            raise
        finally:
            memory.promised = 0
        await self._is_parked(notebook)

    async def unpark(self, notebook: str) -> None:
        """On return it is RUNNING on its cards or on others of the kind; it stands in line for them as long as it takes. Raises NbdError: then it
        is PARKED as before, but for what `due` names. Cancelled while in line, it is as before too."""
        await self.recover(notebook)
        row = self._roster.get(notebook)
        if row.state is not State.PARKED or row.container is None:
            return
        plan = replace(row.parked or Parked(self._parts.clocks.wall(), {}), wanted=True)
        if plan != row.parked:
            await self._roster.change(notebook, parked=plan)
        try:
            request = await self._surveyor.way_back(row, plan)
            granted = (await self._parts.gpus.wait(notebook, row.title, request, self._in_line(notebook))).cards if plan.memory else ()
            moves = await self._surveyor.moves(plan, granted)
            states = await self._settler.settle(Goal(row.container, Aim.RUNNING, moves, size=total(plan)))
        except NbdError as error:
            await self._stay_parked(notebook, error)
            raise
        await self._is_running(notebook)
        if gone := lost(states):
            raise HostUnfit(gone, code="cuda_lost")

    async def recover(self, notebook: str) -> bool:
        """After nbd was interrupted, or a repair failed: all of it runs or all is parked. Answers whether it is parked. Cheap where nothing was under
        way. Raises NbdError where the driver does not answer: then it is as it was found, and `due`."""
        row = self._roster.get(notebook)
        leased = tuple(lease.card for lease in await self._surveyor.leased(notebook))
        if row.container is None or (row.parked is None and not leased):
            return row.state is State.PARKED
        try:
            return await self._to_one_side(row, leased, await self._settler.states(row.container))
        except NbdError as error:
            if row.parked is not None:
                self._memories.unsettled(notebook, error)
            raise

    async def mend(self, notebook: str) -> None:
        """What is due for it: put right, and brought back where somebody waits for it."""
        await self.recover(notebook)
        row = self._roster.get(notebook)
        if row.state is State.PARKED and row.parked and row.parked.wanted:
            await self.unpark(notebook)

    async def strays(self) -> tuple[str, ...]:
        """Parked notebooks of which a process is on a card, which may be somebody else's: to be mended at once. Empty while the driver is silent."""
        parked = [row for row in self._roster.all() if row.state is State.PARKED and row.container]
        try:
            busy = {process.pid for process in await self._parts.cards.processes()} if parked else set()
        except NbdError:
            return ()
        return tuple(row.id for row in parked if not busy.isdisjoint(self._parts.pids.of_container(str(row.container))))

    def due(self) -> tuple[str, ...]:
        """Whom to `mend` now: who is somewhere between, and who is waited for. Those that a task is busy with may be among them."""
        return self._memories.due()

    async def _to_one_side(self, row: Notebook, leased: Sequence[str], states: Mapping[int, CudaState]) -> bool:
        """From any mixture. With its cards it can run; without them it cannot, so it is parked."""
        assert row.container is not None
        plan = row.parked or Parked(self._parts.clocks.wall(), dict.fromkeys(leased, 0))
        whole = bool(leased) and len(leased) >= len(plan.memory)
        all_parked = all(state is CudaState.CHECKPOINTED for state in states.values())
        if row.parked and row.state is State.RUNNING and states and all_parked:
            # It was all done but for the last word.
            await self._left(row.container, tuple(plan.memory))
            await self._is_parked(row.id)
            return True
        if whole and (row.state is State.RUNNING or plan.wanted or not all_parked):
            if any(state is not CudaState.RUNNING for state in states.values()):
                log.info("%s: what was interrupted is put right", row.title, extra={"NBD_NOTEBOOK": row.id, "NBD_EVENT": "park_recovered"})
                await self._settler.settle(Goal(row.container, Aim.RUNNING, moves_of(tuple(plan.memory), leased), size=total(plan)))
            if row.parked is not None or row.state is State.PARKED:
                await self._is_running(row.id)
            return False
        # Nobody of it may be on cards that are not its own. A program that was started while it is parked is a wish for them, and waits in line too.
        stray = row.state is State.PARKED and any(state is CudaState.RUNNING for state in states.values())
        await self._settler.settle(Goal(row.container, Aim.PARKED, size=total(plan)))
        if row.parked is None or stray:
            await self._roster.change(row.id, parked=replace(plan, wanted=plan.wanted or stray))
        await self._is_parked(row.id)
        return True

    async def _left(self, container: str, cards: Sequence[str]) -> None:
        """Return when the cards show none of its processes. Raises Conflict when they go on showing one."""
        deadline = self._steady() + self._pace.release
        while still := await self._surveyor.left(container, cards):
            if self._steady() > deadline:
                raise Conflict(f"its GPU is not free: {still}", hint="it is asked again later", code="still_there", retryable=True)
            await asyncio.sleep(self._pace.poll)

    async def _undo_park(self, notebook: str, error: NbdError) -> None:
        row = self._roster.get(notebook)
        assert row.container is not None
        try:
            states = await self._settler.settle(Goal(row.container, Aim.RUNNING, size=total(row.parked)))
        except NbdError as worse:
            log.warning("%s: its park cannot be undone: %s", row.title, worse, extra={"NBD_NOTEBOOK": notebook, "NBD_EVENT": "park_stuck"})
            await self._park_after_all(notebook, worse)
            return
        await self._roster.change(notebook, parked=None)
        if gone := lost(states):
            raise HostUnfit(f"{gone}. It was being parked: {error.message}", code="cuda_lost") from error

    async def _park_after_all(self, notebook: str, error: NbdError) -> None:
        """Forward is the other side on which nothing stays locked; it is wanted back from there."""
        row = self._roster.get(notebook)
        self._memories.failed(notebook, error)
        if await self._all_parked(row):
            if row.parked:
                await self._roster.change(notebook, parked=replace(row.parked, wanted=True))
            await self._is_parked(notebook)

    async def _stay_parked(self, notebook: str, error: NbdError) -> None:
        """Or go on without the one whom the driver lost: for the others the way back is the better one."""
        row = self._roster.get(notebook)
        self._memories.failed(notebook, error)
        if await self._all_parked(row):
            await self._is_parked(notebook)
        elif await self._any_lost(row):
            await self.recover(notebook)
            raise HostUnfit(lost(await self._settler.states(str(row.container))), code="cuda_lost") from error

    async def _any_lost(self, row: Notebook) -> bool:
        try:
            return bool(lost(await self._settler.states(str(row.container))))
        except NbdError:
            return False

    async def _all_parked(self, row: Notebook) -> bool:
        """Whether that could be reached; otherwise it is due."""
        try:
            await self._settler.settle(Goal(str(row.container), Aim.PARKED, size=total(row.parked)))
            await self._left(str(row.container), tuple(row.parked.memory) if row.parked else ())
        except NbdError as error:
            self._memories.unsettled(row.id, error)
            return False
        return True

    async def _is_parked(self, notebook: str) -> None:
        """Written first: a lease that is left over is seen and ended, a card that somebody else has meanwhile is not given back."""
        row = self._roster.get(notebook)
        self._memories.of(notebook).unsettled = False
        if row.state is State.RUNNING:
            await self._roster.change(notebook, State.PARKED)
        try:
            held = await self._parts.gpus.release(notebook, self._parts.pids.of_container(row.container or ""))
        except NbdError as error:
            self._memories.unsettled(notebook, error)
            return
        if held:
            self._memories.unsettled(notebook, Unreachable(f"{', '.join(held)} shows a process of it again"))

    async def _is_running(self, notebook: str) -> None:
        self._memories.forget(notebook)
        row = self._roster.get(notebook)
        await self._roster.change(notebook, *((State.RUNNING,) if row.state is State.PARKED else ()), parked=None)


def total(plan: Parked | None) -> int:
    return sum(plan.memory.values()) if plan else 0
