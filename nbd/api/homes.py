"""Routes of a person's home: how it is kept, what is kept, and getting it back. Core asks sync; whose home it is, is the kernel's word."""

from __future__ import annotations

import asyncio
import posixpath
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

from .. import wire
from ..errors import Conflict, InvalidInput
from ..homes.model import HomeRequest
from ..homes.wishes import CompareWish, LookWish
from ..messages import (
    DifferenceView,
    EntryView,
    HomeView,
    LossView,
    RestoreRequest,
    RestoreView,
    SnapshotView,
    TextView,
    UsageView,
    VerifyView,
    VersionView,
)
from ..notebooks.model import Occupant
from ..people.model import Person
from .routes import Ask, Route, Stream

NDJSON = "application/x-ndjson"
VERIFY_SECONDS = 24 * 3600.0
AT_ONCE = 4
"""Restores, of all people. Each is a process, and room for what is on its way."""
TOLD_SECONDS = 5.0
"""So often who waits for others' restores hears it again."""


class Sync(Protocol):
    async def ask(self, path: str, body: object, seconds: float = 30.0) -> Any: ...

    async def confirm(self, home: HomeRequest) -> HomeView: ...

    def restore(self, who: Occupant, asked: RestoreRequest, to: str) -> AsyncGenerator[RestoreView, None]: ...


class HomeRoutes:
    def __init__(self, sync: Sync) -> None:
        self._sync = sync
        self._restoring = Line(AT_ONCE)

    def routes(self) -> list[Route]:
        look = {"snapshot": "the beginning of its id; latest: the newest", "path": "a folder in the home"}
        file, path = look | {"path": "a file in the home"}, {"path": "a file or folder in the home"}
        pair = {"a": "a snapshot", "b": "another; else the newest"}
        return [
            Route("GET", "/v1/home", "How your home is kept", HomeView, self.status),
            Route("GET", "/v1/home/snapshots", "Its snapshots, newest first", tuple[SnapshotView, ...], self.snapshots),
            Route("GET", "/v1/home/ls", "What is in a folder of a snapshot", tuple[EntryView, ...], self.entries, query=look),
            Route("GET", "/v1/home/text", "The text of a file of a snapshot", TextView, self.text, query=file),
            Route("GET", "/v1/home/versions", "The states that a path had, newest first", tuple[VersionView, ...], self.versions, query=path),
            Route("GET", "/v1/home/usage", "What takes the room, and what of it is kept", UsageView, self.usage),
            Route("GET", "/v1/home/losses", "What a confirmation would let go of", LossView, self.losses),
            Route("GET", "/v1/home/diff", "What differs between two snapshots", tuple[DifferenceView, ...], self.differences, query=pair),
            Route("POST", "/v1/home/restore", "Get something back", RestoreView, stream=self.restore, content_type=NDJSON, body=RestoreRequest),
            Route("POST", "/v1/home/verify", "Read all that is kept, and prove it", VerifyView, self.verify),
            Route("POST", "/v1/home/confirm", "What is gone from the home may go from its snapshots to come", HomeView, self.confirm),
        ]

    async def status(self, ask: Ask) -> HomeView:
        return wire.load(HomeView, await self._sync.ask("status", home(ask.person)))

    async def snapshots(self, ask: Ask) -> list[SnapshotView]:
        return [wire.load(SnapshotView, one) for one in await self._sync.ask("snapshots", home(ask.person))]

    async def entries(self, ask: Ask) -> list[EntryView]:
        wish = LookWish(home(ask.person), ask.query.get("snapshot", "latest"), inside(ask.person.home, ask.query.get("path", "")))
        return [wire.load(EntryView, one) for one in await self._sync.ask("ls", wish)]

    async def text(self, ask: Ask) -> TextView:
        wish = LookWish(home(ask.person), ask.query.get("snapshot", "latest"), inside(ask.person.home, ask.query.get("path", "")))
        return wire.load(TextView, await self._sync.ask("text", wish))

    async def versions(self, ask: Ask) -> list[VersionView]:
        wish = LookWish(home(ask.person), "", inside(ask.person.home, ask.query.get("path", "")))
        return [wire.load(VersionView, one) for one in await self._sync.ask("versions", wish)]

    async def usage(self, ask: Ask) -> UsageView:
        return wire.load(UsageView, await self._sync.ask("usage", home(ask.person)))

    async def losses(self, ask: Ask) -> LossView:
        return wire.load(LossView, await self._sync.ask("losses", home(ask.person)))

    async def differences(self, ask: Ask) -> list[DifferenceView]:
        wish = CompareWish(home(ask.person), ask.query.get("a", ""), ask.query.get("b", "latest"))
        return [wire.load(DifferenceView, one) for one in await self._sync.ask("diff", wish)]

    async def verify(self, ask: Ask) -> VerifyView:
        return wire.load(VerifyView, await self._sync.ask("verify", home(ask.person), VERIFY_SECONDS))

    async def confirm(self, ask: Ask) -> HomeView:
        return await self._sync.confirm(home(ask.person))

    async def restore(self, ask: Ask, stream: Stream) -> None:
        person, asked = ask.person, ask.body
        to = target(person, asked)
        wish = RestoreRequest(inside(person.home, asked.path), asked.snapshot, asked.at, to if asked.to and is_inside(person.home, to) else "")
        who = Occupant(person.name, person.uid, person.gid, person.home)

        async def tell(step: RestoreView) -> None:
            await stream.send(wire.encode(step) + "\n")

        async def waits(others: int) -> None:
            await tell(RestoreView(done=False, to=to, snapshot=SnapshotView("", 0.0, ""), waiting=others))

        async with self._restoring.turn(person.uid, waits), aclosing(self._sync.restore(who, wish, to)) as steps:
            async for step in steps:
                await tell(step)


