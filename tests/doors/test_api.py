"""Core's API over its real socket: who may what, by the kernel's word alone; and what it makes of every kind of nonsense."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nbd.api.routes import Who
from nbd.api.server import BODY_BYTES, listening_socket
from nbd.errors import HostUnfit, StateUnusable
from nbd.notebooks.model import State
from tests.services.household import Household

from .api_world import UIDS, ApiWorld, Caller, api_world, valid

CALLERS = ("ada", "eve", "boss", "door", "nobody")
EVERYBODY, OWN, ADMINS, DOORS = (200, 200, 200, 401, 401), (200, 404, 200, 401, 401), (403, 403, 200, 401, 401), (403, 403, 403, 200, 403)
INSIDE = (200, 404, 404, 401, 401)
"""An admin may see and end what is not theirs, and never enter it."""
POLICY: dict[str, tuple[int, ...]] = {
    "GET /v1/notebooks": EVERYBODY,
    "POST /v1/notebooks": (201, 201, 201, 401, 401),
    "GET /v1/notebooks/{name}": OWN,
    "DELETE /v1/notebooks/{name}": OWN,
    "POST /v1/notebooks/{name}/stop": OWN,
    "POST /v1/notebooks/{name}/open": INSIDE,
    "GET /v1/notebooks/{name}/runs": OWN,
    "GET /v1/notebooks/{name}/logs": INSIDE,
    "GET /v1/events": EVERYBODY,
    "GET /v1/status": EVERYBODY,
    "GET /v1/gpus": EVERYBODY,
    "POST /v1/gpus/{uuid}/release": ADMINS,
    "GET /v1/profiles": EVERYBODY,
    "GET /v1/profiles/{name}": EVERYBODY,
    "GET /v1/images": EVERYBODY,
    "POST /v1/images/{name}/build": ADMINS,
    "POST /v1/images/{name}/check": ADMINS,
    "POST /v1/login": EVERYBODY,
    "POST /v1/logout": EVERYBODY,
    "POST /v1/door/redeem": DOORS,
    "GET /v1/door/events": DOORS,
    "GET /v1/home": EVERYBODY,
    "GET /v1/home/snapshots": EVERYBODY,
    "GET /v1/home/ls": EVERYBODY,
    "GET /v1/home/text": EVERYBODY,
    "GET /v1/home/versions": EVERYBODY,
    "GET /v1/home/usage": EVERYBODY,
    "GET /v1/home/losses": EVERYBODY,
    "GET /v1/home/diff": EVERYBODY,
    "POST /v1/home/restore": EVERYBODY,
    "POST /v1/home/verify": EVERYBODY,
    "POST /v1/home/confirm": EVERYBODY,
    "POST /v1/home/prune": EVERYBODY,
    "GET /metrics": EVERYBODY,
    "POST /v1/home/forget": EVERYBODY,
    "GET /v1/home/attached": EVERYBODY,
    "POST /v1/home/bucket-keys": EVERYBODY,
    "POST /v1/home/attached/{id}/confirm": EVERYBODY,
    "DELETE /v1/home/attached/{id}": EVERYBODY,
    "GET /v1/openapi.json": EVERYBODY,
    "GET /v1/notebooks/{name}/why": OWN,
    "PATCH /v1/notebooks/{name}/idle": INSIDE,
    "GET /v1/notebooks/{name}/idle/history": OWN,
    "DELETE /v1/notebooks/{name}/keep": OWN,
    **{f"POST /v1/notebooks/{{name}}/{verb}": OWN for verb in ("keep", "idle/replay", "park", "unpark", "freeze", "thaw")},
    **{f"POST /v1/door/{what}": DOORS for what in ("traffic", "keep", "woken")},
}
"""Ada owns the notebook, Eve is a stranger to it, Boss an admin, then the web program, then a uid without an account."""
SENT: dict[str, object] = {
    "POST /v1/notebooks": {"name": "fresh"},
    "POST /v1/home/forget": {"snapshot": "ab"},
    "POST /v1/home/bucket-keys": {"url": "s3://lab/x", "options": {}},
    "POST /v1/notebooks/{name}/keep": {"seconds": 600},
    "PATCH /v1/notebooks/{name}/idle": {"settings": {"park_after": "10min"}},
    "POST /v1/notebooks/{name}/idle/replay": {"policy": ""},
    "POST /v1/door/traffic": {"door": "a1"},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture
async def world(short_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(short_path) as world:
        yield world


def routes_of(world: ApiWorld) -> set[str]:
    return {f"{route.method} {route.path}" for route in world.routes} | {"GET /v1/openapi.json"}


def test_the_policy_is_of_every_route(short_path: Path) -> None:
    world = ApiWorld(short_path, Household(), 990)
    assert routes_of(world) == set(POLICY)
    for route in world.routes:
        refused = POLICY[f"{route.method} {route.path}"][:2] == (403, 403)
        assert refused == (route.who is not Who.PERSON)


def part_of(path: str) -> str:
    """What of the box it is about."""
    return [*path.split("/"), ""][2]


async def status_of(caller: Caller, route: str, world: ApiWorld, notebook: str, token: str | None = None) -> int:
    method, path = route.split(" ")
    args = {"name": {"notebooks": notebook, "images": "jupyter", "profiles": "cpu"}.get(part_of(path), ""), "uuid": "GPU-b", "id": "ab"}
    body = SENT.get(route)
    if path.endswith("redeem"):
        body = {"ticket": world.register.give_ticket(world.accounts.people[UIDS["ada"]], None)[0]}
    if route in ("POST /v1/door/keep", "POST /v1/door/woken"):
        body = {"token": await world.token("ada", notebook), "seconds": 600}
    await world.house.leases.quarantine("GPU-b", "it was lost")
    opened = await caller.open(method, path.format(**args), body, {"Authorization": f"Bearer {token}"} if token else None)
    if opened.status >= 400:
        assert b'{"error":{"code":' in await opened.reader.read()
    opened.hang_up()
    return opened.status


@pytest.mark.real
@pytest.mark.parametrize("who", CALLERS)
async def test_each_route_for_each_caller(short_path: Path, who: str) -> None:
    found = {}
    for route in POLICY:
        async with api_world(short_path) as world:
            row = await world.house.up()
            found[route] = await status_of(world.by(who), route, world, row.id)
    assert found == {route: statuses[CALLERS.index(who)] for route, statuses in POLICY.items()}


@pytest.mark.real
async def test_a_token_makes_the_door_a_person_and_nobody_else(short_path: Path) -> None:
    found: dict[str, set[tuple[str, int]]] = {}
    for route in POLICY:
        async with api_world(short_path) as world:
            row = await world.house.up()
            tokens = {"ada": await world.token("ada"), "eve": await world.token("eve"), "boss": await world.token("boss")}
            found[route] = set()
            for name in ("eve", "boss", "ada"):
                found[route].add((name, await status_of(world.by("door"), route, world, row.id, tokens[name])))
            for thief in ("eve", "boss", "nobody"):
                found[route].add((thief + " with it", await status_of(world.by(thief), route, world, row.id, tokens["ada"])))
            for bad in (await world.token("ada", row.id), "made-up", "x" * 5000):
                found[route].add(("bad", await status_of(world.by("door"), route, world, row.id, bad)))
    for route, statuses in POLICY.items():
        door = statuses is DOORS
        as_door = {("bad", 200 if door else 401)}
        people = {(name, 200 if door else statuses[CALLERS.index(name)]) for name in ("ada", "eve", "boss")}
        if route == "POST /v1/notebooks/{name}/stop" or route.startswith("DELETE"):
            assert ("ada", 200) in found[route]
        assert found[route] == people | as_door | {(f"{thief} with it", 403) for thief in ("eve", "boss", "nobody")}, route


@pytest.mark.real
async def test_no_header_and_no_field_makes_a_caller_somebody_else(world: ApiWorld) -> None:
    await world.house.up()
    eve = world.by("eve")
    lies = {"X-Remote-User": "ada", "X-Forwarded-User": "ada", "Remote-User": "ada", "X-Nbd-Uid": "65001", "Cookie": "user=ada", "From": "ada"}
    assert (await eve.ask("GET", "/v1/status", headers=lies)).json["person"]["name"] == "eve"
    assert (await eve.ask("GET", "/v1/notebooks?all=1", headers=lies)).json == []
    for basic in ("Basic YWRhOng=", "Bearer", "Bearer a b", "bearer x", "Negotiate ada"):
        assert (await eve.ask("GET", "/v1/status", headers={"Authorization": basic})).json["person"]["name"] == "eve"
    for field in ("owner", "user", "uid", "person"):
        assert (await eve.ask("POST", "/v1/notebooks", {"name": "x", field: "ada"})).code == "invalid_input"
        assert (await eve.ask("GET", f"/v1/notebooks?{field}=ada")).code == "invalid_input"
    assert (await eve.ask("POST", "/v1/notebooks", {"name": "main"})).json["owner"] == "eve"
    assert [row.owner for row in world.house.roster.all()] == ["ada", "eve"]


@pytest.mark.real
@pytest.mark.parametrize(("unshare", "name"), [((), "ada"), (("unshare", "--user", "--map-root-user"), "")])
async def test_another_process_is_who_the_kernel_says(world: ApiWorld, unshare: tuple[str, ...], name: str) -> None:
    """An ordinary process of Ada's; and root of a namespace of its own, who is our root by number and nobody here."""
    script = """
        import socket, sys
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(sys.argv[1])
        sock.sendall(b"GET /v1/status HTTP/1.0\\r\\n\\r\\n")
        while data := sock.recv(65536):
            sys.stdout.write(data.decode())
    """
    world.me("root")
    uid = None if unshare else UIDS["ada"]
    argv = (*unshare, getattr(sys, "_base_executable", sys.executable), "-c", textwrap.dedent(script), str(world.socket))
    done = await asyncio.to_thread(
        subprocess.run, argv, user=uid, group=uid, extra_groups=None if unshare else [], cwd="/", capture_output=True, text=True, check=True
    )
    assert f'"name":"{name}"' in done.stdout if name else " 403 " in done.stdout.splitlines()[0]


