"""Every request to the web door, from its Host header to its answer. Nothing passes that access.authorise did not let through."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.http import HttpVersion11

from ..errors import InvalidInput, NbdError, NotFound, Unreachable
from .access import Ask, authorise
from .cookies import cookie_name, tokens
from .origins import PAGES, Origins
from .proxy import Proxy, Target
from .reception import Reception, for_person
from .table import DoorTable
from .tunnel import Right
from .visit import Router, Visit, check_signed_in

WAIT_FOR_CORE_SECONDS = 5.0
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "COPY", "MOVE", "REPORT", "LOCK", "UNLOCK"})
OWN = "/.nbd/"
log = logging.getLogger(__name__)


class WrongHost(NbdError):
    status, default_code = 421, "wrong_host"


class WrongVersion(NbdError):
    status, default_code = 505, "http_version"


class WrongMethod(NbdError):
    status, default_code = 405, "method"


class Door:
    def __init__(self, origins: Origins, table: DoorTable, proxy: Proxy, reception: Reception, wall_clock: Callable[[], float]) -> None:
        self._origins = origins
        self._table = table
        self._proxy = proxy
        self._reception = reception
        self._render = reception.render
        self._wall_clock = wall_clock
        self._cookie = cookie_name(origins.scheme)
        self.pages = Router(())
        self.at_notebooks = Router(())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        visit: Visit | None = None
        try:
            which = self._checked(request)
            if not self._table.fresh() and not is_asset(which, request.raw_path):
                await self._wait_for_core()
            ask = self._ask(request, which)
            decision = authorise(ask, self._table.sign_ins, self._table.notebooks, self._wall_clock())
            visit = Visit(request, ask, decision)
            if which == PAGES:
                return await self.pages.answer(visit)
            if request.raw_path.startswith(OWN):
                return await self.at_notebooks.answer(visit)
            return await self._through(visit)
        except NbdError as error:
            return self._said(request, visit, error)
        except web.HTTPException:
            raise
        except ConnectionError:
            raise
        except Exception:
            log.exception("a request to %s broke the door", request.raw_path[:200])
            return self._said(request, visit, NbdError("this is a bug in nbd; it is in the journal", hint="see: journalctl -u nbd-web"))

    def _checked(self, request: web.BaseRequest) -> str:
        """Which origin is asked. Raises for what no browser sends."""
        if request.version != HttpVersion11:
            raise WrongVersion("this door speaks HTTP/1.1")
        which = self._origins.which(request.headers.get("Host", ""))
        if which is None:
            raise WrongHost("there is nothing at this address", hint=f"the notebooks are at {self._origins.pages}")
        if not request.raw_path.startswith("/"):
            raise InvalidInput("this is not a proxy for other servers", code="bad_target")
        if request.method not in METHODS:
            raise WrongMethod("this method is not for here")
        return which

    async def _wait_for_core(self) -> None:
        if not await self._table.wait_fresh(WAIT_FOR_CORE_SECONDS):
            raise Unreachable("nbd's core does not answer, so nobody can be let in", hint="this page tries again by itself", code="core_silent")

    def _ask(self, request: web.BaseRequest, which: str) -> Ask:
        headers = request.headers
        return Ask(
            own=self._origins.of(headers["Host"]),
            notebook=which,
            tokens=tokens("; ".join(headers.getall("Cookie", ())), self._cookie),
            method=request.method,
            upgrade=upgrades(request),
            origin=headers.get("Origin"),
            site=headers.get("Sec-Fetch-Site"),
            mode=headers.get("Sec-Fetch-Mode"),
            dest=headers.get("Sec-Fetch-Dest"),
        )

    async def _through(self, visit: Visit) -> web.StreamResponse:
        check_signed_in(visit.decision)
        request, row, sign_in = visit.request, visit.decision.row, visit.decision.sign_in
        if row is None or sign_in is None:
            raise NotFound("there is no such notebook")
        if row.place is None:
            return await self._reception.away(visit, row)
        inset = self._reception.passes(visit, row)
        target = Target(row.place, request.headers["Host"], Right(sign_in.token_sha256, row.view.id), inset)
        try:
            return await (self._proxy.upgrade if visit.ask.upgrade else self._proxy.relay)(request, target)
        except Unreachable as error:
            log.log(logging.WARNING if error.code == "not_the_editor" else logging.INFO, "%s", error, extra={"NBD_NOTEBOOK": row.view.id})
            if not for_person(request):
                raise
            return await self._reception.away(visit, row)

    def _said(self, request: web.BaseRequest, visit: Visit | None, error: NbdError) -> web.StreamResponse:
        answer = self._render.problem(visit, error, to_person=for_person(request))
        if error.retryable:
            answer.headers["Retry-After"] = "2"
        if isinstance(error, InvalidInput | WrongVersion | WrongHost | WrongMethod):
            answer.force_close()
        return answer


def upgrades(request: web.BaseRequest) -> bool:
    return "Upgrade" in request.headers and "upgrade" in request.headers.get("Connection", "").lower()


def is_asset(which: str, path: str) -> bool:
    return path.startswith("/static/") if which == PAGES else path.startswith("/.nbd/static/")
