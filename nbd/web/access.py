"""May this request pass? One pure function for answers, uploads and WebSocket upgrades alike, for the pages and for every notebook.

* A sign-in is good for one origin: the pages', or one notebook's.
* Not yours and not there look the same: without a sign-in for that very origin nothing is told.
* A request that another site's page makes on the person's behalf does not pass, except that a link may be followed to a whole page. An upgrade is
  ambient authority too (browsers ask no leave before a WebSocket), so its Origin must be exactly ours and must be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ..messages import NotebookView, SignIn
from ..unixdoor import Place
from .cookies import digest

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN = frozenset({"cross-site", "same-site"})


class Why(StrEnum):
    ALLOWED = "allowed"
    NOT_SIGNED_IN = "not_signed_in"
    EXPIRED = "expired"
    TWO_PEOPLE = "two_people"
    NOT_YOURS = "not_yours"
    FOREIGN_ORIGIN = "foreign_origin"


@dataclass(frozen=True, slots=True)
class Row:
    """A notebook as the door knows it. `place` is where the editor listens, while it does."""

    view: NotebookView
    place: Place | None = None


class Ask(NamedTuple):
    """What of a request the decision is made of. `notebook` is empty on the pages' origin; `own` is the origin asked."""

    own: str
    notebook: str
    tokens: tuple[str, ...]
    method: str = "GET"
    upgrade: bool = False
    origin: str | None = None
    site: str | None = None
    mode: str | None = None
    dest: str | None = None


class Decision(NamedTuple):
    why: Why
    sign_in: SignIn | None = None
    token: str = ""
    row: Row | None = None

    @property
    def allowed(self) -> bool:
        return self.why is Why.ALLOWED


def authorise(ask: Ask, sign_ins: Mapping[str, SignIn], notebooks: Mapping[str, Row], now: float) -> Decision:
    """`now` is seconds since the epoch. The first reason that forbids is the one that is given."""
    who = identify(ask, sign_ins, now)
    if who.sign_in is None or not who.allowed:
        return who
    if foreign(ask):
        return who._replace(why=Why.FOREIGN_ORIGIN)
    if not ask.notebook:
        return who
    row = notebooks.get(ask.notebook)
    if row is None or row.view.owner != who.sign_in.person.name:
        return who._replace(why=Why.NOT_YOURS)
    return who._replace(row=row)


def identify(ask: Ask, sign_ins: Mapping[str, SignIn], now: float) -> Decision:
    found = Decision(Why.NOT_SIGNED_IN)
    for token in ask.tokens:
        sign_in = sign_ins.get(digest(token))
        if sign_in is None or (sign_in.notebook or "") != ask.notebook:
            continue
        if sign_in.expires <= now:
            found = Decision(Why.EXPIRED) if found.sign_in is None else found
        elif found.sign_in is None:
            found = Decision(Why.ALLOWED, sign_in, token)
        elif found.sign_in.person.name != sign_in.person.name:
            # Somebody put a cookie of theirs beside the person's own; whose request this is cannot be known.
            return Decision(Why.TWO_PEOPLE)
    return found


def foreign(ask: Ask) -> bool:
    if ask.upgrade:
        return ask.origin != ask.own
    if ask.origin is not None and ask.origin != ask.own and ask.method not in SAFE:
        return True
    if ask.site not in FOREIGN:
        return False
    return not (ask.method in {"GET", "HEAD"} and ask.mode == "navigate" and ask.dest == "document")


def same_origin_post(ask: Ask) -> bool:
    """Did a page of this very origin send this form? Browsers say so in one of two headers; one that says neither is refused."""
    if ask.origin is not None:
        return ask.origin == ask.own and ask.site in {None, "same-origin"}
    return ask.site == "same-origin"


def asked_for(site: str | None, referer: str | None, trusted: frozenset[str]) -> bool:
    """Did the person themselves follow a one-time link, or one of the pages send them? Otherwise another site may be signing them in.

    `Referer` is the browser's word: a page cannot put another page's origin there. `trusted` are the pages' origins and the one asked.
    """
    if referer:
        scheme, _, rest = referer.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}" in trusted
    return site in {None, "none", "same-origin"}