class Line:
    """One restore a person, and a few at once; the others wait, in the order in which they came."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._all: list[int] = []
        self._moved = asyncio.Event()

    @asynccontextmanager
    async def turn(self, uid: int, tell: Callable[[int], Awaitable[None]]) -> AsyncGenerator[None]:
        """`tell` hears now and then how many have to end first. Raises Conflict for a person's second, and what `tell` raises."""
        if uid in self._all:
            raise Conflict("a restore of yours is under way already", hint="wait for that to end, or stop it", code="restoring")
        self._all.append(uid)
        try:
            while (others := self._all.index(uid) + 1 - self._at_once) > 0:
                moved = self._moved
                await tell(others)
                await happened(moved)
            yield
        finally:
            self._all.remove(uid)
            self._moved.set()
            self._moved = asyncio.Event()


async def happened(event: asyncio.Event) -> None:
    """Or enough time went by to say so again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(TOLD_SECONDS):
            await event.wait()


def home(person: Person) -> HomeRequest:
    return HomeRequest(person.name, person.uid, posixpath.normpath(person.home))


def target(person: Person, asked: RestoreRequest) -> str:
    """A new folder in the home, unless the person named one. Raises InvalidInput."""
    if not asked.to:
        return posixpath.join(person.home, time.strftime("restored-%Y-%m-%d-%H%M%S"))
    if not asked.to.startswith("/") or "\0" in asked.to:
        raise InvalidInput(f"{asked.to[:60]!r} is not an absolute path")
    return posixpath.normpath(asked.to)


def is_inside(home: str, path: str) -> bool:
    """A glance, for what is to be saved first; the kernel decides what may be written."""
    home, path = (posixpath.normpath(one) + "/" for one in (home, path))
    return path.startswith(home)


def inside(home: str, path: str) -> str:
    """A path as it is below the home, empty for the home itself. Raises InvalidInput for what is elsewhere."""
    if "\0" in path:
        raise InvalidInput("a path has no zero byte in it")
    asked = posixpath.normpath(posixpath.join(home, re.sub(r"^~(?=/|$)", ".", path)))
    below = posixpath.relpath(asked, posixpath.normpath(home))
    if below == ".." or below.startswith("../"):
        raise InvalidInput(f"{path[:200]!r} is not in your home {home}", hint="name it as it is in the home: work/paper.ipynb")
    return "" if below == "." else below