async def test_a_socket_without_credentials_gets_nothing(short_path: Path) -> None:
    world = ApiWorld(short_path, Household(), 990)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        await world.server.listen(listening)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET /v1/status HTTP/1.0\r\n\r\n")
        assert b" 403 " in (await reader.read()).split(b"\r\n")[0]
        writer.close()
        await world.close()


async def test_an_account_that_went_is_nobody(world: ApiWorld) -> None:
    me = world.me()
    assert (await me.ask("GET", "/v1/status")).status == 200
    del world.accounts.people[me.uid]
    assert (await me.ask("GET", "/v1/status")).code == "not_signed_in"


async def test_what_is_not_yours_looks_as_if_it_were_not_there(world: ApiWorld) -> None:
    row = await world.house.up()
    eve = world.me("eve")
    doings = (("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("POST", "/open"), ("GET", "/runs"), ("GET", "/logs"), ("GET", "/logs?follow=1"))
    asked = [(method, f"/v1/notebooks/{name}{rest}") for name in (row.id, "main", "ada%2Fmain") for method, rest in doings]
    there = [await eve.ask(method, path) for method, path in asked]
    assert {reply.status for reply in there} == {404}
    assert world.house.roster.get(row.id).state is State.RUNNING
    await world.house.manager.delete(row.id)
    await world.house.until(lambda: not world.house.roster.all())
    assert [(reply.status, reply.body) for reply in there] == [(reply.status, reply.body) for reply in [await eve.ask(*each) for each in asked]]


@pytest.mark.parametrize("path", sorted({route.split(" ")[1] for route in POLICY}))
async def test_other_methods_do_not_exist(world: ApiWorld, path: str) -> None:
    me = world.me(admin=True)
    for method in METHODS:
        if f"{method} {path}" not in POLICY:
            reply = await me.ask(method, re.sub(r"{\w+}", "x", path))
            assert reply.status == 404
            assert method == "HEAD" or reply.json["error"]["hint"] == "see: /v1/openapi.json"


BODIES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b'{"name": ', "not JSON"),
    "not UTF-8": (b'{"name": "\xff\xfe"}', "not JSON"),
    "a list": (b"[]", "must be an object"),
    "null": (b"null", "must be an object"),
    "a number": (b"7", "must be an object"),
    "a typo": (b'{"nmae": "x"}', "did you mean 'name'?"),
    "a strange field": (b'{"zzzzzz": 1}', "known: name, profile"),
    "a wrong type": (b'{"name": 7}', "name must be a string"),
    "a number that is a truth": (b'{"gpus": true}', "gpus must be a integer"),
    "half a card": (b'{"gpus": 0.5}', "gpus must be a integer"),
    "no name": (b'{"name": null}', "name must be a string"),
    "deep": (b"[" * 30_000 + b"]" * 30_000, "not JSON"),
    "deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "not JSON"),
    "a number without end": (b'{"gpus": ' + b"9" * 5000 + b"}", "not JSON"),
    "too large": (b'{"name": "' + b"x" * (1 << 20) + b'"}', "Too Large"),
    "larger than the limit by a little": (b" " * BODY_BYTES + b"{}", "Too Large"),
}


