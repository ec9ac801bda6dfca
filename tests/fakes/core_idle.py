"""The idle part of a fake core: what it answers is a value that a test sets; what it was told and asked is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aiohttp import web

from nbd import wire
from nbd.errors import NbdError, NotSignedIn
from nbd.idlemessages import (
    FromInside,
    Heard,
    HistoryView,
    IdleSettings,
    KeepRequest,
    NotebookTraffic,
    TrafficReport,
    WhyView,
)
from nbd.messages import NotebookView

if TYPE_CHECKING:
    from .core_api import FakeCore

RESTS = {"park": "PARKED", "unpark": "RUNNING", "freeze": "FROZEN", "thaw": "RUNNING"}


@dataclass
class FakeIdle:
    reports: list[TrafficReport] = field(default_factory=list)
    kept: list[tuple[str, float]] = field(default_factory=list)
    """Notebook's name and for how long; 0 for the end."""
    woken: list[str] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    """ "park fold"."""
    settings: list[IdleSettings] = field(default_factory=list)
    why: WhyView | None = None
    history: HistoryView | NbdError = field(default_factory=lambda: HistoryView(0.0, 1.0))
    trouble: NbdError | None = None
    """What a keep, a setting or a wake is refused with."""

    def of(self, notebook: str) -> NotebookTraffic:
        """What was last told of one."""
        rows = self.reports[-1].notebooks if self.reports else ()
        return next((row for row in rows if row.notebook == notebook), NotebookTraffic(notebook))

    def routes(self, core: FakeCore, mine: Callable[[web.Request], NotebookView]) -> list[web.RouteDef]:
        api = IdleApi(self, core, mine)
        return [
            web.post("/v1/door/traffic", api.traffic),
            web.post("/v1/door/keep", api.keep_inside),
            web.post("/v1/door/woken", api.wake),
            web.get("/v1/notebooks/{id}/why", api.why),
            web.get("/v1/notebooks/{id}/idle/history", api.history),
            web.post("/v1/notebooks/{id}/keep", api.keep),
            web.delete("/v1/notebooks/{id}/keep", api.keep),
            web.route("PATCH", "/v1/notebooks/{id}/idle", api.set),
            web.post("/v1/notebooks/{id}/{verb:park|unpark|freeze|thaw}", api.rest),
        ]


class IdleApi:
    def __init__(self, idle: FakeIdle, core: FakeCore, mine: Callable[[web.Request], NotebookView]) -> None:
        self._idle, self._core, self._mine = idle, core, mine

    async def traffic(self, request: web.Request) -> web.Response:
        report = wire.decode(TrafficReport, await request.read(), strict=True)
        self._idle.reports.append(report)
        return said(Heard(len(report.notebooks)))

    async def keep_inside(self, request: web.Request) -> web.Response:
        view, asked = await self._inside(request)
        assert asked.seconds is not None
        self._idle.kept.append((view.name, asked.seconds))
        return said(self._core.put(replace(view, notice=None), self._core.sockets.get(view.id)))

    async def wake(self, request: web.Request) -> web.Response:
        view, _ = await self._inside(request)
        self._idle.woken.append(view.name)
        return said(view)

    async def why(self, request: web.Request) -> web.Response:
        view = self._mine(request)
        return said(self._idle.why or WhyView(view.id, view.name, view.owner, view.state, 0.0, "RUNNING · active", "active"))

    async def history(self, request: web.Request) -> web.Response:
        self._mine(request)
        if isinstance(self._idle.history, NbdError):
            raise self._idle.history
        return said(self._idle.history)

    async def keep(self, request: web.Request) -> web.Response:
        view = self._mine(request)
        self._refuse()
        asked = wire.decode(KeepRequest, await request.read(), strict=True) if request.method == "POST" else KeepRequest(0.0)
        self._idle.kept.append((view.name, asked.seconds))
        return await self.why(request)

    async def set(self, request: web.Request) -> web.Response:
        self._mine(request)
        self._refuse()
        self._idle.settings.append(wire.decode(IdleSettings, await request.read(), strict=True))
        return await self.why(request)

    async def rest(self, request: web.Request) -> web.Response:
        view, verb = self._mine(request), request.match_info["verb"]
        self._refuse()
        self._idle.verbs.append(f"{verb} {view.name}")
        return said(self._core.put(replace(view, state=RESTS[verb]), self._core.sockets.get(view.id)))

    async def _inside(self, request: web.Request) -> tuple[NotebookView, FromInside]:
        """As core does: the token is the word on which notebook and whose."""
        asked = wire.decode(FromInside, await request.read(), strict=True)
        sign_in = next((one for key, one in self._core.sign_ins.items() if self._core.tokens[key] == asked.token), None)
        if sign_in is None or sign_in.notebook is None:
            raise NotSignedIn("not signed in here, or no longer")
        self._refuse()
        return self._core.notebooks[sign_in.notebook], asked

    def _refuse(self) -> None:
        if self._idle.trouble:
            raise self._idle.trouble


def said(value: object) -> web.Response:
    return web.Response(text=wire.encode(value), content_type="application/json")
