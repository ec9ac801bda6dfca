"""What a notebook's person is told inside its editor, and the little that a page there may do: keep it, wake it, say that somebody is here.

The person's own code is of that origin too, so nothing below may do more than the person could by typing into it. Core decides and says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from .. import wire
from ..errors import InvalidInput
from ..messages import DoorEvent, DoorKind, NotebookView
from .corelink import CoreLink
from .live import HEADERS, PING_SECONDS
from .render import Renderer
from .table import DoorTable
from .traffic import Traffic
from .visit import Policy, Route, Visit
from .words import sentence

MOST_SECONDS = 999 * 3600.0


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar at the foot of an editor's page, as static/notice.js draws it."""

    key: str
    """Who dismissed this one does not see it again; another is another."""
    tone: str
    """warn, ask, sleep, told."""
    text: str
    due_in: float | None = None
    """Seconds from now until what the text announces: the browser says when that is, by its own clock."""
    rule: str = ""
    keep: float | None = None
    """Seconds that a click on Keep gives."""
    wake: str = ""
    """The words of the button that wakes it."""
    share: float | None = None
    """0 to 1, of something that is under way; less than 0 where the end cannot be known."""


def bar(view: NotebookView, now: float) -> Bar | None:
    """What there is to say; None for nothing."""
    if view.state in ("PARKED", "FROZEN") and (view.waiting or view.progress):
        return _rising(view)
    if view.state == "PARKED":
        text = f"The GPU did not come back: {view.trouble}" if view.trouble else "The GPU was given back; it comes back when you run something."
        return Bar(f"parked {view.run} {view.trouble}", "sleep", sentence(text), wake="Get it back now")
    if view.state == "FROZEN":
        asleep = "This notebook sleeps on the disk, with all that was in its memory."
        text = f"This notebook could not be woken: {view.trouble}" if view.trouble else asleep
        return Bar(f"frozen {view.run} {view.trouble}", "sleep", sentence(text), wake="Wake it")
    notice = view.notice
    if notice is None or view.state != "RUNNING":
        return None
    key = f"{notice.kind} {notice.due or 0:.0f} {notice.text}"
    due_in = None if notice.due is None else max(0.0, notice.due - now)
    text = sentence(notice.text).removesuffix(".")
    rule = "" if notice.rule in notice.text else notice.rule
    return Bar(key, str(notice.kind), text, due_in, rule, notice.keep_seconds)


def _rising(view: NotebookView) -> Bar:
    if view.waiting:
        text = f"waiting for a GPU, number {view.waiting.position} in line: {view.waiting.reason}"
        return Bar(f"waiting {view.run}", "sleep", sentence(text), share=-1)
    assert view.progress is not None
    share = -1.0 if view.progress.fraction is None else view.progress.fraction
    return Bar(f"rising {view.run}", "sleep", sentence(view.progress.text), share=share)


class Notices:
    def __init__(self, pages: str, table: DoorTable, core: CoreLink, render: Renderer, traffic: Traffic) -> None:
        """`pages`: the pages' origin."""
        self._pages = pages
        self._table = table
        self._core = core
        self._render = render
        self._traffic = traffic

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/.nbd/notices", Policy.SIGNED_IN, self.events),
            Route("GET", "/.nbd/why", Policy.SIGNED_IN, self.why),
            Route("POST", "/.nbd/here", Policy.SIGNED_IN, self.here),
            Route("POST", "/.nbd/keep", Policy.SIGNED_IN, self.keep),
            Route("POST", "/.nbd/wake", Policy.SIGNED_IN, self.wake),
        ]

    async def events(self, visit: Visit, _: str) -> web.StreamResponse:
        """The bar now and whenever it is another, until the browser leaves or its sign-in ends."""
        told = Told(self._table, visit)
        answer = web.StreamResponse(headers=HEADERS)
        stop = self._table.watch(told.note)
        try:
            await answer.prepare(visit.request)
            await answer.write(b"retry: 5000\n\n")
            while (piece := await told.next(time.time)) is not None:
                await answer.write(piece)
        finally:
            stop()
        return answer

    async def why(self, visit: Visit, _: str) -> web.StreamResponse:
        return self._render.redirect(f"{self._pages}/notebooks/{visit.ask.notebook}/why")

    async def here(self, visit: Visit, _: str) -> web.StreamResponse:
        """Somebody pressed a key or a button in the editor's page. Who reads in a parked one needs no GPU: what they run there wakes it."""
        if not self._table.parked(visit.ask.notebook):
            self._traffic.of(visit.ask.notebook).here += 1
        return self._done()

    async def keep(self, visit: Visit, _: str) -> web.StreamResponse:
        await self._core.keep_inside(visit.token, seconds_of(visit.form.get("seconds", "")))
        return self._done()

    async def wake(self, visit: Visit, _: str) -> web.StreamResponse:
        """By the bar's button, or by that of the page in a frozen editor's place."""
        await self._core.woken(visit.token)
        if visit.request.headers.get("Sec-Fetch-Mode") == "navigate":
            return self._render.redirect("/.nbd/")
        return self._done()

    def _done(self) -> web.StreamResponse:
        return self._render.own(web.Response(status=204))


class Told:
    """One page's bar: what it was told last, and whether something happened since."""

    def __init__(self, table: DoorTable, visit: Visit) -> None:
        self._table = table
        self._visit = visit
        self._woken = asyncio.Event()
        self._woken.set()
        self._over = False
        self._last: object = self

    def note(self, events: Collection[DoorEvent]) -> None:
        sign_in = self._visit.decision.sign_in
        assert sign_in is not None
        for event in events:
            self._over = self._over or (event.kind is DoorKind.SIGN_OUT and event.key == sign_in.token_sha256)
            if self._over or event.key == self._visit.ask.notebook:
                self._woken.set()

    async def next(self, wall_clock: Callable[[], float]) -> bytes | None:
        """The next piece of the stream, or a sign of life; None at its end."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return b": still here\n\n"
        self._woken.clear()
        row = self._table.notebooks.get(self._visit.ask.notebook)
        if self._over or row is None:
            return None
        now = bar(row.view, wall_clock())
        seen = now and (now.key, now.text, now.share)
        if seen == self._last:
            return b": still here\n\n"
        self._last = seen
        return f"data: {wire.encode(now)}\n\n".encode()


def seconds_of(text: str) -> float:
    if not text.isascii() or not text.isdecimal() or len(text) > 7 or float(text) > MOST_SECONDS:
        raise InvalidInput("how long to keep it for must be a number of seconds")
    return float(text)