@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=list(BODIES))
async def test_a_body_that_is_nonsense(world: ApiWorld, body: bytes, words: str) -> None:
    reply = await world.me().ask("POST", "/v1/notebooks", body)
    assert (reply.status, reply.code) == (400, "invalid_input")
    error = reply.json["error"]
    assert words in error["message"] + error["hint"]
    assert len(error["message"]) < 300
    assert world.house.roster.all() == ()


NAMES = ("", ".", "..", "../../etc", "a/b", "/", "-x", "x-", "A", "ä", "x" * 41, "x" * 300, "a b",
         "a\x00b", "a\nb", "a\x1b[31m", "\ud800", "%2e%2e", "a;b", "<b>")  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
async def test_a_name_that_is_nonsense_makes_nothing(world: ApiWorld, name: str) -> None:
    reply = await world.me().ask("POST", "/v1/notebooks", {"name": name})
    assert (reply.status, reply.code) == (400, "bad_name")
    assert not re.search(r"[\x00-\x1f\x7f]", reply.json["error"]["message"])
    assert len(reply.json["error"]["message"]) < 300
    assert world.house.roster.all() == ()


PATHS = ("%2F..%2F", "..%2f..%2fetc%2fpasswd", "%00", "a%0ab", "x" * 300, "%1b[31m", "%ff",
         "ada%2F", "%2Fmain", "ada%2Fmain%2Fx", "%252F", "%F0%9F%A6%89")  # fmt: skip
