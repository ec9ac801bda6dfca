"""Routes of sign-in: links for people, and for the web program the spending of links and the table of who may enter where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from .. import wire
from ..errors import NotSignedIn, Refused
from ..messages import DoorEvent, DoorKind, OpenAnswer, PersonView, Redeemed, RedeemRequest, SignIn
from ..notebooks.model import State
from ..notebooks.roster import Change, Roster
from ..people.model import BrowserRight, Person
from ..people.ports import Accounts
from ..people.register import Register, RightChange
from .notebooks import STILL_HERE, Showcase
from .routes import Ask, Route, Stream, Who

EVENTS = "text/event-stream"
REACHABLE = frozenset({State.RUNNING, State.PARKED})


class Gatekeeper:
    """Who is behind a request; see api/server.py for what is known of it."""

    def __init__(self, accounts: Accounts, register: Register, door_uid: int) -> None:
        self._accounts = accounts
        self._register = register
        self._door_uid = door_uid

    async def __call__(self, uid: int, token: str | None, who: Who) -> Person:
        if who is Who.DOOR:
            if uid not in (0, self._door_uid):
                raise Refused("only the web program may ask this")
            return Person("(web)", uid, 0, "/")
        person = await self._person(uid, token)
        if who is Who.ADMIN and not person.admin:
            raise Refused("only an admin may do this", hint="admins are root and the members of the group nbd-admin")
        return person

    async def _person(self, uid: int, token: str | None) -> Person:
        if token is not None:
            # Only the web program hands on tokens: from anybody else it would be a stolen one.
            if uid not in (0, self._door_uid):
                raise Refused("a token comes from the web program only")
            return await self._register.person_of_token(token)
        person = await self._accounts.by_uid(uid)
        if person is None or (uid == self._door_uid and uid != 0 and self._door_is_own_account()):
            raise NotSignedIn(f"uid {uid} is nobody here")
        return person

    def _door_is_own_account(self) -> bool:
        """Whether the web program runs as an account that is nobody's own; `nbd dev` may share its user's."""
        return self._door_uid not in (0, -1) and self._door_uid < FIRST_PERSON_UID


FIRST_PERSON_UID = 1000
"""Accounts below are programs', by every distribution's login.defs."""


class DoorRoutes:
    def __init__(self, register: Register, roster: Roster, showcase: Showcase, socket_of: Callable[[str], str], pages: str) -> None:
        self._register = register
        self._roster = roster
        self._showcase = showcase
        self._socket_of = socket_of
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/login", "A one-time link to the pages", OpenAnswer, self.login),
            Route("POST", "/v1/logout", "Sign out everywhere", PersonView, self.logout),
            Route("POST", "/v1/door/redeem", "Spend a link", Redeemed, self.redeem, body=RedeemRequest, who=Who.DOOR),
            Route("GET", "/v1/door/events", "Who may enter where", DoorEvent, stream=self.events, content_type=EVENTS, who=Who.DOOR),
        ]

    async def login(self, ask: Ask) -> OpenAnswer:
        secret, expires = self._register.give_ticket(ask.person, None)
        return OpenAnswer(f"{self._pages}enter?ticket={secret}", expires)

    async def logout(self, ask: Ask) -> PersonView:
        if ask.token is not None:
            await self._register.end(ask.token)
        return person_view(ask.person)

    async def redeem(self, ask: Ask) -> Redeemed:
        token, right, person = await self._register.redeem(ask.body.ticket)
        return Redeemed(token, sign_in(right, person))

    async def events(self, ask: Ask, stream: Stream) -> None:
        with self._roster.changes.subscribe() as notebooks, self._register.changes.subscribe() as rights:
            for right in await self._register.current():
                await stream.send(line(right_event(right)))
            for row in self._roster.all():
                await stream.send(line(await self._notebook_event(Change(row))))
            await stream.send(line(DoorEvent(DoorKind.SYNCED)))
            await self._both(notebooks, rights, stream)

    async def _both(self, notebooks: AsyncIterator[Change | None], rights: AsyncIterator[RightChange | None], stream: Stream) -> None:
        """Two feeds into one stream; ends when either does."""
        one_at_a_time = asyncio.Lock()

        async def pass_on_notebooks() -> None:
            async for change in notebooks:
                text = STILL_HERE if change is None else line(await self._notebook_event(change))
                async with one_at_a_time:
                    await stream.send(text)

        async def pass_on_rights() -> None:
            async for right in rights:
                if right is not None:
                    async with one_at_a_time:
                        await stream.send(line(right_event(right)))

        tasks = [asyncio.create_task(pass_on_notebooks()), asyncio.create_task(pass_on_rights())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _notebook_event(self, change: Change) -> DoorEvent:
        row = change.notebook
        if change.gone:
            return DoorEvent(DoorKind.NOTEBOOK_GONE, row.id)
        reachable = row.state in REACHABLE and self._roster.reachable(row.id)
        uid = await self._register.uid_of(row.owner) if reachable else None
        # Without an account there is nobody whose editor it could be.
        socket = None if uid is None else self._socket_of(row.id)
        return DoorEvent(DoorKind.NOTEBOOK, row.id, notebook=await self._showcase.show(row), socket=socket, owner_uid=uid)


def right_event(change: RightChange) -> DoorEvent:
    if change.person is None:
        return DoorEvent(DoorKind.SIGN_OUT, change.right.sha256)
    return DoorEvent(DoorKind.SIGN_IN, change.right.sha256, sign_in=sign_in(change.right, change.person))


def sign_in(right: BrowserRight, person: Person) -> SignIn:
    return SignIn(right.sha256, person_view(person), right.expires, right.notebook)


def person_view(person: Person) -> PersonView:
    return PersonView(person.name, person.uid, person.admin, person.home)


def line(event: DoorEvent) -> str:
    return f"data: {wire.encode(event)}\n\n"
