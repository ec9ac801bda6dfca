"""Routes of notebooks: list, start, stop, delete, open, log, runs, and their changes as events."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing

from .. import wire
from ..errors import InvalidInput, NotFound
from ..feed import merged
from ..gpus.model import Lease
from ..gpus.names import CardNames
from ..homemessages import HomeEvent
from ..messages import NotebookView, OpenAnswer, RunView, StartRequest
from ..notebooks.homenews import HomeNews
from ..notebooks.manager import Manager
from ..notebooks.model import LIVE, Notebook
from ..notebooks.ports import Leases, Logs
from ..notebooks.roster import Change, Roster
from ..notebooks.views import Sight, run_view, view
from ..people.access import Act, may, may_use
from ..people.register import Register
from .routes import Ask, Created, Route, Stream

MOST_LINES = 10_000
EVENTS = "text/event-stream"
STILL_HERE = ": still here\n\n"


class Showcase:
    """Turns rows into what people see; used by every route that shows notebooks."""

    def __init__(self, roster: Roster, leases: Leases, names: CardNames, url: Callable[[str], str], news: HomeNews) -> None:
        self.news = news
        self._roster = roster
        self._leases = leases
        self._names = names
        self._url = url

    async def show(self, row: Notebook, asker: str | None = None) -> NotebookView:
        return (await self.show_all([row], asker))[0]

    async def show_all(self, rows: list[Notebook], asker: str | None = None) -> list[NotebookView]:
        """As `asker` may see them; without one, each as its owner does."""
        leases, names = await self._leases.leases(), self._names.known()
        return [view(row, self._roster.passing(row.id), self._sight(row, leases, names, asker)) for row in rows]

    def _sight(self, row: Notebook, leases: Sequence[Lease], names: Mapping[str, str], asker: str | None) -> Sight:
        return Sight(leases, names, self._url(row.id), own=asker in (None, row.owner), home=self.news.of(row.owner))


class NotebookRoutes:
    def __init__(self, manager: Manager, roster: Roster, showcase: Showcase, register: Register, logs: Logs) -> None:
        self._manager = manager
        self._roster = roster
        self._showcase = showcase
        self._register = register
        self._logs = logs

    def routes(self) -> list[Route]:
        every, one = "/v1/notebooks", "/v1/notebooks/{name}"
        log_query = {"follow": "1: go on with new lines as they come", "lines": "how many of the last lines"}
        return [
            Route("GET", every, "Your notebooks; all of them for an admin who asks", tuple[NotebookView, ...], self.all, query={"all": "1"}),
            Route("POST", every, "Start a notebook; one that is up stays as it is", NotebookView, self.start, body=StartRequest),
            Route("GET", one, "One notebook, by name or id", NotebookView, self.one),
            Route("DELETE", one, "Stop and delete it; the home stays", NotebookView, self.delete),
            Route("POST", one + "/stop", "Stop it: time to save, then the end", NotebookView, self.stop),
            Route("POST", one + "/open", "A one-time link to its editor", OpenAnswer, self.open),
            Route("GET", one + "/runs", "Its runs, newest first", tuple[RunView, ...], self.runs),
            Route("GET", one + "/logs", "What its editor printed", str, stream=self.log, content_type="text/plain", query=log_query),
            Route("GET", "/v1/events", "Yours now, then each change; also of your home", NotebookView, stream=self.events, content_type=EVENTS),
        ]

    async def all(self, ask: Ask) -> list[NotebookView]:
        everybody = ask.query.get("all") == "1" and ask.person.admin
        rows = [row for row in self._roster.all() if everybody or row.owner == ask.person.name]
        return await self._showcase.show_all(sorted(rows, key=lambda row: (row.owner, row.name)), ask.person.name)

    async def start(self, ask: Ask) -> object:
        request: StartRequest = ask.body
        row, began = await self._manager.start(ask.person.name, request, lambda profile: may_use(ask.person, profile.groups))
        shown = await self._showcase.show(row)
        return Created(shown) if began else shown

    async def one(self, ask: Ask) -> NotebookView:
        return await self._showcase.show(self._find(ask, Act.SEE), ask.person.name)

    async def stop(self, ask: Ask) -> NotebookView:
        row = self._find(ask, Act.CHANGE)
        by = "user" if row.owner == ask.person.name else "admin"
        return await self._showcase.show(await self._manager.stop(row.id, by), ask.person.name)

    async def delete(self, ask: Ask) -> NotebookView:
        return await self._showcase.show(await self._manager.delete(self._find(ask, Act.CHANGE).id), ask.person.name)

    async def open(self, ask: Ask) -> OpenAnswer:
        row = self._find(ask, Act.ENTER)
        shown = await self._showcase.show(row)
        secret, expires = self._register.give_ticket(ask.person, row.id)
        return OpenAnswer(f"{shown.url}.nbd/enter?ticket={secret}", expires)

    async def runs(self, ask: Ask) -> list[RunView]:
        return [run_view(run) for run in await self._roster.runs(self._find(ask, Act.SEE).id)]

    async def log(self, ask: Ask, stream: Stream) -> None:
        row = self._find(ask, Act.ENTER)
        lines = lines_asked(ask.query.get("lines", "200"))
        if ask.query.get("follow") != "1":
            await stream.send("".join(line + "\n" for line in await self._logs.tail(row.id, lines)))
            return
        async with aclosing(self._logs.follow(row.id, lines, lambda: self._at_rest(row.id))) as following:
            async for line in following:
                await stream.send(line + "\n")

    def _at_rest(self, notebook: str) -> bool:
        """Whether its editor writes no more: it does not run, or is not there any more."""
        row = next((row for row in self._roster.all() if row.id == notebook), None)
        return row is None or row.state not in LIVE

    async def events(self, ask: Ask, stream: Stream) -> None:
        with self._roster.changes.subscribe() as rows, self._showcase.news.changes.subscribe() as homes:
            for shown in await self.all(ask):
                await stream.send(event("notebook", wire.encode(shown)))
            await stream.send(event("synced", "{}"))
            feeds: tuple[AsyncIterator[Change | HomeEvent | None], ...] = (rows, homes)
            both: AsyncGenerator[Change | HomeEvent | None, None] = merged(*feeds)
            async with aclosing(both) as changes:
                async for change in changes:
                    await self._pass_on(ask.person.name, change, stream)

    async def _pass_on(self, person: str, change: Change | HomeEvent | None, stream: Stream) -> None:
        if change is None:
            await stream.send(STILL_HERE)
        elif isinstance(change, HomeEvent):
            if change.person == person:
                await stream.send(event("home", wire.encode(change)))
        elif change.notebook.owner == person:
            await stream.send(await self._change(change))

    async def _change(self, change: Change) -> str:
        if change.gone:
            return event("gone", wire.encode({"id": change.notebook.id}))
        return event("notebook", wire.encode(await self._showcase.show(change.notebook)))

    def _find(self, ask: Ask, act: Act) -> Notebook:
        return found(self._roster, ask, act)


def found(roster: Roster, ask: Ask, act: Act) -> Notebook:
    """The notebook that the person means: by id, by own name, or as owner/name. Raises NotFound also for what is not theirs."""
    asked = ask.args["name"]
    owner, slash, name = asked.rpartition("/")
    row = roster.find(owner if slash else ask.person.name, name) or next((row for row in roster.all() if row.id == asked), None)
    if row is None or not may(ask.person, act, row.owner):
        raise NotFound(f"you have no notebook {asked[:60]!r}", hint="see: nbctl ls")
    return row


def lines_asked(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > MOST_LINES:
        raise InvalidInput(f"lines must be a number up to {MOST_LINES}")
    return int(text)


def event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"