FINDING = ("GET /v1/notebooks/{name}", "POST /v1/notebooks/{name}/stop", "GET /v1/profiles/{name}", "POST /v1/gpus/{name}/release")


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("route", FINDING)
async def test_a_path_that_is_nonsense_finds_nothing(world: ApiWorld, route: str, name: str) -> None:
    row = await world.house.up()
    method, path = route.split(" ")
    reply = await world.me(admin=True).ask(method, path.format(name=name))
    assert (reply.status, reply.code) == (404, "not_found")
    assert len(reply.json["error"]["message"]) < 400
    assert world.house.roster.get(row.id).state is State.RUNNING


@pytest.mark.parametrize(
    ("body", "code"),
    [({"profile": "nosuch"}, "unknown_profile"), ({"profile": "../cpu"}, "unknown_profile"), ({"profile": "gpu", "gpus": 9}, "no_capacity"),
     ({"profile": "gpu", "gpus": -1}, ""), ({"profile": "gpu", "gpus": 10**300}, ""), ({"editor": "nosuch"}, "unknown_editor"),
     ({"editor": ""}, "unknown_editor")],
)  # fmt: skip
async def test_a_start_that_cannot_be(world: ApiWorld, body: dict[str, Any], code: str) -> None:
    reply = await world.me().ask("POST", "/v1/notebooks", body)
    assert 400 <= reply.status < 500, reply.body
    assert not code or reply.code == code
    assert world.house.roster.all() == ()


