"""The routes of idleness on the real socket: what reaches the desk, on whose word, and what is refused before it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from nbd.errors import Conflict
from nbd.idlemessages import IdleBrief, NextView, NoticeKind, NoticeView
from nbd.messages import Progress, Waiting
from nbd.notebooks.model import Notebook, State
from nbd.notebooks.roster import Passing

from .api_world import ApiWorld, api_world

NEXT = NextView("park", "its GPU is given back", 2000.0, 1700.0, "profile gpu-small")
NOTICE = NoticeView(NoticeKind.WARN, "idle for 25 min; its GPU is given back", 2000.0, "profile gpu-small", 7200.0)


@pytest.fixture
async def world(short_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(short_path) as world:
        yield world


async def resting(world: ApiWorld, state: State) -> Notebook:
    row = await world.house.up()
    return await world.house.roster.change(row.id, state)


@pytest.mark.parametrize(
    ("method", "path", "body", "asked"),
    [
        ("GET", "why", None, ("why",)),
        ("POST", "keep", {"seconds": 7200}, ("keep", 7200.0, "ada")),
        ("DELETE", "keep", None, ("keep", 0.0, "ada")),
        ("PATCH", "idle", {"settings": {"park_after": "10min", "stop_after": ""}}, ("set", {"park_after": "10min", "stop_after": ""})),
        ("GET", "idle/history", None, ("history",)),
        ("POST", "idle/replay", {"policy": "[idle]\npark_after = '5min'"}, ("replay", "[idle]\npark_after = '5min'")),
        ("POST", "park", None, ("park", "ada")),
        ("POST", "unpark", None, ("unpark", "ada")),
        ("POST", "freeze", None, ("freeze", "ada")),
        ("POST", "thaw", None, ("thaw", "ada")),
    ],
)
async def test_each_route_asks_the_desk(world: ApiWorld, method: str, path: str, body: object, asked: tuple[object, ...]) -> None:
    row, me = await world.house.up(), world.me("ada")
    reply = await me.ask(method, f"/v1/notebooks/{row.name}/{path}", body)
    assert reply.status == 200
    assert world.desk.asked == [(asked[0], row.id, *asked[1:])]
    world.desk.trouble = Conflict("it cannot be parked: it uses MIG", hint="stop it instead", code="cannot_park")
    reply = await me.ask(method, f"/v1/notebooks/{row.name}/{path}", body)
    assert (reply.status, reply.code, reply.json["error"]["hint"]) == (409, "cannot_park", "stop it instead")


@pytest.mark.parametrize("seconds", [0, -1, 59, 8 * 86400, 1e999])
async def test_nobody_keeps_for_ever(world: ApiWorld, seconds: float) -> None:
    row, me = await world.house.up(), world.me("ada")
    reply = await me.ask("POST", f"/v1/notebooks/{row.id}/keep", b'{"seconds": %s}' % (b"1e999" if seconds > 1e300 else str(seconds).encode()))
    assert (reply.status, reply.code) == (400, "invalid_input")
    assert (await me.ask("POST", "/v1/door/keep", {"token": await token_of(world, row), "seconds": 0})).status in (400, 403)
    assert not world.desk.asked


@pytest.mark.parametrize("settings", [{}, {f"key{number}": "1" for number in range(21)}])
async def test_settings_are_some_and_not_many(world: ApiWorld, settings: dict[str, str]) -> None:
    row, me = await world.house.up(), world.me("ada")
    assert (await me.ask("PATCH", f"/v1/notebooks/{row.id}/idle", {"settings": settings})).status == 400
    assert not world.desk.asked


async def test_what_the_door_counted_reaches_the_desk(world: ApiWorld) -> None:
    world.gatekeeper._door_uid = world.me("ada").uid
    body = {"door": "a1", "notebooks": [{"notebook": "n1", "typed": 3, "here": 1, "relayed_bytes": 99, "clicks": 2, "tabs": 1}]}
    reply = await world.me("ada").ask("POST", "/v1/door/traffic", body)
    assert (reply.status, reply.json) == (200, {"notebooks": 1})
    (report,) = world.desk.reports
    assert (report.door, report.notebooks[0].typed, report.notebooks[0].tabs) == ("a1", 3, 1)
    assert (await world.me("ada").ask("POST", "/v1/door/traffic", {"door": "a1", "notebooks": [{"notebook": "n1", "text": "hi"}]})).status == 400


async def token_of(world: ApiWorld, row: Notebook) -> str:
    world.me("ada")
    ticket, _ = world.register.give_ticket(world.accounts.people[world.me("ada").uid], row.id)
    token, _, _ = await world.register.redeem(ticket)
    return token


@pytest.mark.parametrize(
    ("state", "asked"), [(State.RUNNING, []), (State.PARKED, ["unpark"]), (State.FROZEN, ["thaw"]), (State.STOPPING, [])]
)
async def test_who_stands_before_it_wakes_it(world: ApiWorld, state: State, asked: list[str]) -> None:
    row = await resting(world, state)
    world.gatekeeper._door_uid = world.me("ada").uid
    token = await token_of(world, row)
    reply = await world.me("ada").ask("POST", "/v1/door/woken", {"token": token})
    assert (reply.status, reply.json["id"]) == (200, row.id)
    assert world.desk.asked == [(word, row.id, "ada") for word in asked]


async def test_a_token_is_of_one_notebook_and_of_its_owner_alone(world: ApiWorld) -> None:
    row, caller = await resting(world, State.FROZEN), world.me("ada")
    world.gatekeeper._door_uid = caller.uid
    pages, _ = world.register.give_ticket(world.accounts.people[caller.uid], None)
    pages_token, _, _ = await world.register.redeem(pages)
    for bad in (pages_token, "made-up", ""):
        assert (await caller.ask("POST", "/v1/door/woken", {"token": bad})).status == 401
        assert (await caller.ask("POST", "/v1/door/keep", {"token": bad, "seconds": 600})).status == 401
    mine = await token_of(world, row)
    world.me("eve")  # the same uid is another's now: the account was renamed
    assert (await caller.ask("POST", "/v1/door/woken", {"token": mine})).status == 404
    assert not world.desk.asked


async def counted(changes: AsyncIterator[object]) -> int:
    """How many there are by now."""
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            while await anext(changes):
                seen += 1
    return seen


async def test_a_notebook_tells_its_verdict_what_comes_next_and_the_notice(world: ApiWorld) -> None:
    row, me = await world.house.up(), world.me("ada")
    assert (await me.ask("GET", f"/v1/notebooks/{row.id}")).json["verdict"] is None
    with world.house.roster.changes.subscribe() as changes:
        for _ in range(3):
            world.house.roster.judged(row.id, IdleBrief("idle", NEXT, NOTICE))
        world.house.roster.judged(row.id, IdleBrief("active"))
        world.house.roster.judged(row.id, IdleBrief("idle", NEXT, NOTICE))
        assert await counted(changes) == 3, "the same again is news"
    shown = (await me.ask("GET", f"/v1/notebooks/{row.id}")).json
    assert (shown["verdict"], shown["next"]["step"], shown["next"]["due"]) == ("idle", "park", 2000.0)
    assert (shown["notice"]["text"], shown["notice"]["rule"]) == (NOTICE.text, NOTICE.rule)
    await world.house.roster.change(row.id, State.STOPPING)
    assert (await me.ask("GET", f"/v1/notebooks/{row.id}")).json["notice"] is None


@pytest.mark.parametrize(
    ("state", "passing", "sentence", "hint"),
    [
        (State.PARKED, Passing(), "parked: its GPU is given back, its kernel kept", "it gets a GPU when you run something; now: nbctl unpark main"),
        (State.PARKED, Passing(waiting=Waiting(2, "0 of 2 are free", 1.0)), "parked, number 2 in line for a GPU: 0 of 2 are free", ""),
        (State.PARKED, Passing(Progress("unpark", "its memory goes back onto the GPU")), "parked: its memory goes back onto the GPU", ""),
        (State.FROZEN, Passing(), "frozen: asleep on disk with its memory", "it comes back when you open it: nbctl open main"),
        (State.FROZEN, Passing(Progress("thaw", "its memory is read back")), "frozen: its memory is read back", ""),
        (State.RUNNING, Passing(Progress("park", "its GPU is being given back")), "JupyterLab runs; its GPU is being given back",
         "open it: nbctl open main"),
    ],
)  # fmt: skip
async def test_what_rests_says_so(world: ApiWorld, state: State, passing: Passing, sentence: str, hint: str) -> None:
    row = await resting(world, state)
    world.house.roster.show(row.id, passing)
    shown = (await world.me("ada").ask("GET", f"/v1/notebooks/{row.id}")).json
    assert (shown["sentence"], shown["hint"]) == (sentence, hint)


async def test_what_could_not_be_done_is_told(world: ApiWorld) -> None:
    row = await resting(world, State.PARKED)
    await world.house.roster.change(row.id, trouble="no card of its kind is left")
    assert (await world.me("ada").ask("GET", f"/v1/notebooks/{row.id}")).json["trouble"] == "no card of its kind is left"
    await world.house.roster.change(row.id, State.STOPPING)
    assert (await world.me("ada").ask("GET", f"/v1/notebooks/{row.id}")).json["trouble"] == ""


async def test_a_verdict_of_before_is_not_kept_with_what_passes(world: ApiWorld) -> None:
    row, roster = await world.house.up(), world.house.roster
    roster.judged(row.id, IdleBrief("idle", NEXT, NOTICE))
    roster.show(row.id, roster.passing(row.id))
    roster.judged(row.id, None)
    assert (await world.me("ada").ask("GET", f"/v1/notebooks/{row.id}")).json["verdict"] is None
