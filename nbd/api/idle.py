"""Routes of idleness: why, keep, one's own settings, the last day, another policy; giving a GPU or all memory back now, and taking it up again.

What the web door says stands here too: what it counted, and that a person stands before a notebook that rests.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from ..errors import InvalidInput, NotFound
from ..idlemessages import (
    FromInside,
    Heard,
    HistoryView,
    IdleSettings,
    KeepRequest,
    ReplayRequest,
    ReplayView,
    TrafficReport,
    WhyView,
)
from ..messages import NotebookView
from ..notebooks.model import Notebook, State
from ..notebooks.roster import Roster
from ..people.access import Act
from ..people.register import Register
from .notebooks import Showcase, found
from .routes import Ask, Handler, Route, Who

MOST_KEPT_SECONDS = 7 * 86400.0
"""A slip of the hand; what a policy allows is the desk's word."""
MOST_SETTINGS = 20


class Desk(Protocol):
    """Idleness as people ask about it (idle/monitor.py). `notebook` is an id of one that exists; every answer holds for one that is stopped, too."""

    async def why(self, notebook: str) -> WhyView: ...

    async def keep(self, notebook: str, seconds: float, by: str) -> WhyView:
        """Kept from now for so long, in place of what was; 0 ends it. `by` is the person's name. Raises Refused where the policy does not
        allow so long, Conflict where there is nothing to keep."""

    async def set(self, notebook: str, settings: Mapping[str, str]) -> WhyView:
        """The person's own word for these keys, "" takes it back; durable. Raises InvalidInput for what is no setting or no value, Refused for
        what is looser than the profile allows; then nothing changed."""

    async def history(self, notebook: str) -> HistoryView: ...

    async def replay(self, notebook: str, policy: str) -> ReplayView:
        """Raises InvalidInput, naming the line, for what is no [idle] table."""

    def heard(self, report: TrafficReport) -> None:
        """The web door's counts, every few seconds; at once when something is typed into one that is PARKED, which is what wakes it."""


class Rest(Protocol):
    """Giving back and taking up again, as a person asks for it. Each returns when it is begun; from then until it is over, whichever way, the
    notebook shows its progress or its place in the line (Passing). What is so already stays so.

    Raises Conflict in a state from which that cannot be, and what keeps it from being done at all: HostUnfit, Refused.
    """

    async def park(self, notebook: str, by: str) -> None: ...

    async def unpark(self, notebook: str, by: str) -> None: ...

    async def freeze(self, notebook: str, by: str) -> None: ...

    async def thaw(self, notebook: str, by: str) -> None: ...


class IdleRoutes:
    def __init__(self, desk: Desk, rest: Rest, roster: Roster, showcase: Showcase, register: Register) -> None:
        self._desk = desk
        self._rest = rest
        self._roster = roster
        self._showcase = showcase
        self._register = register

    def routes(self) -> list[Route]:
        one, rest, verb = "/v1/notebooks/{name}", self._rest, self._verb
        return [
            Route("GET", one + "/why", "What shows that it works, what happens next and when, and whose rule that is", WhyView, self.why),
            Route("POST", one + "/keep", "Let it be for a while", WhyView, self.keep, body=KeepRequest),
            Route("DELETE", one + "/keep", "Keep it no longer", WhyView, self.end_keep),
            Route("PATCH", one + "/idle", "Your own settings, tighter than the profile's", WhyView, self.set, body=IdleSettings),
            Route("GET", one + "/idle/history", "The evidence of the last day", HistoryView, self.history),
            Route("POST", one + "/idle/replay", "What another policy would have done", ReplayView, self.replay, body=ReplayRequest),
            Route("POST", one + "/park", "Give its GPU back, keep its kernel", NotebookView, verb(rest.park)),
            Route("POST", one + "/unpark", "Give it a GPU again", NotebookView, verb(rest.unpark)),
            Route("POST", one + "/freeze", "All of it to the disk: GPU and memory are free", NotebookView, verb(rest.freeze)),
            Route("POST", one + "/thaw", "Back from the disk, as it was", NotebookView, verb(rest.thaw)),
            Route("POST", "/v1/door/traffic", "What the web door counted", Heard, self.traffic, body=TrafficReport, who=Who.DOOR),
            Route("POST", "/v1/door/keep", "A click inside the editor", NotebookView, self.keep_inside, body=FromInside, who=Who.DOOR),
            Route("POST", "/v1/door/woken", "A person stands before it", NotebookView, self.woken, body=FromInside, who=Who.DOOR),
        ]

    async def why(self, ask: Ask) -> WhyView:
        return await self._desk.why(self._find(ask, Act.SEE).id)

    async def keep(self, ask: Ask) -> WhyView:
        asked: KeepRequest = ask.body
        return await self._desk.keep(self._find(ask, Act.CHANGE).id, kept_seconds(asked.seconds), ask.person.name)

    async def end_keep(self, ask: Ask) -> WhyView:
        return await self._desk.keep(self._find(ask, Act.CHANGE).id, 0.0, ask.person.name)

    async def set(self, ask: Ask) -> WhyView:
        """Its owner's alone: an admin's word stands in the profile."""
        asked: IdleSettings = ask.body
        if not asked.settings or len(asked.settings) > MOST_SETTINGS:
            raise InvalidInput(f"1 to {MOST_SETTINGS} settings at a time", hint="such as park_after=10min")
        return await self._desk.set(self._find(ask, Act.ENTER).id, asked.settings)

    async def history(self, ask: Ask) -> HistoryView:
        return await self._desk.history(self._find(ask, Act.SEE).id)

    async def replay(self, ask: Ask) -> ReplayView:
        asked: ReplayRequest = ask.body
        return await self._desk.replay(self._find(ask, Act.SEE).id, asked.policy)

    async def traffic(self, ask: Ask) -> Heard:
        report: TrafficReport = ask.body
        self._desk.heard(report)
        return Heard(len(report.notebooks))

    async def keep_inside(self, ask: Ask) -> NotebookView:
        asked: FromInside = ask.body
        row, person = await self._inside(asked)
        await self._desk.keep(row.id, kept_seconds(asked.seconds or 0.0), person)
        return await self._showcase.show(self._roster.get(row.id), person)

    async def woken(self, ask: Ask) -> NotebookView:
        row, person = await self._inside(ask.body)
        if row.state is State.FROZEN:
            await self._rest.thaw(row.id, person)
        elif row.state is State.PARKED:
            await self._rest.unpark(row.id, person)
        return await self._showcase.show(self._roster.get(row.id), person)

    def _verb(self, act: Callable[[str, str], Awaitable[None]]) -> Handler:
        async def handler(ask: Ask) -> NotebookView:
            row = self._find(ask, Act.CHANGE)
            await act(row.id, ask.person.name)
            return await self._showcase.show(self._roster.get(row.id), ask.person.name)

        return handler

    async def _inside(self, asked: FromInside) -> tuple[Notebook, str]:
        """The notebook whose origin the browser is on, and its person. Raises NotSignedIn, NotFound."""
        notebook, person = await self._register.inside(asked.token)
        row = self._roster.get(notebook)
        if row.owner != person.name:
            raise NotFound("there is no such notebook")
        return row, person.name

    def _find(self, ask: Ask, act: Act) -> Notebook:
        return found(self._roster, ask, act)


def kept_seconds(seconds: float) -> float:
    if not (math.isfinite(seconds) and 60 <= seconds <= MOST_KEPT_SECONDS):
        raise InvalidInput("a notebook is kept for a minute at least and a week at most", hint="such as: nbctl keep NAME 2h")
    return seconds
