"""The streams of core's API: the present first, then each change in order; who reads slowly or goes away harms nobody."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbd.errors import HostUnfit
from nbd.feed import LIMIT
from nbd.notebooks.model import Failure, Notebook
from nbd.notebooks.roster import Change

from .api_world import ApiWorld, Opened, api_world, valid


@pytest.fixture
async def world(short_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(short_path, door_uid=os.geteuid()) as world:
        yield world


async def until_event(stream: Opened, kind: str) -> list[Any]:
    """What comes up to and with the first event of a kind."""
    found: list[Any] = []
    while True:
        name, data = await stream.event()
        assert name or data is not None, f"the stream ended before {kind}: {found}"
        found.append((name, data))
        if kind in (name, (data or {}).get("kind")):
            return found


async def test_events_are_the_present_then_the_changes_in_order_then_gone(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    await world.house.start("hers", owner="eve")
    stream = await me.open("GET", "/v1/events")
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    first = await until_event(stream, "synced")
    assert [(kind, data.get("id"), data.get("state")) for kind, data in first] == [("notebook", row.id, "RUNNING"), ("synced", None, None)]
    await me.ask("POST", f"/v1/notebooks/{row.id}/stop")
    await world.house.manager.settled(row.id)
    await me.ask("DELETE", f"/v1/notebooks/{row.id}")
    changes = await until_event(stream, "gone")
    states = [data["state"] for kind, data in changes if kind == "notebook"]
    assert list(dict.fromkeys(states)) == ["RUNNING", "STOPPING", "STOPPED", "DELETING"]
    assert changes[-1] == ("gone", {"id": row.id})
    assert {data["owner"] for kind, data in changes[:-1]} == {"ada"}, "another person's notebook is in it"
    answers = (await me.ask("GET", "/v1/openapi.json")).json["paths"]["/v1/events"]["get"]["responses"]["2XX"]
    schema = answers["content"]["text/event-stream"]["schema"]
    assert [problem for kind, data in changes[:-1] for problem in valid(schema, data)] == []
    stream.hang_up()


async def test_nothing_is_missed_between_the_present_and_the_changes(world: ApiWorld) -> None:
    """Notebooks come and go while streams are opened: each stream, folded, is the truth at its end."""
    me = world.me()
    streams = []
    for number in range(8):
        opening = asyncio.create_task(me.open("GET", "/v1/events"))
        await world.house.start(f"n{number}")
        streams.append(await opening)
    for row in world.house.roster.all():
        await world.house.manager.settled(row.id)
    last = await world.house.start("last")
    await world.house.manager.settled(last.id)
    for stream in streams:
        told: dict[str, str] = {}
        while told.get("last") != "RUNNING":
            kind, data = await stream.event()
            assert kind, "the stream ended"
            told |= {data["name"]: data["state"]} if kind == "notebook" else {}
        assert told == {row.name: "RUNNING" for row in world.house.roster.all()}
        stream.hang_up()


async def test_a_reader_that_does_not_read_is_cut_off_and_harms_nobody(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    slow, well = await me.open("GET", "/v1/events"), await me.open("GET", "/v1/events")
    await until_event(well, "synced")
    for number in range(0, 4 * LIMIT, 200):
        for each in range(200):
            world.house.roster.changes.publish(Change(replace(row, run=number + each, profile="p" * 200)))
        for each in range(200):
            _, data = await well.event()
            assert data["run"] == number + each
    heard = [data for kind, data in [await slow.event() for _ in range(2)] if kind == "notebook"]
    assert heard[0]["state"] == "RUNNING"
    count = 0
    while (await slow.event())[0]:
        count += 1
    assert count < 4 * LIMIT, "nobody was cut off: all of it was kept for who does not read"
    again = await me.open("GET", "/v1/events")
    assert [data.get("state") for _, data in await until_event(again, "synced")] == ["RUNNING", None]
    for stream in (slow, well, again):
        stream.hang_up()


@pytest.mark.parametrize("removed", [False, True], ids=["stopped", "removed"])
async def test_a_log_that_is_followed_ends_with_the_notebook(world: ApiWorld, *, removed: bool) -> None:
    me, row = world.me(), await world.house.up()
    stream = await me.open("GET", f"/v1/notebooks/{row.id}/logs?follow=1")
    assert await stream.reader.readline() == b"its last words\n"
    await (world.house.manager.delete(row.id) if removed else world.house.manager.stop(row.id, "user"))
    async with asyncio.timeout(10):
        assert await stream.reader.read() == b""
    stream.hang_up()


async def test_what_an_editor_wrote_is_not_told_to_an_admin(world: ApiWorld) -> None:
    row = await world.house.up()
    failure = Failure("editor_exited", "the editor ended with exit code 1", "", ("secret = 42",))
    await world.house.manager.stop(row.id, "user")
    await world.house.manager.settled(row.id)
    await world.house.roster.change(row.id, failure=failure)
    assert b"secret" in (await world.me("ada").ask("GET", f"/v1/notebooks/{row.id}")).body
    admin = world.me("root", admin=True)
    for method, path in (("GET", "?all=1"), ("GET", f"/{row.id}"), ("POST", f"/{row.id}/stop"), ("DELETE", f"/{row.id}")):
        reply = await admin.ask(method, f"/v1/notebooks{path}")
        assert reply.status == 200
        assert b"exit code 1" in reply.body
        assert b"secret" not in reply.body, (method, path)


async def test_a_reader_that_goes_away_leaves_nothing(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    for path in ("/v1/events", f"/v1/notebooks/{row.id}/logs?follow=1", "/v1/door/events"):
        for _ in range(5):
            (await me.open("GET", path)).hang_up()
    await world.house.manager.stop(row.id, "user")
    await world.house.manager.settled(row.id)
    async with asyncio.timeout(10):
        while world.house.roster.changes._readers:
            world.house.roster.changes.publish(Change(world.house.roster.get(row.id)))
            await asyncio.sleep(0.001)


async def test_the_doors_table_then_its_changes(world: ApiWorld) -> None:
    me, row = world.me("root", admin=True), await world.house.up()
    waiting = await world.house.manager.stop((await world.house.up("second")).id, "user")
    await world.house.manager.settled(waiting.id)
    token = await world.token("ada")
    stream = await me.open("GET", "/v1/door/events")
    table = [data for _, data in await until_event(stream, "synced")]
    assert [event["kind"] for event in table] == ["sign_in", "notebook", "notebook", "synced"]
    assert (table[0]["sign_in"]["person"]["name"], table[0]["sign_in"]["notebook"]) == ("ada", None)
    assert token not in json.dumps(table), "the token itself stays in the browser"
    assert {event["notebook"]["name"]: event["socket"] for event in table[1:3]} == {"main": f"/run/{row.id}/editor.sock", "second": None}
    uids = {event["notebook"]["name"]: event["owner_uid"] for event in table[1:3]}
    assert uids == {"main": 65001, "second": None}, "as whom it listens, while it listens"

    inside = await world.token("ada", row.id)
    (_, event) = (await until_event(stream, "sign_in"))[-1]
    assert event["sign_in"]["notebook"] == row.id
    assert inside not in json.dumps(event)
    assert (await me.ask("POST", "/v1/logout", headers={"Authorization": f"Bearer {token}"})).status == 200
    ended = [data["key"] for _ in range(2) for _, data in await until_event(stream, "sign_out")]
    assert sorted(ended) == sorted([table[0]["key"], event["key"]]), "signing out ends the rights on every origin"

    await world.house.manager.delete(row.id)
    events = [data for _, data in await until_event(stream, "notebook_gone")]
    on_its_way = [data for data in events[:-1] if data["notebook"]["state"] != "RUNNING"]
    assert on_its_way
    assert all(data["socket"] is None for data in on_its_way)
    stream.hang_up()


async def test_the_socket_is_told_only_while_the_notebook_runs(world: ApiWorld) -> None:
    stream = await world.me("root", admin=True).open("GET", "/v1/door/events")
    await until_event(stream, "synced")
    row = await world.house.up()
    await world.house.manager.stop(row.id, "user")
    await world.house.manager.settled(row.id)
    seen: list[tuple[str, bool]] = []
    while not seen or seen[-1][0] != "STOPPED" or ("RUNNING", True) not in seen:
        _, data = await stream.event()
        seen.append((data["notebook"]["state"], data["socket"] is not None))
    assert {state for state, told in seen if told} == {"RUNNING"}
    stream.hang_up()


async def test_logs_come_line_by_line(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    reply = await me.ask("GET", f"/v1/notebooks/{row.id}/logs")
    assert (reply.body, reply.headers["content-type"]) == (b"its last words\n", "text/plain; charset=utf-8")


async def test_a_build_tells_its_progress_and_its_trouble(world: ApiWorld) -> None:
    me = world.me(admin=True)
    lines = [json.loads(line) for line in (await me.ask("POST", "/v1/images/jupyter/build")).body.splitlines()]
    assert lines[-1] == {"done": True}
    assert len(lines) > 1
    assert (await me.ask("POST", "/v1/images/jupyter/build?base=moon")).status == 400
    reply = await me.ask("POST", "/v1/images/nosuch/build")
    assert (reply.status, reply.code) == (400, "unknown_image")


async def test_trouble_in_the_middle_is_the_last_line(world: ApiWorld) -> None:
    """The head is out with 200 by then: whoever reads the stream must look at its last line."""
    world.images.trouble = HostUnfit("no space is left", code="disk_full")
    reply = await world.me(admin=True).ask("POST", "/v1/images/jupyter/build")
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert reply.status == 200
    assert lines[-1]["error"]["code"] == "disk_full"
    assert all("error" not in line for line in lines[:-1])


async def test_the_end_of_core_ends_every_stream(short_path: Path) -> None:
    async with api_world(short_path, door_uid=os.geteuid()) as world:
        me, row = world.me(), await world.house.up()
        streams = [await me.open("GET", path) for path in ("/v1/events", "/v1/door/events") for _ in range(5)]
        for _ in range(3):
            world.house.roster.changes.publish(Change(row))
    for stream in streams:
        while (await stream.event())[1] is not None:
            continue
        stream.hang_up()


async def test_the_end_of_core_does_not_wait_for_who_does_not_read(short_path: Path) -> None:
    async with api_world(short_path, door_uid=os.geteuid()) as world:
        me, row = world.me(), await world.house.up()
        big: Notebook = replace(row, profile="p" * 2000)
        deaf = [await me.open("GET", "/v1/events") for _ in range(3)]
        for _ in range(LIMIT - 1):
            world.house.roster.changes.publish(Change(big))
        async with asyncio.timeout(10):
            await world.close()
    for stream in deaf:
        stream.hang_up()
