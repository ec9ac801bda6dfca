"""Attached data through core's API: always the asking person's own, keys pass through and nobody else names one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nbd.attachments import AttachedView
from nbd.messages import AttachRequest, StartRequest

from .api_world import ApiWorld, api_world

ID = "0123456789abcdef0123"


@pytest.fixture
async def world(short_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(short_path) as world:
        yield world


async def test_each_question_is_about_the_asking_person(world: ApiWorld) -> None:
    me = world.me()
    for method, path in (("GET", ""), ("POST", f"/{ID}/confirm"), ("DELETE", f"/{ID}")):
        assert (await me.ask(method, f"/v1/home/attached{path}")).status == 200
    assert [asked for asked in world.attached.asked if asked[0] != "views"] == [("confirm", "ada", ID), ("forget", "ada", ID)]
    assert {person for _, person, _ in world.attached.asked} == {"ada"}


async def test_it_says_where_each_is_seen_now(world: ApiWorld) -> None:
    attach = (AttachRequest("s3://lab/x", "/data", writable=True),)
    row, _ = await world.house.manager.start("ada", StartRequest("main", attach=attach))
    await world.house.manager.settled(row.id)
    (at,) = world.house.roster.get(row.id).attached
    world.attached.found = [
        AttachedView(ID, "s3://lab/y", False, True, False, "as it was at the last start", ""),  # noqa: FBT003 - fields of a message
        AttachedView(at.id, "s3://lab/x", True, False, True, "in step", ""),  # noqa: FBT003
    ]
    found = (await world.me().ask("GET", "/v1/home/attached")).json
    assert [(one["url"], one["places"]) for one in found] == [("s3://lab/x", ["main:/data"]), ("s3://lab/y", [])]
    assert world.attached.asked[-1] == ("views", "ada", frozenset({at.id}))
    shown = (await world.me().ask("GET", "/v1/notebooks/main")).json
    assert shown["attach"] == [{"url": "s3://lab/x", "path": "/data", "writable": True}]


async def test_keys_are_handed_on_checked_and_never_answered(world: ApiWorld) -> None:
    options = {"access_key_id": "AK", "secret_access_key": "very-secret"}
    reply = await world.me().ask("POST", "/v1/home/bucket-keys", {"url": "s3://lab/x/", "options": options})
    assert (reply.status, reply.json) == (200, {})
    assert world.attached.asked == [("entrust", "ada", ("s3://lab/x", options))]


@pytest.mark.parametrize(
    "body",
    [
        {"url": "s3://lab/x", "options": {"endpoint": "http://169.254.169.254"}}, {"url": "http://lab/x", "options": {}},
        {"url": "s3://lab/x", "options": {"access_key_id": "very-secret"}}, {"url": "s3://lab/x", "options": {}, "person": "eve"},
        {"url": "s3://lab/x", "options": {"access_key_id": "very secret", "secret_access_key": "very secret"}},
    ],
)  # fmt: skip
async def test_what_leads_elsewhere_goes_no_further(world: ApiWorld, body: dict[str, Any]) -> None:
    reply = await world.me().ask("POST", "/v1/home/bucket-keys", body)
    assert reply.status in (400, 403)
    assert b"very" not in reply.body
    assert world.attached.asked == []
