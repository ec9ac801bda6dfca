"""What a notebook's task does when it gives back its cards, or all of it, or takes them up again; and what is remembered of one that failed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ...errors import NbdError
from ...messages import Progress
from ..lives import Lives
from ..model import State, Want
from ..roster import Passing, Roster
from ..starter import Clocks
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


class RestTasks:
    def __init__(self, roster: Roster, lives: Lives, crafts: Crafts, clocks: Clocks) -> None:
        self._roster, self._lives, self._crafts, self._clocks = roster, lives, crafts, clocks
        self._failed: dict[tuple[str, str], Failed] = {}
        """By notebook and what was tried."""

    async def park(self, notebook: str) -> None:
        await self._crafts.parking.park(notebook)
        await self._roster.change(notebook, trouble="")

    async def unpark(self, notebook: str) -> None:
        await self._crafts.parking.unpark(notebook)
        await self._roster.change(notebook, trouble="")

    async def freeze(self, notebook: str) -> None:
        # Its end is what is wanted now. Should this fail, the next look at what runs says what became of it, and watches it again.
        self._lives.watches.end(notebook)
        await self._crafts.freezing.freeze(notebook)
        await self._roster.change(notebook, State.FROZEN, trouble="")
        await self._lives.tell()

    async def thaw(self, notebook: str) -> None:
        process = await self._crafts.freezing.thaw(notebook)
        row = await self._roster.change(notebook, State.RUNNING, trouble="")
        self._lives.watch(notebook, str(row.container), process)
        await self._crafts.freezing.forget(notebook)
        if row.parked:
            await self._crafts.parking.recover(notebook)  # One that was parked when it froze is parked now.
        await self._lives.tell()

    async def put_right(self, notebook: str) -> bool:
        """After a start of core: also of one of which nothing is known, for the state may have been lost while it was parked. Whether that is known
        to be right now, or cannot be asked on this box at all."""
        row = self._roster.get(notebook)
        try:
            await self._crafts.parking.recover(notebook)
        except NbdError as error:
            log.warning("%s: %s", row.title, error, extra={"NBD_NOTEBOOK": notebook})
            return not error.retryable
        return True

    async def tried(self, notebook: str, what: str, state: State, work: Callable[[str], Awaitable[None]]) -> None:
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

    def recent(self, notebook: str, what: str) -> str:
        failed = self._failed.get((notebook, what))
        return f"it failed just now: {failed.why}" if failed and self._clocks.steady() < failed.until else ""

    def say(self, notebook: str, text: str) -> None:
        self._roster.show(notebook, Passing(Progress("rest", text, None)))
