"""Signing in by a one-time link.

A link signs the browser in as whoever asked for it. That is an attack when somebody else sends theirs ("login CSRF": the victim then works, and
pastes secrets, in the attacker's notebook). So a link that another site led to, or that would replace the sign-in of somebody else, is not spent
before the person says so on a page of ours. A link that the pages themselves led to (their Open button) is recognised by the browser's Referer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from ..errors import InvalidInput, NbdError
from ..messages import DoorEvent, DoorKind, Redeemed
from .access import asked_for
from .cookies import TOKEN, session_cookie
from .corelink import CoreLink
from .origins import Origins
from .render import Renderer
from .table import DoorTable
from .visit import Visit

MOST_HELD = 64


class Entrance:
    def __init__(self, origins: Origins, table: DoorTable, core: CoreLink, render: Renderer, wall_clock: Callable[[], float]) -> None:
        self._origins = origins
        self._table = table
        self._core = core
        self._render = render
        self._wall_clock = wall_clock
        self._held: dict[str, Redeemed] = {}

    async def link(self, visit: Visit, _: str) -> web.StreamResponse:
        """GET of a one-time link: spend it when the person plainly asked for it, else ask them first."""
        ticket = checked(visit.query("ticket"))
        request = visit.request
        ahead = "prefetch" in request.headers.get("Sec-Purpose", "") or request.method == "HEAD"
        trusted = self._origins.pages_origins() | {visit.ask.own}
        if ahead or not asked_for(visit.ask.site, request.headers.get("Referer"), trusted):
            return self._confirm(visit, ticket, "")
        redeemed = await self._core.redeem(ticket)
        if visit.person and visit.person != redeemed.sign_in.person.name:
            return self._confirm(visit, self._hold(redeemed), redeemed.sign_in.person.name)
        return await self._welcome(visit, redeemed)

    async def confirmed(self, visit: Visit, _: str) -> web.StreamResponse:
        """The person said yes on our page: the form comes from this very origin, which no other site can do."""
        ticket = checked(visit.form.get("ticket", ""))
        held = self._held.pop(ticket, None)
        return await self._welcome(visit, held or await self._core.redeem(ticket))

    def _confirm(self, visit: Visit, ticket: str, other: str) -> web.StreamResponse:
        # The address has the ticket in it, so it may go to no other site; our own form must still say where it comes from.
        return self._render.page(visit, "confirm.html", referrer="same-origin", ticket=ticket, path=visit.path, other=other)

    def _hold(self, redeemed: Redeemed) -> str:
        """A link is spent when we learn whose it is: what it gave waits here, under a new secret, for a yes."""
        while len(self._held) >= MOST_HELD:
            del self._held[next(iter(self._held))]
        key = secrets.token_urlsafe(32)
        self._held[key] = redeemed
        return key

    async def _welcome(self, visit: Visit, redeemed: Redeemed) -> web.StreamResponse:
        sign_in = redeemed.sign_in
        if (sign_in.notebook or "") != visit.ask.notebook:
            raise InvalidInput("this link is for another address", hint="ask for a new one and open it unchanged")
        # Core tells the table too, but the browser may be back before that event is.
        self._table.apply(DoorEvent(DoorKind.SIGN_IN, sign_in.token_sha256, sign_in=sign_in))
        await self._wake(visit.ask.notebook, redeemed.token)
        answer = self._render.redirect(self._landing(visit.ask.notebook))
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Set-Cookie"] = session_cookie(redeemed, self._origins.scheme, self._wall_clock())
        return answer

    async def _wake(self, notebook: str, token: str) -> None:
        """Who came in by a link of their own wants it; where it does not wake, the page they land on says what it is."""
        row = self._table.notebooks.get(notebook)
        if row is not None and row.view.state == "FROZEN":
            with suppress(NbdError):
                await self._core.woken(token)

    def _landing(self, notebook: str) -> str:
        if not notebook:
            return "/"
        row = self._table.notebooks.get(notebook)
        return "/lab" if row is not None and row.place is not None else "/.nbd/"


def checked(ticket: str) -> str:
    if not TOKEN.fullmatch(ticket):
        raise InvalidInput("this link is not complete", hint="copy all of it, or ask for a new one: nbctl login")
    return ticket
