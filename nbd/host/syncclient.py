"""Core's line to the sync program: its sockets, one question at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket as sockets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar

from .. import wire
from ..errors import KINDS, HostUnfit, InvalidInput, NbdError, NotFound, Unreachable
from ..homemessages import HomesBrief
from ..homes.model import HomeReady, HomeRequest
from ..homes.wishes import EventsOffer, FlushWish, InUse, ReadyWish, RestoreWish
from ..messages import HomeView, ProblemAnswer, RestoreRequest, RestoreView
from ..notebooks.model import Occupant
from . import restorestart, unixhttp
from .eventgroup import EventGroup

T = TypeVar("T")
log = logging.getLogger(__name__)
SECONDS = 30.0
RESTART_SECONDS, RETRY_SECONDS = 5.0, 0.1
HEALTH_SECONDS = 2.0
MOST_BYTES = 64 << 20
READY_SECONDS = 60.0
BRING_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
NOT_BACK = "home_not_back"
UNFIT = frozenset({"home_unfit", NOT_BACK})
ASKED_WRONG: dict[str, type[NbdError]] = {"not_found": NotFound, "ambiguous": InvalidInput}
"""Of a restore; the rest of what ends one is trouble."""


class SyncHomes:
    def __init__(self, socket: Path, restore_socket: Path, events: EventGroup | None = None) -> None:
        self._socket, self._restore_socket = str(socket), str(restore_socket)
        self._events = events

    async def health(self) -> str:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                # Any answer will do: there is no such path.
                await unixhttp.ask(self._socket, "GET", "/")
        except (OSError, TimeoutError, Unreachable) as error:
            return f"the sync program does not answer: {error or 'too late'}"
        return "ok"

    async def _ask_patiently(self, path: str, body: bytes) -> unixhttp.Answer:
        """Sync may be started again just now (it died, it is upgraded): nobody's start fails for the second that this takes."""
        until = asyncio.get_running_loop().time() + RESTART_SECONDS
        while True:
            try:
                return await unixhttp.ask(self._socket, "POST", path, body, MOST_BYTES)
            except OSError:
                if asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def ready(self, who: Occupant, tell: Callable[[RestoreView], None], *, in_use: bool) -> None:
        """A sync, or a child, that is killed in the middle is no failure: what is left to do is gone on with, a few times."""
        for pause in BRING_PAUSES:
            answer = wire.load(HomeReady, await self.ask("ready", ReadyWish(home_of(who), in_use), READY_SECONDS))
            if not answer.bring:
                return
            log.info("the home %s is brought to its newest snapshot: %s", who.home, answer.bring)
            try:
                await self._bring(who, tell)
            except Unreachable as error:
                if error.code == NOT_BACK:
                    raise
                log.warning("bringing the home %s was broken off, and goes on: %s", who.home, error)
                await asyncio.sleep(pause)
        message = "what its snapshots have could not be brought here: it was broken off again and again"
        raise HostUnfit(message, code=NOT_BACK, hint="nbd's messages say more", retryable=True)

    async def _bring(self, who: Occupant, tell: Callable[[RestoreView], None]) -> None:
        async with aclosing(self._stream(RestoreWish(home_of(who), RestoreRequest(), who.home, bring=True), who)) as steps:
            async for step in steps:
                tell(step)

    async def accept(self, who: Occupant) -> None:
        await self.ask("accept", home_of(who))

    async def watch(self, used: Sequence[Occupant]) -> None:
        homes = tuple(home_of(who) for who in used)
        offer = await self._events.offer(homes) if self._events else EventsOffer()
        held = await self.ask("watch", InUse(homes, offer))
        if self._events and offer.group not in ("", held.get("group")):
            await self._events.hand_over()

    async def briefs(self) -> HomesBrief:
        return wire.load(HomesBrief, await self.ask("briefs", {}))

    async def status(self, who: Occupant) -> HomeView:
        return wire.load(HomeView, await self.ask("status", home_of(who)))

    async def flush(self, who: Occupant, event: str, name: str) -> None:
        await self.ask("flush", FlushWish(home_of(who), event, name))

    async def confirm(self, home: HomeRequest) -> HomeView:
        return wire.load(HomeView, await self.ask("flush", FlushWish(home, "confirm", confirmed=True)))

    async def ask(self, path: str, body: object, seconds: float = SECONDS) -> Any:
        """The decoded answer. Raises what sync raised, Unreachable when it does not answer."""
        request = wire.encode(body).encode()
        try:
            async with asyncio.timeout(seconds):
                answer = await self._ask_patiently(f"/v1/homes/{path}", request)
        except (OSError, TimeoutError) as error:
            hint = "look at it: systemctl status nbd-sync, or the terminal of nbd dev"
            raise Unreachable(f"the sync program does not answer: {error or 'too late'}", hint=hint) from None
        if answer.status == 200:
            try:
                return json.loads(answer.body)
            except ValueError:
                raise Unreachable("the sync program broke off in the middle of its answer", hint="ask again", code="broken_off") from None
        problem = wire.decode(ProblemAnswer, answer.body).error
        kind = HostUnfit if problem.code in UNFIT else KINDS.get(answer.status, NbdError)
        raise kind(problem.message, hint=problem.hint, code=problem.code, retryable=problem.retryable)

    async def restore(self, who: Occupant, asked: RestoreRequest, to: str) -> AsyncGenerator[RestoreView, None]:
        """How far it is, then the end. The child that writes is the person, and ends with the iterator."""
        async with aclosing(self._stream(RestoreWish(home_of(who), asked, to), who)) as steps:
            async for step in steps:
                yield step

    async def _stream(self, wish: RestoreWish, who: Occupant) -> AsyncGenerator[RestoreView, None]:
        connection = await self.connected(wish)
        try:
            child = await restorestart.start(who, wish.to, connection)
        finally:
            connection.close()
        try:
            while line := await restorestart.next_line(child):
                view = said(line)
                yield view
                if view.done:
                    return
            raise Unreachable("the restore was broken off", code="broken_off", hint="nothing half-written has its name; restore again")
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def connected(self, wish: object) -> sockets.socket:
        """A connection on which sync knows what is wanted, and that is good for nothing else any more."""
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await loop.sock_connect(connection, self._restore_socket)
                await loop.sock_sendall(connection, wire.encode(wish).encode() + b"\n")
        except (OSError, TimeoutError) as error:
            connection.close()
            raise Unreachable(f"the sync program does not answer: {error or 'too late'}", hint="look at it: systemctl status nbd-sync") from None
        return connection


def said(line: bytes) -> RestoreView:
    """One line of the child. Raises what it tells of."""
    with suppress(NbdError):
        return wire.decode(RestoreView, line)
    problem = wire.decode(ProblemAnswer, line).error
    kind = Unreachable if problem.retryable else ASKED_WRONG.get(problem.code, NotDone)
    raise kind(problem.message, hint=problem.hint, code=problem.code)


class NotDone(NbdError):
    """A restore that did not take place; `code` says why."""

    status, default_code = 409, "not_restored"


def home_of(who: Occupant) -> HomeRequest:
    return HomeRequest(who.name, who.uid, os.path.abspath(who.home))  # noqa: PTH100 - text, not a look at the disk
