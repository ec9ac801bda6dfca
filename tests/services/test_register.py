"""Sign-ins: a link works once and for a minute, a sign-in outlives a restart, and the store never holds what opens a door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nbd.errors import Deadline, NotSignedIn
from nbd.host.database import open_database
from nbd.people.model import Person
from nbd.people.ports import RightStore
from nbd.people.register import MOST_SIGN_INS, MOST_TICKETS, Lifetimes, Register, RightChange, digest
from tests.doors.api_world import FakeAccounts, MemoryRights

ADA, EVE = Person("ada", 1001, 1001, "/home/ada"), Person("eve", 1002, 1002, "/home/eve")
LIVES = Lifetimes(sign_in_seconds=1000.0, ticket_seconds=60.0)


class Desk:
    """A register, a clock that the test sets, and what survives a restart."""

    def __init__(self, store: RightStore | None = None) -> None:
        self.now = 5000.0
        self.store = store or MemoryRights()
        self.accounts = FakeAccounts({1001: ADA, 1002: EVE})
        self.register = self._made()

    def _made(self) -> Register:
        return Register(self.accounts, self.store, LIVES, lambda: self.now)

    async def restart(self) -> None:
        self.register = self._made()
        await self.register.load()

    async def sign_in(self, person: Person = ADA, notebook: str | None = None) -> str:
        return (await self.register.redeem(self.register.give_ticket(person, notebook)[0]))[0]

    async def refused(self, token: str) -> bool:
        try:
            await self.register.person_of_token(token)
        except NotSignedIn:
            return True
        return False


async def test_a_link_becomes_a_sign_in_once() -> None:
    desk = Desk()
    secret, expires = desk.register.give_ticket(ADA, None)
    assert expires == desk.now + 60
    token, right, person = await desk.register.redeem(secret)
    assert (person, right.uid, right.expires, right.notebook) == (ADA, 1001, desk.now + 1000, None)
    assert await desk.register.person_of_token(token) == ADA
    with pytest.raises(NotSignedIn) as caught:
        await desk.register.redeem(secret)
    assert "nbctl login" in caught.value.hint


async def test_of_ten_who_spend_one_link_at_once_one_gets_in() -> None:
    desk = Desk()
    secret, _ = desk.register.give_ticket(ADA, None)
    results = await asyncio.gather(*(desk.register.redeem(secret) for _ in range(10)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NotSignedIn"] * 9 + ["tuple"]


@pytest.mark.parametrize(("later", "works"), [(0.0, True), (59.9, True), (60.0, False), (3600.0, False)])
async def test_a_link_lives_a_minute(later: float, *, works: bool) -> None:
    desk = Desk()
    secret, _ = desk.register.give_ticket(ADA, None)
    desk.now += later
    if works:
        await desk.register.redeem(secret)
        return
    with pytest.raises(NotSignedIn):
        await desk.register.redeem(secret)


@pytest.mark.parametrize("secret", ["", "made up", "x" * 10_000, "\x00", "ключ", "\ud800"])
async def test_a_made_up_link_or_token_is_nothing(secret: str) -> None:
    desk = Desk()
    await desk.sign_in()
    with pytest.raises(NotSignedIn):
        await desk.register.redeem(secret)
    assert await desk.refused(secret)


async def test_a_hash_of_a_token_is_no_token() -> None:
    desk = Desk()
    token = await desk.sign_in()
    secret, _ = desk.register.give_ticket(ADA, None)
    assert await desk.refused(digest(token))
    with pytest.raises(NotSignedIn):
        await desk.register.redeem(digest(secret))
    assert await desk.refused(secret), "a link is not yet a sign-in"


async def test_a_notebooks_token_is_no_good_at_the_api() -> None:
    desk = Desk()
    assert await desk.refused(await desk.sign_in(notebook="nabcdefghi"))


async def test_a_sign_in_ends_by_the_clock() -> None:
    desk = Desk()
    token = await desk.sign_in()
    with desk.register.changes.subscribe() as changes:
        desk.now += 999
        await desk.register.expire()
        assert not await desk.refused(token)
        desk.now += 1
        assert await desk.refused(token), "at once, not when somebody gets to expire()"
        await desk.register.expire()
        assert await desk.store.rights() == []
        change = await anext(changes)
        assert change
        assert (change.right.sha256, change.person) == (digest(token), None)


async def test_a_restart_keeps_sign_ins_and_forgets_links_and_the_past() -> None:
    desk = Desk()
    old = await desk.sign_in(EVE)
    desk.now += 500
    token, (secret, _) = await desk.sign_in(), desk.register.give_ticket(ADA, None)
    desk.now += 501
    await desk.restart()
    assert await desk.register.person_of_token(token) == ADA
    assert await desk.refused(old)
    assert [right.sha256 for right in await desk.store.rights()] == [digest(token)]
    with pytest.raises(NotSignedIn):
        await desk.register.redeem(secret)


async def test_signing_out_is_everywhere_and_of_nobody_else() -> None:
    desk = Desk()
    pages, inside, phone, eve = [await desk.sign_in(*who) for who in ((ADA,), (ADA, "nabcdefghi"), (ADA,), (EVE,))]
    with desk.register.changes.subscribe() as changes:
        await desk.register.end(pages)
        ended = [change.right.sha256 for change in [await anext(changes) for _ in range(3)] if change and change.person is None]
        assert sorted(ended) == sorted(digest(token) for token in (pages, inside, phone))
    assert [await desk.refused(token) for token in (pages, phone, eve)] == [True, True, False]
    await desk.register.end(pages)
    await desk.register.end("made up")
    await desk.restart()
    assert [change.person for change in await desk.register.current()] == [EVE]


async def test_an_account_that_went_has_no_sign_in() -> None:
    desk = Desk()
    token, (secret, _) = await desk.sign_in(), desk.register.give_ticket(ADA, None)
    del desk.accounts.people[1001]
    assert await desk.refused(token)
    with pytest.raises(NotSignedIn):
        await desk.register.redeem(secret)
    assert [change.person for change in await desk.register.current()] == [None], "the web door takes it out of its table"


async def test_links_without_end_push_out_the_oldest_of_the_same_person() -> None:
    desk = Desk()
    adas, _ = desk.register.give_ticket(ADA, None)
    first, _ = desk.register.give_ticket(EVE, None)
    second, _ = desk.register.give_ticket(EVE, None)
    for _ in range(MOST_TICKETS - 1):
        desk.register.give_ticket(EVE, None)
    with pytest.raises(NotSignedIn):
        await desk.register.redeem(first)
    await desk.register.redeem(second)
    await desk.register.redeem(adas)


async def test_sign_ins_without_end_push_out_the_oldest_of_the_same_origin() -> None:
    desk = Desk()
    adas, first, second = await desk.sign_in(ADA), await desk.sign_in(EVE), await desk.sign_in(EVE)
    for _ in range(MOST_SIGN_INS):
        await desk.sign_in(EVE, "n1")
    assert not await desk.refused(first), "a notebook's own are counted apart"
    for _ in range(MOST_SIGN_INS - 1):
        desk.now += 1
        await desk.sign_in(EVE)
    assert await desk.refused(first)
    assert not await desk.refused(second)
    assert not await desk.refused(adas)
    assert len(await desk.store.rights()) == 2 * MOST_SIGN_INS + 1


async def test_whoever_listens_hears_of_each_sign_in() -> None:
    desk = Desk()
    with desk.register.changes.subscribe() as changes:
        token = await desk.sign_in()
        change = await anext(changes)
        assert isinstance(change, RightChange)
        assert (change.right.sha256, change.person) == (digest(token), ADA)


@asynccontextmanager
async def desk_on_disk(file: Path) -> AsyncIterator[Desk]:
    database = open_database(file)
    try:
        yield Desk(database)
    finally:
        await database.close()


async def test_what_opens_a_door_is_nowhere_on_the_disk(tmp_path: Path) -> None:
    async with desk_on_disk(tmp_path / "state.db") as desk:
        secret, _ = desk.register.give_ticket(ADA, None)
        tokens = [secret, await desk.sign_in(), await desk.sign_in(EVE, "nabcdefghi")]
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert digest(tokens[1]).encode() in kept
        assert not [token for token in tokens if token.encode() in kept]
        await desk.restart()
        assert await desk.register.person_of_token(tokens[1]) == ADA


class SilentAccounts(FakeAccounts):
    silent = False

    async def by_name(self, name: str) -> Person | None:
        if self.silent:
            raise Deadline("the account database did not answer")
        return await super().by_name(name)


async def test_whose_uid_a_name_is_outlives_a_silent_account_database() -> None:
    desk = Desk()
    accounts = desk.accounts = SilentAccounts({1001: ADA, 1002: EVE})
    register = Register(accounts, desk.store, LIVES, lambda: desk.now)
    assert (await register.uid_of("ada"), await register.uid_of("nobody")) == (1001, None)
    accounts.silent = True
    assert (await register.uid_of("ada"), await register.uid_of("eve")) == (1001, None), "what was never heard is not guessed"
    accounts.silent = False
    del accounts.people[1001]
    assert await register.uid_of("ada") is None
    accounts.silent = True
    assert await register.uid_of("ada") is None, "an account that went stays gone"
