"""A core for the web door to talk to: its API on a unix socket, answered from tables that a test changes as it goes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from nbd import wire
from nbd.errors import NbdError, NoCapacity, NotFound, NotSignedIn, Unreachable
from nbd.messages import (
    DoorEvent,
    DoorKind,
    GpusView,
    HomeView,
    NotebookView,
    OpenAnswer,
    PersonView,
    Problem,
    ProblemAnswer,
    ProfileView,
    Redeemed,
    RedeemRequest,
    SignIn,
    StartRequest,
)

from .core_home import FakeHome
from .core_idle import FakeIdle

ALIVE_SECONDS = 5.0


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def person(name: str) -> PersonView:
    return PersonView(name, 1000, admin=False, home=f"/home/{name}")


class FakeCore:
    def __init__(self) -> None:
        self.notebooks: dict[str, NotebookView] = {}
        self.sockets: dict[str, str] = {}
        self.uid = os.getuid()
        """As whom the editors listen."""
        self.sign_ins: dict[str, SignIn] = {}
        self.tokens: dict[str, str] = {}
        """Token hash -> token: only a fake can afford to know."""
        self.tickets: dict[str, SignIn] = {}
        self.profiles: list[ProfileView] = []
        self.gpus = GpusView((), simulated=False, reason="this machine has no GPU driver")
        self.home: HomeView | None = None
        self.kept = FakeHome()
        self.idle = FakeIdle()
        self.log = ""
        self.calls: list[str] = []
        self.refusal: NbdError | None = None
        """What the next start is refused with."""
        self.down = False
        """True: every call is answered as a core answers that is going."""
        self.origin = "http://{host}localhost:0"
        self._made = 0
        self.subscribers: set[asyncio.Queue[DoorEvent | None]] = set()

    # what a test does

    def sign_in(self, name: str, notebook: str | None = None, *, seconds: float = 3600) -> str:
        token = self.secret("token")
        self.add(token, SignIn(digest(token), person(name), time.time() + seconds, notebook))
        return token

    def ticket(self, name: str, notebook: str | None = None) -> str:
        ticket = self.secret("ticket")
        self.tickets[ticket] = SignIn("", person(name), time.time() + 3600, notebook)
        return ticket

    def put(self, view: NotebookView, socket: Path | str | None = None) -> NotebookView:
        self.notebooks[view.id] = view
        self.sockets.pop(view.id, None)
        if socket is not None:
            self.sockets[view.id] = str(socket)
        self.tell(self.row(view))
        return view

    def remove(self, id: str) -> None:
        del self.notebooks[id]
        self.tell(DoorEvent(DoorKind.NOTEBOOK_GONE, id))

    def sign_out(self, token: str) -> None:
        del self.sign_ins[digest(token)]
        self.tell(DoorEvent(DoorKind.SIGN_OUT, digest(token)))

    def end_subscriptions(self) -> None:
        for queue in self.subscribers:
            queue.put_nowait(None)

    # what both do

    def add(self, token: str, sign_in: SignIn) -> SignIn:
        self.sign_ins[sign_in.token_sha256] = sign_in
        self.tokens[sign_in.token_sha256] = token
        self.tell(DoorEvent(DoorKind.SIGN_IN, sign_in.token_sha256, sign_in=sign_in))
        return sign_in

    def row(self, view: NotebookView) -> DoorEvent:
        return DoorEvent(DoorKind.NOTEBOOK, view.id, notebook=view, socket=self.sockets.get(view.id), owner_uid=self.uid)

    def tell(self, event: DoorEvent) -> None:
        for queue in self.subscribers:
            queue.put_nowait(event)

    def secret(self, what: str) -> str:
        self._made += 1
        return f"canary-{what}-{self._made:04}-abcdefghijklmnop"

    def new_id(self) -> str:
        self._made += 1
        return f"n{self._made:09}"

    @asynccontextmanager
    async def serve(self, path: Path) -> AsyncIterator[None]:
        api = Api(self)
        app = web.Application(middlewares=[api.errors])
        app.add_routes(
            [
                web.get("/v1/door/events", api.events),
                web.post("/v1/door/redeem", api.redeem),
                web.get("/v1/notebooks/{id}", api.show),
                web.post("/v1/notebooks", api.start),
                web.post("/v1/notebooks/{id}/stop", api.stop),
                web.delete("/v1/notebooks/{id}", api.delete),
                web.post("/v1/notebooks/{id}/open", api.open),
                web.get("/v1/notebooks/{id}/logs", api.logs),
                web.get("/v1/profiles", api.profiles),
                web.get("/v1/gpus", api.gpus),
                web.post("/v1/logout", api.logout),
                *self.kept.routes(api.who, lambda: self.home),
                *self.idle.routes(self, api.mine),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            yield
        finally:
            self.end_subscriptions()
            await runner.cleanup()


class Api:
    """The routes that the web door uses, over a FakeCore's tables."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core

    async def events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        queue: asyncio.Queue[DoorEvent | None] = asyncio.Queue()
        self._core.subscribers.add(queue)
        whole = [DoorEvent(DoorKind.SIGN_IN, key, sign_in=sign_in) for key, sign_in in self._core.sign_ins.items()]
        whole += [self._core.row(view) for view in self._core.notebooks.values()]
        try:
            for event in (*whole, DoorEvent(DoorKind.SYNCED)):
                await answer.write(f"data: {wire.encode(event)}\n\n".encode())
            while (piece := await self._next(queue)) is not None:
                await answer.write(piece)
        finally:
            self._core.subscribers.discard(queue)
        return answer

    async def _next(self, queue: asyncio.Queue[DoorEvent | None]) -> bytes | None:
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                event = await queue.get()
        except TimeoutError:
            return b": alive\n\n"
        return None if event is None else f"data: {wire.encode(event)}\n\n".encode()

    async def redeem(self, request: web.Request) -> web.Response:
        ticket = wire.decode(RedeemRequest, await request.read(), strict=True).ticket
        self._core.calls.append("redeem")
        sign_in = self._core.tickets.pop(ticket, None)
        if sign_in is None:
            raise NotSignedIn("this link was used already, or is too old", hint="ask for a new one: nbctl login")
        token = self._core.secret("token")
        return said(Redeemed(token, self._core.add(token, replace(sign_in, token_sha256=digest(token)))))

    async def show(self, request: web.Request) -> web.Response:
        return said(self.mine(request))

    async def start(self, request: web.Request) -> web.Response:
        who = self.who(request)
        asked = wire.decode(StartRequest, await request.read(), strict=True)
        self._core.calls.append(f"start {who}/{asked.name} {asked.profile} {asked.gpus} {asked.wait}{' as it is' * asked.empty_home}")
        if self._core.refusal is not None:
            refusal, self._core.refusal = self._core.refusal, None
            raise refusal
        known = next((view for view in self._core.notebooks.values() if (view.owner, view.name) == (who, asked.name)), None)
        view = known or notebook(self._core.new_id(), who, asked.name)
        return said(self._core.put(replace(view, state="STARTING", sentence="is starting")))

    async def stop(self, request: web.Request) -> web.Response:
        view = self.mine(request)
        self._core.calls.append(f"stop {view.name}")
        return said(self._core.put(replace(view, state="STOPPED", sentence="was stopped by you")))

    async def delete(self, request: web.Request) -> web.Response:
        view = self.mine(request)
        self._core.calls.append(f"delete {view.name}")
        self._core.remove(view.id)
        return web.Response(status=204)

    async def open(self, request: web.Request) -> web.Response:
        view = self.mine(request)
        origin = self._core.origin.format(host=f"{view.id}.")
        return said(OpenAnswer(f"{origin}/.nbd/enter?ticket={self._core.ticket(view.owner, view.id)}", time.time() + 60))

    async def logs(self, request: web.Request) -> web.Response:
        self.mine(request)
        return web.Response(text=self._core.log)

    async def profiles(self, request: web.Request) -> web.Response:
        self.who(request)
        return said(tuple(self._core.profiles))

    async def gpus(self, request: web.Request) -> web.Response:
        self.who(request)
        return said(self._core.gpus)

    async def logout(self, request: web.Request) -> web.Response:
        who = self.who(request)
        self._core.calls.append(f"logout {who}")
        for key, sign_in in list(self._core.sign_ins.items()):
            if sign_in.person.name == who:
                self._core.sign_out(self._core.tokens[key])
        return web.Response(status=204)

    def mine(self, request: web.Request) -> NotebookView:
        view = self._core.notebooks.get(request.match_info["id"])
        if view is None or view.owner != self.who(request):
            raise NotFound("there is no such notebook")
        return view

    def who(self, request: web.Request) -> str:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        sign_in = self._core.sign_ins.get(digest(token))
        if sign_in is None or sign_in.notebook is not None:
            raise NotSignedIn("not signed in, or no longer", hint="sign in again: nbctl login")
        return sign_in.person.name

    @web.middleware
    async def errors(self, request: web.Request, handler: object) -> web.StreamResponse:
        try:
            if self._core.down:
                raise Unreachable("core stops")
            return await handler(request)  # type: ignore[operator,no-any-return]
        except NbdError as error:
            return said(ProblemAnswer(Problem(error.code, error.message, error.hint, error.retryable)), error.status)


def said(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, text=wire.encode(value), content_type="application/json")


def notebook(id: str, owner: str, name: str, state: str = "RUNNING") -> NotebookView:
    return NotebookView(
        id, name, owner, state, profile="cpu-small", editor="jupyterlab", url=f"http://{id}.localhost/", sentence="is running", hint="", created=0
    )


def no_capacity() -> NbdError:
    return NoCapacity("0 of 2 cards fit now, 1 asked for", hint="stop another notebook, or wait in line", retryable=True)
