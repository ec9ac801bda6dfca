"""What happens to homes, through core's API: each person hears of their own, and an admin's figures name everybody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nbd.homemessages import HomeBrief, HomesBrief
from nbd.storemessages import TrafficView

from .api_world import ApiWorld, Caller, api_world
from .test_api_streams import until_event


@pytest.fixture
async def world(short_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(short_path) as world:
        yield world


async def test_ones_own_home_is_told_of_beside_the_notebooks(world: ApiWorld) -> None:
    stream = await world.me().open("GET", "/v1/events")
    await until_event(stream, "synced")
    world.house.machine.briefs = {"ada": HomeBrief("ada", trouble="the store is away"), "eve": HomeBrief("eve", trouble="hers")}
    await world.house.manager.reconcile()
    world.house.machine.briefs["ada"] = HomeBrief("ada", brought="ab" * 32)
    await world.house.manager.reconcile()
    found = [data for kind, data in [*await until_event(stream, "trouble"), *await until_event(stream, "restored")] if kind == "home"]
    assert {event["person"] for event in found} == {"ada"}
    assert [event["kind"] for event in found] == ["trouble", "protected", "restored"]
    stream.hang_up()


async def test_what_a_stopped_notebook_waits_for_is_said_with_it(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    world.house.machine.briefs = {"ada": HomeBrief("ada", pending=("stop main run 1",), trouble="the store is away")}
    await world.house.manager.stop(row.id, "user")
    await world.house.manager.settled(row.id)
    shown = (await me.ask("GET", "/v1/notebooks/main")).json
    assert shown["sentence"] == "stopped by you; its home is not in the store yet: the store is away"
    assert shown["hint"].startswith("how it goes on: nbctl home status")
    stream = await me.open("GET", "/v1/events")
    await until_event(stream, "synced")
    world.house.machine.briefs["ada"] = HomeBrief("ada")
    await world.house.manager.reconcile()
    (_, told), *_ = [one for one in await until_event(stream, "notebook") if one[0] == "notebook"]
    assert told["sentence"] == "stopped by you"
    stream.hang_up()


async def figures(caller: Caller) -> dict[str, dict[str, float]]:
    """By family: by the value of its one label."""
    reply = await caller.ask("GET", "/metrics")
    assert reply.status == 200
    families = text_string_to_metric_families(reply.body.decode())
    return {family.name: {next(iter(sample.labels.values())): sample.value for sample in family.samples} for family in families}


@pytest.mark.real
async def test_figures_name_nobody_to_whom_they_are_nobodys_business(world: ApiWorld) -> None:
    briefs = (HomeBrief("ada", watched=True, protected=999_990.0, dropped=2), HomeBrief("eve", trouble="x", unsaved_bytes=7))
    world.house.news.take(HomesBrief(briefs, (TrafficView("create", 5, 1, 100, 0, 0.5),)))
    mine = await figures(world.by("ada"))
    assert mine["nbd_home_trouble"] == {"ada": 0.0}
    assert mine["nbd_home_protected_age_seconds"] == {"ada": world.house.now - 999_990.0}
    assert mine["nbd_homes"] == {"in use": 1, "in trouble": 1, "waiting for the store": 0, "damaged": 0}
    assert "nbd_store_requests" not in mine
    everybody = await figures(world.by("boss"))
    assert everybody["nbd_home_trouble"] == {"ada": 0.0, "eve": 1.0}
    assert everybody["nbd_home_unsaved_bytes"] == {"ada": 0.0, "eve": 7.0}
    assert everybody["nbd_home_dropped_snapshots"] == {"ada": 2.0, "eve": 0.0}
    assert everybody["nbd_store_requests"] == {"create": 5.0}
    assert (await world.by("nobody").ask("GET", "/metrics")).status == 401


@pytest.mark.real
async def test_who_may_prune_whose(world: ApiWorld) -> None:
    def asked() -> list[tuple[str, Any]]:
        return world.sync.asked

    me = world.by("ada")
    assert (await me.ask("POST", "/v1/home/prune", {"dry_run": True})).status == 200
    assert (asked()[-1][1].person, asked()[-1][1].dry_run) == ("ada", True)
    assert (await me.ask("POST", "/v1/home/prune", {"user": "ada"})).status == 200
    refused = await me.ask("POST", "/v1/home/prune", {"user": "eve"})
    assert (refused.status, refused.code) == (403, "refused")
    assert (await me.ask("POST", "/v1/home/forget", {"snapshot": "abcd"})).status == 200
    assert (asked()[-1][1].person, asked()[-1][1].snapshot) == ("ada", "abcd")
    assert (await me.ask("POST", "/v1/home/forget", {"snapshot": "abcd", "user": "eve"})).code == "invalid_input"
    boss = world.by("boss")
    assert (await boss.ask("POST", "/v1/home/prune", {"user": "eve"})).status == 200
    assert asked()[-1][1].person == "eve"


async def test_many_listen_and_nobody_holds_up_the_others(world: ApiWorld) -> None:
    streams = [await world.me().open("GET", "/v1/events") for _ in range(5)]
    for stream in streams:
        await until_event(stream, "synced")
    streams[0].hang_up()
    world.house.machine.briefs = {"ada": HomeBrief("ada", half=True)}
    await world.house.manager.reconcile()
    heard = await asyncio.gather(*(until_event(stream, "half") for stream in streams[1:]))
    assert {json.dumps(events[-1][1]) for events in heard} == {json.dumps(heard[0][-1][1])}
    for stream in streams[1:]:
        stream.hang_up()