async def test_queries_are_checked(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    assert (await me.ask("GET", "/v1/notebooks?al=1")).json["error"]["hint"] == "known: all"
    for lines in ("-1", "x", "10001", "1e3", "", "%C2%B2", "9" * 5000):
        reply = await me.ask("GET", f"/v1/notebooks/{row.id}/logs?lines={lines}")
        assert (reply.status, reply.code) == (400, "invalid_input"), lines
    assert (await me.ask("GET", f"/v1/notebooks/{row.id}/logs?lines=0")).status == 200


async def test_ten_equal_starts_at_once_make_one(world: ApiWorld) -> None:
    me = world.me()
    replies = await asyncio.gather(*(me.ask("POST", "/v1/notebooks", {"name": "main"}) for _ in range(10)))
    assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
    (row,) = world.house.roster.all()
    assert {reply.json["id"] for reply in replies} == {row.id}
    await world.house.manager.settled(row.id)
    assert len(world.house.machine.boxes) == 1


async def test_a_full_disk_refuses_a_start_and_keeps_the_rest(world: ApiWorld) -> None:
    me, row = world.me(), await world.house.up()
    world.house.store.trouble = HostUnfit("no space is left for the state", code="disk_full", hint="make room")
    reply = await me.ask("POST", "/v1/notebooks", {"name": "second"})
    assert (reply.status, reply.code, reply.json["error"]["hint"]) == (503, "disk_full", "make room")
    assert (await me.ask("POST", f"/v1/notebooks/{row.id}/stop")).code == "disk_full"
    assert [shown["state"] for shown in (await me.ask("GET", "/v1/notebooks")).json] == ["RUNNING"]
    world.house.store.trouble = None
    assert (await me.ask("POST", "/v1/notebooks", {"name": "second"})).status == 201


async def test_a_defect_is_a_sentence_and_the_journals(world: ApiWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.broken = ZeroDivisionError("the secret of the house")
    reply = await world.me().ask("GET", "/v1/status")
    assert (reply.status, reply.code) == (500, "internal")
    assert b"secret" not in reply.body
    assert "the secret of the house" in caplog.text
    world.broken = None
    assert (await world.me().ask("GET", "/v1/status")).status == 200


async def test_the_document_is_the_routes_and_true_of_every_answer(world: ApiWorld) -> None:
    me, row = world.me(admin=True), await world.house.up("main", "gpu")
    await world.house.leases.quarantine("GPU-b", "it was lost")
    await world.house.manager.stop((await world.house.up("second")).id, "user")
    document = (await me.ask("GET", "/v1/openapi.json")).json
    listed = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert listed == routes_of(world)
    checked = 0
    for route in sorted(listed - {"GET /v1/openapi.json"}, key=lambda route: ("DELETE" in route, "release" in route, "/stop" in route)):
        method, path = route.split(" ")
        answers = document["paths"][path][method.lower()]["responses"]
        for name in (row.id, "no-such-thing"):
            kind = {"images": "jupyter", "profiles": "gpu"}.get(part_of(path), name) if name == row.id else name
            if path.endswith("events") or (path.endswith("check") and name != row.id):
                continue
            reply = await me.ask(method, path.format(name=kind, uuid="GPU-b", id="ab"), {"name": "third"} if path == "/v1/notebooks" else None)
            (kind_of_answer,) = answers["2XX" if reply.status < 300 else "default"]["content"].items()
            pieces = [reply.json] if kind_of_answer[0] == "application/json" else []
            assert [valid(kind_of_answer[1]["schema"], piece) for piece in pieces] in ([], [[]]), route
            checked += len(pieces)
    assert checked > 25


def test_the_validator_finds_what_is_wrong() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "required": ["a"]}
    assert valid(schema, {"a": 1, "b": None}) == []
    wrongs: list[object] = [{}, {"a": "1"}, {"a": True}, {"a": 1, "b": 2}, {"a": 1, "c": 2}, [], {"a": 1.5}]
    for wrong in wrongs:
        assert valid(schema, wrong), wrong


async def test_the_socket_is_closed_to_others_from_its_first_moment(short_path: Path) -> None:
    path = short_path / "nbd.sock"
    for _ in range(2):  # the second time a stale one is in the way
        with listening_socket(path, os.getegid(), 0o660) as sock:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    path.unlink()
    path.write_text("precious")
    with pytest.raises(StateUnusable):
        listening_socket(path, None, 0o660)
    assert path.read_text() == "precious"
