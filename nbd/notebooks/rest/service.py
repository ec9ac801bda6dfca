"""Gives back a notebook's cards, or all of it, and takes it up again: each as the one task that the notebook has. tasks.py,
parking.py and freezing.py know how that is done; what is due is the idle engine's word, or a person's.

The row changes after what it says is so, and a crash between the two is repaired by `look` and by reconcile.py. What fails leaves the notebook
as it was, with the reason in its row; it is not tried again at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from ...errors import Conflict, HostUnfit
from ...gpus.model import Lease
from ...idle.model import Abilities
from ...idle.ports import Subject
from ...messages import Progress, StartRequest, Waiting
from ...unixdoor import Place
from ..lives import Hands, Lives
from ..manager import Manager
from ..model import Kept, Notebook, State, Want
from ..ports import Process, Processes
from ..roster import Passing, Roster
from ..starter import Clocks, Parts
from .tasks import SAID, Crafts, RestTasks


class Resting:
    def __init__(self, parts: Parts, roster: Roster, hands: Hands, lives: Lives, manager: Manager) -> None:
        self._parts, self._roster, self._lives, self._manager = parts, roster, lives, manager
        self._tasks, self._protector = hands.tasks, hands.protector
        self._clocks = parts.clocks
        self._learned: tuple[Crafts, RestTasks] | None = None
        self._recovered: set[str] = set()
        """Those of which this process knows that nothing was left half done."""
        self._leases: Mapping[str, Sequence[Lease]] = {}
        self._begun = Begun(parts.processes, parts.clocks)

    def learn(self, crafts: Crafts) -> None:
        """Both crafts ask this service for what is around a notebook, so it is there before them."""
        self._learned = crafts, RestTasks(self._roster, self._lives, crafts, self._clocks)
        self._manager.wake = self.wake

    async def subjects(self) -> Sequence[Subject]:
        leases = await self._leased()
        found = []
        for row in self._roster.all():
            process = self._lives.watches.process(row.id) if row.state in (State.RUNNING, State.PARKED) else None
            who = await self._parts.people.occupant(row.owner) if process else None
            if process is None or who is None or row.id in self._tasks.busy():
                continue
            mine = leases.get(row.id, ())
            found.append(
                Subject(
                    row.id, row.owner, row.name, str(row.container), process.pid, Place(self._parts.folders.socket(row.id), who.uid), row.editor,
                    row.profile, row.state, tuple(one.card for one in mine), all(one.sharing == "exclusive" for one in mine), row.idle,
                    kept_until(row, self._known.boot, self._clocks), self._begun(process),
                )
            )  # fmt: skip
        return found

    async def abilities(self, notebook: str) -> Abilities:
        row, held = self._roster.get(notebook), notebook in await self._leased()
        park = self._do.recent(notebook, "park") or (await self._known.parking.obstacle(notebook) if held else "")
        freeze = self._do.recent(notebook, "freeze") or await self._known.freezing.obstacle(notebook)
        return Abilities(park, freeze, held and row.state is State.RUNNING)

    async def park(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state is State.PARKED:
            return
        must(row, State.RUNNING, "parked")
        if why := await self._known.parking.obstacle(notebook):
            raise HostUnfit(f"{row.title} cannot be parked: {why}", code="cannot_park")
        self._begin(notebook, "park", by, self._do.park)

    async def unpark(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state is State.RUNNING or (not by and self._do.recent(notebook, "unpark")):
            return
        must(row, State.PARKED, "given its GPU again")
        self._begin(notebook, "unpark", by, self._do.unpark)

    async def freeze(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state is State.FROZEN:
            return
        must(row, State.PARKED if row.state is State.PARKED else State.RUNNING, "frozen")
        await self._leased()
        if why := await self._known.freezing.obstacle(notebook):
            raise HostUnfit(f"{row.title} cannot be frozen: {why}", code="cannot_freeze")
        self._begin(notebook, "freeze", by, self._do.freeze)

    async def thaw(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state in (State.RUNNING, State.PARKED):
            return
        must(row, State.FROZEN, "thawed")
        self._begin(notebook, "thaw", by, self._do.thaw)

    async def stop(self, notebook: str, reason: str, *, again: bool = False) -> None:
        row = await self._manager.stop(notebook, reason)
        if again:
            await self._manager.start(row.owner, StartRequest(row.name, editor=row.editor, gpus=row.gpus, wait=True))

    async def keep(self, notebook: str, seconds: float) -> None:
        wall, steady = self._clocks.wall(), self._clocks.steady()
        kept = Kept(self._known.boot, steady + seconds, wall + seconds) if seconds > 0 else None
        await self._roster.change(notebook, kept=kept)

    async def settle(self, notebook: str, own: Mapping[str, str]) -> None:
        await self._roster.change(notebook, idle=dict(own))

    async def look(self) -> None:
        """A duty of core's clock: whoever is to be brought back, or is somewhere between since nbd or the driver was interrupted, is put right."""
        running = {row.id for row in self._roster.all() if row.state in (State.RUNNING, State.PARKED) and self._lives.watches.process(row.id)}
        self._recovered &= running
        for notebook in running - self._recovered - self._tasks.busy():
            self._tasks.follow(notebook, self._put_right(notebook))
        for notebook in {*self._known.parking.due(), *await self._known.parking.strays()}:
            if notebook in running and notebook not in self._tasks.busy():
                self._tasks.follow(notebook, self._do.tried(notebook, "unpark", self._roster.get(notebook).state, self._known.parking.mend))

    async def _put_right(self, notebook: str) -> None:
        if await self._do.put_right(notebook):
            self._recovered.add(notebook)

    async def wake(self, notebook: str) -> None:
        """Somebody wants to work in it."""
        row = self._roster.get(notebook)
        if row.state is State.FROZEN:
            await self.thaw(notebook, row.owner)
        elif row.state is State.PARKED:
            await self.unpark(notebook, row.owner)

    def cards(self, notebook: str) -> tuple[str, ...]:
        """Those that it held when that was last looked up."""
        return tuple(lease.card for lease in self._leases.get(notebook, ()))

    async def _leased(self) -> Mapping[str, Sequence[Lease]]:
        """By notebook."""
        leases: dict[str, list[Lease]] = {}
        for lease in await self._parts.leases.leases():
            leases.setdefault(lease.notebook, []).append(lease)
        self._leases = leases
        return leases

    def in_line(self, notebook: str) -> Callable[[int, str], None]:
        """What shows its person the place in line for a card."""
        since = self._clocks.wall()

        def told(position: int, reason: str) -> None:
            self._roster.show(notebook, Passing(Progress("lease", f"number {position} in line", None), Waiting(position, reason, since)))

        return told

    @property
    def _known(self) -> Crafts:
        assert self._learned is not None
        return self._learned[0]

    @property
    def _do(self) -> RestTasks:
        assert self._learned is not None
        return self._learned[1]

    def _begin(self, notebook: str, what: str, by: str, work: Callable[[str], Awaitable[None]]) -> None:
        """As the notebook's task, after whatever it is busy with; only if that left it as it was."""
        state, under_way = self._roster.get(notebook).state, self._roster.passing(notebook).progress
        if notebook in self._tasks.busy() and under_way == Progress("rest", SAID[what], None):
            return  # It was asked for already.
        if notebook in self._tasks.busy() and not by:
            raise Conflict(f"{self._roster.get(notebook).title} is busy", retryable=True)
        self._tasks.follow(notebook, self._do.tried(notebook, what, state, work))
        # At once: whoever asked for it watches from here on until nothing is said of it any more.
        self._do.say(notebook, SAID[what])


def must(row: Notebook, state: State, done: str) -> None:
    """Raises Conflict for one that is not in this state, or is on its way out."""
    if row.state is not state or row.want is not Want.RUNNING:
        raise Conflict(f"{row.title} is {row.state} and cannot be {done}", hint=f"see: nbctl show {row.name}", code="wrong_state")


def kept_until(row: Notebook, boot: str, clocks: Clocks) -> float | None:
    """By the monotonic clock of this boot."""
    if row.kept is None:
        return None
    return row.kept.steady if row.kept.boot == boot else clocks.steady() + row.kept.wall - clocks.wall()


class Begun:
    """When processes were started, by the monotonic clock. The kernel counts their age through a suspended night too, in which nobody worked: as far
    as this core has been there, that is left out."""

    def __init__(self, processes: Processes, clocks: Clocks) -> None:
        self._processes, self._clocks = processes, clocks
        self._known: dict[Process, float] = {}

    def __call__(self, process: Process) -> float:
        if process not in self._known:
            self._known[process] = self._clocks.steady() - self._processes.age_seconds(process)
        return self._known[process]
