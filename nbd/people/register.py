"""Owns sign-ins: gives out one-time links, turns a link into a browser's right, ends rights, and tells the web door of each change."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import NotSignedIn, Unreachable
from ..feed import Feed
from .model import BrowserRight, Person, Ticket
from .ports import Accounts, RightStore

MOST_TICKETS = 100
"""Unused links of one person kept at a time; their oldest go first. A person makes a few, an attacker with an account could make millions."""
MOST_SIGN_INS = 100
"""Of one person at one origin; the oldest end first."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    sign_in_seconds: float
    ticket_seconds: float


@dataclass(frozen=True, slots=True)
class RightChange:
    right: BrowserRight
    person: Person | None
    """None when the right ended."""


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Register:
    def __init__(self, accounts: Accounts, store: RightStore, lifetimes: Lifetimes, wall_clock: Callable[[], float]) -> None:
        self._accounts = accounts
        self._store = store
        self._lifetimes = lifetimes
        self._wall_clock = wall_clock
        self._tickets: dict[str, Ticket] = {}
        """In memory alone: a link lives a minute, and one lost with a crash is asked for again."""
        self._rights: dict[str, BrowserRight] = {}
        self._uids: dict[str, int] = {}
        """As last heard, for when the account database is silent."""
        self.changes: Feed[RightChange] = Feed()

    async def load(self) -> None:
        now = self._wall_clock()
        for right in await self._store.rights():
            if right.expires > now:
                self._rights[right.sha256] = right
            else:
                await self._store.end_right(right.sha256)

    def give_ticket(self, person: Person, notebook: str | None) -> tuple[str, float]:
        """A link's secret and the moment it expires. Only its hash is kept."""
        now = self._wall_clock()
        self._tickets = {key: ticket for key, ticket in self._tickets.items() if ticket.expires > now}
        mine = [key for key, ticket in self._tickets.items() if ticket.uid == person.uid]
        for key in mine[: max(0, len(mine) + 1 - MOST_TICKETS)]:
            del self._tickets[key]
        secret = secrets.token_urlsafe(32)
        expires = now + self._lifetimes.ticket_seconds
        self._tickets[digest(secret)] = Ticket(digest(secret), person.uid, expires, notebook)
        return secret, expires

    async def redeem(self, secret: str) -> tuple[str, BrowserRight, Person]:
        """Spend a link: a new token, the right it stands for, and whose. Raises NotSignedIn for one that is spent, late or made up."""
        ticket = self._tickets.pop(digest(secret), None)
        now = self._wall_clock()
        person = await self._accounts.by_uid(ticket.uid) if ticket else None
        if ticket is None or person is None or ticket.expires <= now:
            raise NotSignedIn("this link was used already, or is too old", hint="ask for a new one: nbctl login, or nbctl open NAME")
        token = secrets.token_urlsafe(32)
        right = BrowserRight(digest(token), ticket.uid, now + self._lifetimes.sign_in_seconds, ticket.notebook)
        await self._store.add_right(right)
        self._rights[right.sha256] = right
        self.changes.publish(RightChange(right, person))
        await self._keep_newest(right)
        return token, right, person

    async def person_of_token(self, token: str) -> Person:
        """Whose browser this is. Raises NotSignedIn. A notebook's token opens that notebook alone, never the API."""
        right = self._rights.get(digest(token))
        if right is None or right.notebook is not None:
            raise NotSignedIn("not signed in, or no longer", hint="sign in again: nbctl login")
        return await self._holder(right)

    async def inside(self, token: str) -> tuple[str, Person]:
        """The notebook on whose origin this browser is, and whose browser it is. Raises NotSignedIn."""
        right = self._rights.get(digest(token))
        if right is None or right.notebook is None:
            raise NotSignedIn("not signed in here, or no longer", hint="open the notebook again: nbctl open NAME")
        return right.notebook, await self._holder(right)

    async def _holder(self, right: BrowserRight) -> Person:
        if right.expires <= self._wall_clock():
            raise NotSignedIn("not signed in, or no longer", hint="sign in again: nbctl login")
        person = await self._accounts.by_uid(right.uid)
        if person is None:
            raise NotSignedIn("this account is no longer on this box")
        return person

    async def end(self, token: str) -> None:
        """Sign out everywhere: every right of the person whose token this is."""
        right = self._rights.get(digest(token))
        if right is None:
            return
        for mine in [other for other in self._rights.values() if other.uid == right.uid]:
            await self._drop(mine)

    async def expire(self) -> None:
        now = self._wall_clock()
        for right in [right for right in self._rights.values() if right.expires <= now]:
            await self._drop(right)

    async def uid_of(self, name: str) -> int | None:
        """None where there is no such account any more, or where that cannot be found out now and never was."""
        try:
            person = await self._accounts.by_name(name)
        except Unreachable:
            return self._uids.get(name)
        if person is None:
            self._uids.pop(name, None)
            return None
        self._uids[name] = person.uid
        return person.uid

    async def current(self) -> list[RightChange]:
        return [RightChange(right, await self._accounts.by_uid(right.uid)) for right in self._rights.values()]

    async def _keep_newest(self, right: BrowserRight) -> None:
        mine = [other for other in self._rights.values() if (other.uid, other.notebook) == (right.uid, right.notebook)]
        for oldest in sorted(mine, key=lambda other: other.expires)[: max(0, len(mine) - MOST_SIGN_INS)]:
            await self._drop(oldest)

    async def _drop(self, right: BrowserRight) -> None:
        await self._store.end_right(right.sha256)
        self._rights.pop(right.sha256, None)
        self.changes.publish(RightChange(right, None))
