"""The pages on their own origin: see, start, open, stop and delete notebooks. Core decides and says why; these only show it and pass it on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web

from ..errors import InvalidInput, NbdError, NotFound
from ..messages import CardView, GpusView, HomeView, NotebookView, OpenAnswer, ProfileView, StartRequest
from . import homewords
from .cookies import expired_cookie
from .corelink import CoreLink
from .enter import Entrance
from .live import Live
from .origins import Origins
from .render import Renderer
from .table import DoorTable
from .visit import Policy, Route, Visit
from .words import waterfall

LOG_LINES = 2000
KEPT_SECONDS = 1.0
NAME_RULE = "1 to 40 of a to z, 0 to 9 and . _ - ; the first and the last a letter or a digit"
ORDER = ("STARTING", "RUNNING", "PARKED", "FROZEN", "STOPPING", "FAILED", "ERROR", "STOPPED", "DELETING")


class Pages:
    def __init__(self, origins: Origins, table: DoorTable, core: CoreLink, render: Renderer) -> None:
        self._origins = origins
        self._table = table
        self._core = core
        self._render = render

    def routes(self, entrance: Entrance, live: Live) -> list[Route]:
        return [
            Route("GET", "/enter", Policy.PUBLIC, entrance.link),
            Route("POST", "/enter", Policy.PUBLIC, entrance.confirmed),
            Route("GET", "/static/{id}", Policy.PUBLIC, self.static),
            Route("GET", "/", Policy.SIGNED_IN, self.home),
            Route("GET", "/events", Policy.SIGNED_IN, live.events),
            Route("GET", "/new", Policy.SIGNED_IN, self.new),
            Route("GET", "/notebooks/{id}", Policy.SIGNED_IN, self.notebook),
            Route("GET", "/notebooks/{id}/log", Policy.SIGNED_IN, self.log),
            Route("GET", "/notebooks/{id}/delete", Policy.SIGNED_IN, self.ask_delete),
            Route("POST", "/notebooks", Policy.FORM, self.create),
            Route("POST", "/notebooks/{id}/start", Policy.FORM, self.start),
            Route("POST", "/notebooks/{id}/stop", Policy.FORM, self.stop),
            Route("POST", "/notebooks/{id}/delete", Policy.FORM, self.delete),
            Route("POST", "/notebooks/{id}/open", Policy.FORM, self.open),
            Route("POST", "/logout", Policy.FORM, self.logout),
        ]

    def notebook_routes(self, entrance: Entrance, live: Live) -> list[Route]:
        """What the door answers on a notebook's own origin, beside notices. Nothing here may change anything: it is the person's code's, too."""
        return [
            Route("GET", "/.nbd/enter", Policy.PUBLIC, entrance.link),
            Route("POST", "/.nbd/enter", Policy.PUBLIC, entrance.confirmed),
            Route("GET", "/.nbd/static/{id}", Policy.PUBLIC, self.static),
            Route("GET", "/.nbd/", Policy.SIGNED_IN, self.away),
            Route("GET", "/.nbd/events", Policy.SIGNED_IN, live.events),
        ]

    async def static(self, visit: Visit, name: str) -> web.StreamResponse:
        return self._render.file(name)

    async def home(self, visit: Visit, _: str) -> web.StreamResponse:
        mine = sorted(self._table.mine(visit.person), key=lambda view: (ORDER.index(view.state) if view.state in ORDER else 0, view.name))
        return self._render.page(visit, "home.html", notebooks=mine, **await self._kept(visit), **await self._box(visit))

    async def new(self, visit: Visit, _: str) -> web.StreamResponse:
        return await self._new(visit, StartRequest(name=free_name(self._table.mine(visit.person))))

    async def _new(self, visit: Visit, asked: StartRequest, error: NbdError | None = None) -> web.StreamResponse:
        profiles = await self._core.get_list(ProfileView, "/v1/profiles", visit.token)
        chosen = asked.profile or next((profile.name for profile in profiles if profile.available), None)
        status = error.status if error else 200
        box = await self._box(visit)
        form: dict[str, Any] = {"profiles": profiles, "chosen": chosen, "asked": asked, "most": most(box["gpus"].cards), "name_rule": NAME_RULE}
        return self._render.page(visit, "new.html", status=status, error=error, **form, **box)

    async def create(self, visit: Visit, _: str) -> web.StreamResponse:
        form = visit.form
        profile = form.get("profile") or None
        # Each profile's card has a field of its own; what stands in the others was not meant.
        asked = StartRequest(form.get("name", "").strip(), profile, gpus=whole(form.get(f"gpus.{profile}", "")), wait="wait" in form)
        try:
            view = await self._core.post(NotebookView, "/v1/notebooks", visit.token, asked)
        except NbdError as error:
            return await self._new(visit, asked, error)
        return self._render.redirect(f"/notebooks/{view.id}?then=open")

    async def notebook(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self.mine(visit, id)
        auto_open = visit.query("then") == "open"
        return self._render.page(visit, "notebook.html", notebook=view, waterfall=waterfall(view.phases), auto_open=auto_open)

    async def log(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self.mine(visit, id)
        text = await self._core.text(f"/v1/notebooks/{view.id}/logs", visit.token)
        return self._render.page(visit, "log.html", notebook=view, lines=text.splitlines()[-LOG_LINES:])

    async def start(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self.mine(visit, id)
        asked = StartRequest(view.name, view.profile, wait=True, empty_home="empty_home" in visit.form)
        started = await self._core.post(NotebookView, "/v1/notebooks", visit.token, asked)
        return self._render.redirect(f"/notebooks/{started.id}?then=open")

    async def stop(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self.mine(visit, id)
        await self._core.do("POST", f"/v1/notebooks/{view.id}/stop", visit.token)
        return self._render.redirect("/")

    async def ask_delete(self, visit: Visit, id: str) -> web.StreamResponse:
        return self._render.page(visit, "delete.html", notebook=await self.mine(visit, id))

    async def delete(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self.mine(visit, id)
        await self._core.do("DELETE", f"/v1/notebooks/{view.id}", visit.token)
        return self._render.redirect("/")

    async def open(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self.mine(visit, id)
        answer = await self._core.post(OpenAnswer, f"/v1/notebooks/{view.id}/open", visit.token)
        if not answer.url.startswith(self._origins.notebook(view.id) + "/"):
            raise NbdError("core gave a link to another address", hint="do core and the web door have the same [web] settings?")
        return self._render.redirect(answer.url)

    async def logout(self, visit: Visit, _: str) -> web.StreamResponse:
        await self._core.do("POST", "/v1/logout", visit.token)
        answer = self._render.page(None, "goodbye.html")
        answer.headers["Set-Cookie"] = expired_cookie(self._origins.scheme)
        answer.headers["Clear-Site-Data"] = '"cache", "storage"'
        return answer

    async def away(self, visit: Visit, _: str) -> web.StreamResponse:
        row = visit.decision.row
        if row is None:
            raise NotFound("there is no such notebook")
        return self._render.page(visit, "away.html", notebook=row.view, ready=row.place is not None, trouble=None)

    async def mine(self, visit: Visit, id: str) -> NotebookView:
        """Core is asked where the table does not know: it may be a moment behind. Raises NotFound also for what is another's."""
        row = self._table.notebooks.get(id)
        if row is not None and row.view.owner == visit.person:
            return row.view
        view = await self._core.get(NotebookView, f"/v1/notebooks/{id}", visit.token)
        if view.owner != visit.person:
            raise NotFound("there is no such notebook")
        return view

    async def _kept(self, visit: Visit) -> dict[str, Any]:
        """How the person's home is kept; nothing where that cannot be said at once: the page does not wait for a store."""
        view: HomeView | None = None
        with suppress(NbdError, TimeoutError):
            async with asyncio.timeout(KEPT_SECONDS):
                view = await self._core.get(HomeView, "/v1/home", visit.token)
        return {"kept": view, "w": homewords, "moment": time.time()}

    async def _box(self, visit: Visit) -> dict[str, Any]:
        """The GPUs of this box. Where they cannot be asked, the page says so and shows the rest."""
        try:
            return {"gpus": await self._core.get(GpusView, "/v1/gpus", visit.token)}
        except NbdError as error:
            return {"gpus": GpusView((), simulated=False, reason=error.message)}


def most(cards: Sequence[CardView]) -> int:
    """How many GPUs a notebook could have here at most. A card that is cut into instances is not one of them; its instances are."""
    return len({card.uuid for card in cards} - {card.parent for card in cards})


def whole(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or len(text) > 4:
        raise InvalidInput("how many GPUs must be a whole number")
    return int(text)


def free_name(mine: list[NotebookView]) -> str:
    taken = {view.name for view in mine}
    return next(name for name in ("main", *(f"notebook-{number}" for number in range(2, len(taken) + 3))) if name not in taken)
