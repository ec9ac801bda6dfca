"""Gives back a notebook's cards, or all of it, and takes it up again: each as the one task that the notebook has. parking.py and freezing.py know how
that is done; what is due is the idle engine's word, or a person's.

The row changes after what it says is so, and a crash between the two is repaired by `recovered` and by reconcile.py. What fails leaves the notebook
as it was, with the reason in its row; it is not tried again at once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import Conflict, HostUnfit, NbdError
from ...gpus.model import Lease
from ...idle.model import Abilities
from ...idle.ports import Subject
from ...messages import Progress, StartRequest, Waiting
from ...unixdoor import Place
from ..lives import Hands, Lives
from ..manager import Manager
from ..model import Kept, Notebook, State, Want
from ..roster import Passing, Roster
from ..starter import Parts
from .freezing import Freezing
from .parking import Parking

log = logging.getLogger(__name__)
SAID = {"park": "giving its GPU back", "unpark": "getting a GPU again", "freeze": "going to the disk", "thaw": "coming back from the disk"}
AGAIN_SECONDS, MOST_AGAIN_SECONDS = 30.0, 1800.0
"""After a failure the engine does not try the same again for so long, twice as long each time. A person may at once."""


@dataclass(frozen=True, slots=True)
class Crafts:
    parking: Parking
    freezing: Freezing
    boot: str
    """Which boot of the box the monotonic clock counts from."""


@dataclass(frozen=True, slots=True)
class Failed:
    why: str
    times: int
    until: float


class Resting:
    def __init__(self, parts: Parts, roster: Roster, hands: Hands, lives: Lives, manager: Manager) -> None:
        self._parts, self._roster, self._lives, self._manager = parts, roster, lives, manager
        self._tasks, self._protector = hands.tasks, hands.protector
        self._clocks = parts.clocks
        self._crafts: Crafts | None = None
        self._failed: dict[tuple[str, str], Failed] = {}
        """By notebook and what was tried."""
        self._recovered: set[str] = set()
        """Those of which this process knows that nothing was left half done."""
        self._leases: Mapping[str, Sequence[Lease]] = {}

    def learn(self, crafts: Crafts) -> None:
        """Both crafts ask this service for what is around a notebook, so it is there before them."""
        self._crafts = crafts
        self._manager.wake = self.wake

    async def subjects(self) -> Sequence[Subject]:
        leases = await self._leased()
        found = []
        for row in self._roster.all():
            process = self._lives.process(row.id) if row.state in (State.RUNNING, State.PARKED) else None
            who = await self._parts.people.occupant(row.owner) if process else None
            if process is None or who is None or row.id in self._tasks.busy():
                continue
            mine = leases.get(row.id, ())
            found.append(
                Subject(
                    row.id, row.owner, row.name, str(row.container), process.pid, Place(self._parts.folders.socket(row.id), who.uid), row.editor,
                    row.profile, row.state, tuple(one.card for one in mine), all(one.sharing == "exclusive" for one in mine), row.idle,
                    self._kept_until(row), self._clocks.steady() - self._parts.processes.age_seconds(process),
                )
            )  # fmt: skip
        return found

    async def abilities(self, notebook: str) -> Abilities:
        row, held = self._roster.get(notebook), notebook in await self._leased()
        park = self._recent(notebook, "park") or (await self._known.parking.obstacle(notebook) if held else "")
        freeze = self._recent(notebook, "freeze") or await self._known.freezing.obstacle(notebook)
        return Abilities(park, freeze, held and row.state is State.RUNNING)

    async def park(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state is State.PARKED:
            return
        self._must(row, State.RUNNING, "parked")
        if why := await self._known.parking.obstacle(notebook):
            raise HostUnfit(f"{row.title} cannot be parked: {why}", code="cannot_park")
        self._begin(notebook, "park", by, self._parked)

    async def unpark(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state is State.RUNNING or (not by and self._recent(notebook, "unpark")):
            return
        self._must(row, State.PARKED, "given its GPU again")
        self._begin(notebook, "unpark", by, self._unparked)

    async def freeze(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state is State.FROZEN:
            return
        self._must(row, State.PARKED if row.state is State.PARKED else State.RUNNING, "frozen")
        await self._leased()
        if why := await self._known.freezing.obstacle(notebook):
            raise HostUnfit(f"{row.title} cannot be frozen: {why}", code="cannot_freeze")
        self._begin(notebook, "freeze", by, self._frozen)

    async def thaw(self, notebook: str, by: str = "") -> None:
        row = self._roster.get(notebook)
        if row.state in (State.RUNNING, State.PARKED):
            return
        self._must(row, State.FROZEN, "thawed")
        self._begin(notebook, "thaw", by, self._thawed)

    async def stop(self, notebook: str, reason: str, *, again: bool = False) -> None:
        row = await self._manager.stop(notebook, reason)
        if again:
            await self._manager.start(row.owner, StartRequest(row.name, wait=True))

    async def keep(self, notebook: str, seconds: float) -> None:
        wall, steady = self._clocks.wall(), self._clocks.steady()
        kept = Kept(self._known.boot, steady + seconds, wall + seconds) if seconds > 0 else None
        await self._roster.change(notebook, kept=kept)

    async def settle(self, notebook: str, own: Mapping[str, str]) -> None:
        await self._roster.change(notebook, idle=dict(own))

    async def look(self) -> None:
        """A duty of core's clock: whoever is to be brought back, or is somewhere between since nbd or the driver was interrupted, is put right."""
        running = {row.id for row in self._roster.all() if row.state in (State.RUNNING, State.PARKED) and self._lives.process(row.id)}
        self._recovered &= running
        for notebook in running - self._recovered - self._tasks.busy():
            self._recovered.add(notebook)
            self._tasks.follow(notebook, self._put_right(notebook))
        for notebook in {*self._known.parking.due(), *await self._known.parking.strays()}:
            if notebook in running and notebook not in self._tasks.busy():
                self._tasks.follow(notebook, self._tried(notebook, "unpark", self._roster.get(notebook).state, self._known.parking.mend))

    async def wake(self, notebook: str) -> None:
        """Somebody wants to work in it."""
        row = self._roster.get(notebook)
        if row.state is State.FROZEN:
            await self.thaw(notebook, row.owner)
        elif row.state is State.PARKED:
            await self.unpark(notebook, row.owner)

    async def _put_right(self, notebook: str) -> None:
        row = self._roster.get(notebook)
        if row.parked is None and row.state is not State.PARKED:
            return
        try:
            await self._known.parking.recover(notebook)
        except NbdError as error:
            log.warning("%s: %s", row.title, error, extra={"NBD_NOTEBOOK": notebook})

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
        assert self._crafts is not None
        return self._crafts

    async def _parked(self, notebook: str) -> None:
        await self._known.parking.park(notebook)
        await self._roster.change(notebook, trouble="")

    async def _unparked(self, notebook: str) -> None:
        await self._known.parking.unpark(notebook)
        await self._roster.change(notebook, trouble="")

    async def _frozen(self, notebook: str) -> None:
        # Its end is what is wanted now. Should this fail, the next look at what runs says what became of it, and watches it again.
        self._lives.unwatch(notebook)
        await self._known.freezing.freeze(notebook)
        await self._roster.change(notebook, State.FROZEN, trouble="")
        await self._lives.tell()

    async def _thawed(self, notebook: str) -> None:
        process = await self._known.freezing.thaw(notebook)
        row = await self._roster.change(notebook, State.RUNNING, trouble="")
        self._lives.watch(notebook, str(row.container), process)
        await self._known.freezing.forget(notebook)
        if row.parked:
            await self._known.parking.recover(notebook)  # One that was parked when it froze is parked now.
        await self._lives.tell()

    def _begin(self, notebook: str, what: str, by: str, work: Callable[[str], Awaitable[None]]) -> None:
        """As the notebook's task, after whatever it is busy with; only if that left it as it was."""
        state = self._roster.get(notebook).state
        if notebook in self._tasks.busy() and not by:
            raise Conflict(f"{self._roster.get(notebook).title} is busy", retryable=True)
        self._tasks.follow(notebook, self._tried(notebook, what, state, work))
        # At once: whoever asked for it watches from here on until nothing is said of it any more.
        self._say(notebook, SAID[what])

    async def _tried(self, notebook: str, what: str, state: State, work: Callable[[str], Awaitable[None]]) -> None:
        row = self._roster.get(notebook)
        if row.state is not state or row.want is not Want.RUNNING:
            self._roster.show(notebook, replace(self._roster.passing(notebook), progress=None))
            return
        try:
            await work(notebook)
        except NbdError as error:
            log.warning("%s: %s failed: %s", row.title, what, error, extra={"NBD_NOTEBOOK": notebook, "NBD_EVENT": f"{what}_failed"})
            times = self._failed[notebook, what].times + 1 if (notebook, what) in self._failed else 1
            pause = min(AGAIN_SECONDS * 2 ** (times - 1), MOST_AGAIN_SECONDS)
            self._failed[notebook, what] = Failed(error.message, times, self._clocks.steady() + pause)
            await self._roster.change(notebook, trouble=f"{error.message}; {error.hint}" if error.hint else error.message)
        else:
            self._failed = {key: failed for key, failed in self._failed.items() if key[0] != notebook}
            log.info("%s: %s", row.title, what, extra={"NBD_NOTEBOOK": notebook, "NBD_EVENT": what})
        finally:
            self._roster.show(notebook, replace(self._roster.passing(notebook), progress=None, waiting=None))

    def _recent(self, notebook: str, what: str) -> str:
        failed = self._failed.get((notebook, what))
        return f"it failed just now: {failed.why}" if failed and self._clocks.steady() < failed.until else ""

    def _say(self, notebook: str, text: str) -> None:
        self._roster.show(notebook, Passing(Progress("rest", text, None)))

    def _must(self, row: Notebook, state: State, done: str) -> None:
        if row.state is not state or row.want is not Want.RUNNING:
            raise Conflict(f"{row.title} is {row.state} and cannot be {done}", hint=f"see: nbctl show {row.name}", code="wrong_state")

    def _kept_until(self, row: Notebook) -> float | None:
        if row.kept is None:
            return None
        if row.kept.boot == self._known.boot:
            return row.kept.steady
        return self._clocks.steady() + row.kept.wall - self._clocks.wall()
