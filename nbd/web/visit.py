"""One request to the door's own pages, and the table that says which page it is for and what it must show first."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import parse_qsl

from aiohttp import web

from ..errors import InvalidInput, NotFound, NotSignedIn, Refused
from .access import Ask, Decision, Why, same_origin_post
from .cookies import form_token, form_token_is

FORM_BYTES = 64 * 1024
HOW_TO_SIGN_IN = "on the box, type: nbctl login"


@dataclass(frozen=True, slots=True)
class Visit:
    request: web.BaseRequest
    ask: Ask
    decision: Decision
    form: Mapping[str, str] = field(default_factory=dict)
    """What a POST brought."""

    @property
    def path(self) -> str:
        """As it was sent: what is written in another way is another path."""
        return self.request.raw_path.partition("?")[0]

    def query(self, name: str) -> str:
        return str(self.request.query.get(name, ""))

    @property
    def token(self) -> str:
        return self.decision.token

    @property
    def person(self) -> str:
        sign_in = self.decision.sign_in
        return sign_in.person.name if sign_in is not None and self.decision.allowed else ""

    @property
    def admin(self) -> bool:
        sign_in = self.decision.sign_in
        return sign_in is not None and self.decision.allowed and sign_in.person.admin

    @property
    def form_token(self) -> str:
        return form_token(self.token) if self.token else ""

    def check_origin(self) -> None:
        """Raises Refused unless a page of this very origin sent the form."""
        if not same_origin_post(self.ask):
            raise Refused("another site's page sent this form; nothing was done", code="foreign_origin")


Handler = Callable[[Visit, str], Awaitable[web.StreamResponse]]
"""Gets the visit and what stands in the path's `{id}`."""


class Policy(StrEnum):
    """What a route asks of who comes. There is no default: a route without one cannot be written."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    FORM = "form"
    """Signed in, and the form must be ours: it changes something. (Every POST must come from this very origin, whatever its policy.)"""


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    policy: Policy
    handler: Handler


class Router:
    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._compiled = tuple((re.compile(re.escape(route.path).replace(r"\{id\}", "([a-z0-9._-]{1,64})")), route) for route in routes)

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route, and what stands in its `{id}`. Raises NotFound. HEAD is answered as GET is."""
        for pattern, route in self._compiled:
            match = pattern.fullmatch(path)
            if match and route.method == ("GET" if method == "HEAD" else method):
                return route, match[1] if match.groups() else ""
        raise NotFound("there is no such page")

    async def answer(self, visit: Visit) -> web.StreamResponse:
        route, id = self.find(visit.request.method, visit.path)
        if route.policy is not Policy.PUBLIC:
            check_signed_in(visit.decision)
        if route.method == "POST":
            visit.check_origin()
            visit = replace(visit, form=await read_form(visit.request))
        if route.policy is Policy.FORM and not form_token_is(visit.token, visit.form.get("form_token", "")):
            raise Refused("this form is from an older sign-in", hint="go back, reload the page and try again", code="bad_form")
        return await route.handler(visit, id)


async def read_form(request: web.BaseRequest) -> dict[str, str]:
    """Raises InvalidInput for what is not a small HTML form."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise InvalidInput("this is not a form")
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
        if len(body) > FORM_BYTES:
            raise InvalidInput("this form is too long")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise InvalidInput("this is not a form") from None


def check_signed_in(decision: Decision) -> None:
    """Raises NotSignedIn, NotFound or Refused, in the person's words, for a request that may not pass."""
    if decision.why is Why.FOREIGN_ORIGIN:
        raise Refused("another site's page asked for this; nothing was done", code="foreign_origin")
    if decision.why is Why.NOT_YOURS:
        raise NotFound("there is no such notebook")
    if decision.why is Why.TWO_PEOPLE:
        raise NotSignedIn("this browser is signed in here as two people", hint="delete the cookies of this address, then: nbctl login")
    if not decision.allowed:
        raise NotSignedIn("you are not signed in here", hint=HOW_TO_SIGN_IN)
