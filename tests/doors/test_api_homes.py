"""A home through core's API: always the asking person's own, and only what is below it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from nbd.api.homes import Line, inside
from nbd.errors import Conflict, InvalidInput, Unreachable
from nbd.homes.model import HomeRequest

from .api_world import ApiWorld, api_world


@pytest.fixture
async def world(short_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(short_path) as world:
        yield world


async def test_each_question_is_about_the_asking_persons_home(world: ApiWorld) -> None:
    me = world.me()
    asked = (
        *(("GET", path) for path in ("", "/snapshots", "/ls?snapshot=ab&path=~/work/", "/diff?a=ab")),
        *(("POST", path) for path in ("/verify", "/confirm")),
    )
    for method, path in asked:
        assert (await me.ask(method, f"/v1/home{path}")).status == 200
    mine = HomeRequest("ada", me.uid, "/home/ada")
    assert [body if isinstance(body, HomeRequest) else body.home for _, body in world.sync.asked] == [mine] * len(asked)
    assert (world.sync.asked[2][1].snapshot, world.sync.asked[2][1].path) == ("ab", "work")
    assert (world.sync.asked[3][1].before, world.sync.asked[3][1].after) == ("ab", "latest")


async def test_a_restore_is_told_step_by_step_and_goes_where_nothing_is(world: ApiWorld) -> None:
    me = world.me()
    reply = await me.ask("POST", "/v1/home/restore", {"path": "/home/ada/work/paper"})
    assert [line.startswith(b'{"done":' + done) for line, done in zip(reply.body.splitlines(), (b"false", b"true"), strict=True)] == [True, True]
    _, (who, asked, to) = world.sync.asked[-1]
    assert (who.name, who.uid, asked.path) == ("ada", me.uid, "work/paper")
    assert re.fullmatch(r"/home/ada/restored-\d{4}-\d\d-\d\d-\d{6}", to)
    await me.ask("POST", "/v1/home/restore", {"path": ".", "to": "/home/ada/x/../y"})
    assert world.sync.asked[-1][1][1:] == (type(asked)(to="/home/ada/y"), "/home/ada/y"), "what is there now is saved first"
    await me.ask("POST", "/v1/home/restore", {"path": ".", "to": "/scratch/y"})
    assert world.sync.asked[-1][1][1:] == (type(asked)(), "/scratch/y")


@pytest.mark.parametrize(
    "body",
    [{"path": "../eve/x"}, {"path": "/etc/shadow"}, {"path": "a\0b"}, {"to": "here"}, {"to": "/a\0b"}, {"person": "eve"}],
)
async def test_what_is_not_below_the_home_is_refused(world: ApiWorld, body: dict[str, Any]) -> None:
    assert (await world.me().ask("POST", "/v1/home/restore", body)).code == "invalid_input"
    assert world.sync.asked == []


async def test_a_name_that_is_no_text_gets_there_as_it_is(world: ApiWorld) -> None:
    me = world.me()
    assert (await me.ask("GET", "/v1/home/text?snapshot=ab&path=a%2F%FF%0A%2B+b")).status == 200
    assert world.sync.asked[-1][1].path == "a/\udcff\n+ b"
    assert (await me.ask("POST", "/v1/home/restore", {"path": "a/\udcff"})).status == 200
    assert world.sync.asked[-1][1][1].path == "a/\udcff"


async def test_a_sync_that_is_away_is_said(world: ApiWorld) -> None:
    world.sync.trouble = Unreachable("the sync program does not answer", hint="look at it")
    reply = await world.me().ask("GET", "/v1/home")
    assert (reply.status, reply.code) == (503, "unreachable")


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("", ""),
        (".", ""),
        ("~", ""),
        ("~/a", "a"),
        ("~a", "~a"),
        ("a/../b", "b"),
        ("..a", "..a"),
        ("/home/ada", ""),
        ("/home/ada/", ""),
        ("/home/ada/a//b/", "a/b"),
    ],
)
def test_a_path_as_it_is_below_the_home(path: str, below: str) -> None:
    assert inside("/home/ada", path) == below


@pytest.mark.parametrize("path", ["..", "/", "/home", "/home/adam", "~/..", "a/../../eve"])
def test_a_path_elsewhere(path: str) -> None:
    with pytest.raises(InvalidInput):
        inside("/home/ada", path)


async def test_one_restore_a_person_at_a_time(world: ApiWorld) -> None:
    me = world.me()
    world.sync.hold = asyncio.Event()
    first = asyncio.create_task(me.ask("POST", "/v1/home/restore", {"path": "a"}))
    async with asyncio.timeout(5):
        while not world.sync.asked:
            await asyncio.sleep(0.001)
    refused = await me.ask("POST", "/v1/home/restore", {"path": "b"})
    assert (refused.status, refused.code) == (409, "restoring")
    world.sync.hold.set()
    assert (await first).status == 200
    assert (await me.ask("POST", "/v1/home/restore", {"path": "b"})).status == 200


async def test_who_waits_for_others_restores_is_told_and_comes_in_their_order() -> None:
    line, told, ends = Line(2), list[tuple[int, int]](), [asyncio.Event() for _ in range(4)]
    begun: list[int] = []

    async def restore(uid: int) -> None:
        async def tell(others: int) -> None:
            told.append((uid, others))

        async with line.turn(uid, tell):
            begun.append(uid)
            await ends[uid].wait()

    tasks = [asyncio.create_task(restore(uid)) for uid in range(4)]
    await until(lambda: told == [(2, 1), (3, 2)])
    with pytest.raises(Conflict):
        await restore(3)
    assert begun == [0, 1]
    ends[1].set()
    await until(lambda: begun == [0, 1, 2])
    assert (3, 1) in told
    tasks[0].cancel()
    await until(lambda: begun == [0, 1, 2, 3])
    for event in ends:
        event.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await restore(2)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not so():
            await asyncio.sleep(0.001)
