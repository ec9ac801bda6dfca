"""What passes to and from each notebook, in sizes, directions and times: never a byte of content is looked at or kept.

What counts as a person is narrow, because a tab that was forgotten talks too: it answers pings, polls, saves by itself, connects anew after the
laptop has slept. So only a WebSocket to a kernel or a terminal is listened to, and on it only data frames that the page sends of its own accord:

* not in the first seconds of a connection, when pages introduce themselves;
* not right behind bytes from the editor: that is the page's answer, and terminals and widgets give many;
* not as regularly as a clock: that is a clock.

Who types faster than that, or into something else than a kernel, is seen by the page itself (static/notice.js), which says that somebody is here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from ..errors import NbdError
from ..idlemessages import NotebookTraffic, TrafficReport
from ..messages import DoorEvent, DoorKind

SPOKEN = re.compile(r"/(?:api/kernels/[^/?]+/channels|terminals/websocket/[^/?]+)(?:\?|$)")
"""WebSockets on which a page is silent while nobody does anything."""
ACTS = re.compile(r"/api/(?:contents|sessions|kernels|terminals)(?:[/?]|$)")
"""What an editor asks for by these because a person did something. PUT is not among the methods: pages save by themselves."""
ACTING = frozenset({"POST", "PATCH", "DELETE"})
FIRST_SECONDS = 5.0
ANSWER_SECONDS = 0.25
CLOCK_SECONDS = 1.0
"""From here on a steady rhythm is no typing."""
CLOCK_SHARE = 0.04
HURRIED_SECONDS = 0.2
MOST_WAIT_SECONDS = 30.0
DATA_FRAMES = frozenset({0x0, 0x1, 0x2})
log = logging.getLogger(__name__)


class Tally:
    """One notebook's counts since the door started."""

    __slots__ = ("clicks", "here", "relayed", "tabs", "typed")

    def __init__(self) -> None:
        self.typed = self.here = self.relayed = self.clicks = self.tabs = 0


class Tap(Protocol):
    """Told of every piece that a tunnel carries."""

    def from_browser(self, data: bytes) -> None: ...

    def from_editor(self, data: bytes) -> None: ...


class Meter:
    """Of a WebSocket that is not listened to: bytes alone."""

    __slots__ = ("_tally",)

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def from_browser(self, data: bytes) -> None:
        self._tally.relayed += len(data)

    from_editor = from_browser


class Ear:
    """Of one to a kernel or a terminal. Looks at the first byte of a piece, which is a frame's unless a long one is under way."""

    __slots__ = ("_clock", "_gap", "_last", "_quiet_until", "_tally", "_typed")

    def __init__(self, tally: Tally, clock: Callable[[], float], typed: Callable[[], None]) -> None:
        self._tally = tally
        self._clock = clock
        self._typed = typed
        self._quiet_until = clock() + FIRST_SECONDS
        self._last = self._gap = 0.0

    def from_editor(self, data: bytes) -> None:
        self._tally.relayed += len(data)
        self._quiet_until = max(self._quiet_until, self._clock() + ANSWER_SECONDS)

    def from_browser(self, data: bytes) -> None:
        self._tally.relayed += len(data)
        if data[0] & 0x0F not in DATA_FRAMES:
            return
        now = self._clock()
        last, gap = now - self._last, self._gap
        self._last, self._gap = now, last
        if now >= self._quiet_until and not (last >= CLOCK_SECONDS and abs(last - gap) <= CLOCK_SHARE * last):
            self._tally.typed += 1
            self._typed()


class Traffic:
    def __init__(self, clock: Callable[[], float], parked: Callable[[str], bool]) -> None:
        """`parked`: whether who types into that notebook now waits for a GPU."""
        self._clock = clock
        self._parked = parked
        self._tallies: dict[str, Tally] = {}
        self.door = secrets.token_hex(8)
        """This life of the door."""
        self.hurry = asyncio.Event()
        """Set when core should hear at once."""

    def of(self, notebook: str) -> Tally:
        tally = self._tallies.get(notebook)
        if tally is None:
            tally = self._tallies[notebook] = Tally()
        return tally

    def tap(self, notebook: str, path: str) -> Tap:
        """For a new WebSocket of a notebook."""
        tally = self.of(notebook)
        if not SPOKEN.match(path):
            return Meter(tally)
        return Ear(tally, self._clock, lambda: self.hurry.set() if self._parked(notebook) else None)

    def asked(self, notebook: str, method: str, path: str, *, opened: bool) -> None:
        """A request is on its way to the editor. `opened`: a person opens a page of it."""
        if opened or (method in ACTING and ACTS.match(path)):
            self.of(notebook).clicks += 1

    def changed(self, events: Collection[DoorEvent]) -> None:
        """Of a notebook that is gone for good nothing is told any more."""
        for event in events:
            if event.kind is DoorKind.NOTEBOOK_GONE:
                self._tallies.pop(event.key, None)

    def report(self) -> TrafficReport:
        rows = [NotebookTraffic(id, one.typed, one.here, one.relayed, one.clicks, one.tabs) for id, one in self._tallies.items()]
        return TrafficReport(self.door, tuple(rows))


class Listener(Protocol):
    async def tell_traffic(self, report: TrafficReport) -> None:
        """Raises NbdError where core did not hear it."""


async def tell_again_and_again(traffic: Traffic, core: Listener, every_seconds: float) -> None:
    """All counts every so often, for ever, at once when it hurries. One that is not heard is not repeated: the next has all of it."""
    wait = every_seconds
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await traffic.hurry.wait()
        traffic.hurry.clear()
        try:
            await core.tell_traffic(traffic.report())
            wait = every_seconds
        except NbdError as error:
            log.debug("core did not hear what passed: %s", error)
            wait = min(2 * wait, MOST_WAIT_SECONDS)
        # Who types on, hurries again: a few times in a second is enough.
        await asyncio.sleep(HURRIED_SECONDS)
