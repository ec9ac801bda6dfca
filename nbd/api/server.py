"""Core's door: HTTP over a unix socket. Says who asks, calls the route, turns values and errors into messages; knows nothing else.

Identity is SO_PEERCRED, which the kernel filled in when the peer connected (api/guests.py): no header can change it. The one exception is the web
program: it may hand on a browser's token, which core made and core looks up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from .. import wire
from ..errors import MESSAGES, InvalidInput, NbdError, NotFound, Refused, StateUnusable
from ..messages import Problem, ProblemAnswer
from ..people.model import Person
from .guests import Gate, Guests, Room
from .routes import Ask, Created, Route, Who

log = logging.getLogger(__name__)
BODY_BYTES = 64 << 10
SHUTDOWN_SECONDS = 2.0
QUEUE = 128
"""Who connects while core is busy waits here; so many are let in, or turned away, at once."""


class Identify(Protocol):
    async def __call__(self, uid: int, token: str | None, who: Who) -> Person:
        """The person behind a request. Raises NotSignedIn, Refused."""


class Server:
    def __init__(self, routes: Sequence[Route], identify: Identify, room: Room = Room()) -> None:  # noqa: B008 - an immutable value
        self._identify = identify
        self._guests = Guests(room)
        self._listening: asyncio.Server | None = None
        self._app = web.Application(client_max_size=BODY_BYTES, middlewares=[self._translate])
        for route in routes:
            self._app.router.add_route(route.method, route.path, self._endpoint(route))
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)

    async def listen(self, sock: socket.socket) -> None:
        await self._runner.setup()
        serve = self._runner.server
        assert serve is not None
        self._listening = await asyncio.get_running_loop().create_server(lambda: Gate(self._guests, serve), sock=sock, backlog=QUEUE)

    async def close(self) -> None:
        """Answer no more; what is under way has SHUTDOWN_SECONDS."""
        if self._listening:
            self._listening.close()
        await self._runner.cleanup()

    def _endpoint(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            ask = await self._ask(request, route)
            if route.stream is not None:
                return await self._streamed(request, route, ask)
            assert route.handler is not None
            value = await route.handler(ask)
            if isinstance(value, dict):
                return web.json_response(value)
            status, value = (201, value.value) if isinstance(value, Created) else (200, value)
            return web.Response(text=wire.encode(value), status=status, content_type="application/json")

        return endpoint

    async def _ask(self, request: web.Request, route: Route) -> Ask:
        words = request.headers.get("Authorization", "").split(" ")
        token = words[1] if len(words) == 2 and words[0] == "Bearer" else None
        person = await self._identify(self._uid(request), token, route.who)
        body = None
        if route.body is not None:
            body = wire.decode(route.body, await request.read() or b"{}", strict=True)
        # Not aiohttp's: a path in a query may be no UTF-8.
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape"))
        for key in query:
            if key not in route.query:
                raise InvalidInput(f"unknown parameter {key[:60]!r}", hint="known: " + ", ".join(route.query))
        return Ask(person, dict(request.match_info), query, body, token)

    def _uid(self, request: web.Request) -> int:
        """Raises Refused when there is no such peer: no identity, no answer."""
        peer = self._guests.peer(request.protocol)
        if peer is None:
            raise Refused("no identity")
        if peer.foreign_root:
            # Root of a container's own user namespace would be a stranger's number; root of a rootful container without one shows as our
            # root, and is kept out by the socket never being mounted into a container.
            raise Refused("root of another user namespace is nobody here")
        return peer.uid

    async def _streamed(self, request: web.Request, route: Route, ask: Ask) -> web.StreamResponse:
        assert route.stream is not None
        stream = LazyStream(request, route.content_type)
        try:
            await route.stream(ask, stream)
        except NbdError as error:
            if stream.response is None:
                raise
            # The head is out with status 200: the error is the stream's last line.
            await stream.send(wire.encode(problem(error)) + "\n")
        except ConnectionError:
            log.debug("a reader of %s went away", route.path)
        return await stream.begun()

    @web.middleware
    async def _translate(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        try:
            return await handler(request)
        except NbdError as error:
            return answer_problem(error)
        except web.HTTPException as error:
            kind = NotFound if error.status in (404, 405) else InvalidInput
            return answer_problem(kind(f"{request.method} {request.path}: {error.reason}", hint="see: /v1/openapi.json"))
        except asyncio.CancelledError:
            raise
        except Exception:  # the last door: the person gets a sentence, the journal the traceback
            log.exception("%s %s met a defect", request.method, request.path)
            return answer_problem(NbdError("nbd met an unexpected error", hint=f"please report it with {MESSAGES}"))


class LazyStream:
    """Sends the head with the first piece, so that an error before it still gets its own status."""

    def __init__(self, request: web.Request, content_type: str) -> None:
        self._request = request
        self._content_type = content_type
        self.response: web.StreamResponse | None = None

    async def begun(self) -> web.StreamResponse:
        if self.response is None:
            headers = {"Content-Type": f"{self._content_type}; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            response = web.StreamResponse(headers=headers)
            await response.prepare(self._request)
            self.response = response
        return self.response

    async def send(self, text: str) -> None:
        await (await self.begun()).write(text.encode())


def problem(error: NbdError) -> ProblemAnswer:
    return ProblemAnswer(Problem(error.code, error.message, error.hint, error.retryable))


def answer_problem(error: NbdError) -> web.Response:
    return web.Response(text=wire.encode(problem(error)), status=error.status, content_type="application/json")


def listening_socket(path: Path, group: int | None, mode: int) -> socket.socket:
    """A listening unix socket with its owner and mode right from the first moment. Raises StateUnusable when `path` is something else."""
    if os.path.lexists(path):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StateUnusable(f"{path} is in the way and is not a socket", hint=f"look at it: ls -l {path}")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(mode)
    sock.listen(QUEUE)
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return sock
