"""nbctl admin storage, down to the key and the store: what an admin sees, what only root may do, that homes open before and after a rotation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nbd import wire
from nbd.api.routes import Ask, Who
from nbd.api.server import Server, listening_socket
from nbd.api.storage import StorageRoutes, StoreWindow
from nbd.config import HomeSettings
from nbd.errors import Refused
from nbd.host.vaults import Opened, open_vault
from nbd.people.model import Person
from tests.fakes.nbctl_runner import Nbctl, Ran

ROOT, ADMIN = Person("root", 0, 0, "/root", admin=True), Person("eva", 1001, 1001, "/home/eva", admin=True)
ADA = Person("ada", 1000, 1000, "/home/ada")


@dataclass
class Box:
    folder: Path
    opened: Opened
    who: Person = ROOT
    servers: list[Server] = field(default_factory=list)

    async def ask(self, path: str, body: object, seconds: float = 30.0) -> Any:
        """As core's line to sync, without the line."""
        opened = self.opened
        window = StoreWindow(opened.vault.where, opened.shelf, opened.rotation, opened.stores.counts)
        handler = next(route.handler for route in window.routes() if route.path == f"/v1/homes/{path}")
        assert handler
        return wire.dump(await handler(Ask(ROOT)))

    async def identify(self, uid: int, token: str | None, who: Who) -> Person:
        if who is Who.ADMIN and not self.who.admin:
            raise Refused("only an admin may do this")
        return self.who

    async def nbctl(self, *argv: str) -> Ran:
        return await asyncio.to_thread(Nbctl(self.folder / "nbd.sock"), "admin", "storage", *argv)

    async def listen(self, store: str | None) -> None:
        (self.folder / "nbd.sock").unlink(missing_ok=True)
        self.servers.append(Server(StorageRoutes(self, store).routes(), self.identify))
        await self.servers[-1].listen(listening_socket(self.folder / "nbd.sock", None, 0o600))


@pytest.fixture
async def box(short_path: Path) -> AsyncIterator[Box]:
    made = Box(short_path, open_vault(HomeSettings(), short_path))
    async with AsyncExitStack() as stack:
        await made.listen(None)
        yield made
        for server in made.servers:
            stack.push_async_callback(server.close)


async def test_status_tells_where_and_how_much(box: Box) -> None:
    await box.opened.vault.open("ada")
    said = await box.nbctl("status")
    assert said.code == 0
    assert f"{box.folder}/store" in said.out
    assert f"{box.folder}/master.key  (its name: {box.opened.shelf.facts().name})" in said.out
    assert "create" in said.out
    found = (await box.nbctl("status", "--json")).json
    assert {one["kind"]: one["requests"] for one in found["traffic"]}["replace"] == 2
    assert (box.folder / "master.key").read_text().strip() not in said.out + json.dumps(found)


async def test_a_new_master_key(box: Box) -> None:
    for person in ("ada", "bob"):
        await box.opened.vault.open(person)
    before = box.opened.shelf.facts().name
    said = await box.nbctl("rotate-key")
    after = box.opened.shelf.facts().name
    assert (said.code, before == after) == (0, False)
    assert f"2 homes are under the new master key {after}" in said.out
    assert "PUT A COPY" in said.out
    box.opened = open_vault(HomeSettings(), box.folder)
    assert await box.opened.vault.find("ada") is not None
    assert not (await box.nbctl("status", "--json")).json["rotating"]


async def test_one_that_cannot_be_reached_is_said_and_done_by_saying_it_again(box: Box) -> None:
    for person in ("ada", "bob"):
        await box.opened.vault.open(person)
    config = box.folder / "store" / "bob" / "config"
    good = [path.read_bytes() for path in (config, config.with_name("config.copy"))]
    for path in (config, config.with_name("config.copy")):
        path.write_bytes(b"{}")
    said = await box.nbctl("rotate-key")
    assert said.code == 1
    assert "1 home" in said.out
    assert "not yet: bob: the config object of the home is not what was stored" in said.err
    assert "begun and not ended" in (await box.nbctl("status")).out
    config.write_bytes(good[0])
    box.opened = open_vault(HomeSettings(), box.folder)
    assert await box.opened.vault.find("bob") is not None, "the former key opens it still"
    said = await box.nbctl("rotate-key", "--json")
    assert (said.code, said.json["homes"], said.json["failed"]) == (0, 2, [])


@pytest.mark.parametrize("person", [ADMIN, ADA, replace(ADMIN, uid=0, admin=False)])
async def test_only_root_replaces_the_key(box: Box, person: Person) -> None:
    before, box.who = box.opened.shelf.facts(), person
    assert (await box.nbctl("rotate-key")).code == 3
    assert box.opened.shelf.facts() == before
    assert (await box.nbctl("status")).code == (0 if person.admin else 3)


async def test_roots_browser_does_not_replace_the_key(box: Box) -> None:
    with pytest.raises(Refused):
        await StorageRoutes(box, None).rotate(Ask(ROOT, token="a-browser's"))


async def test_policies(box: Box) -> None:
    said = await box.nbctl("policy", "--user", "ada")
    assert (said.code, "kept in a folder" in said.err) == (1, True)
    await box.listen("s3://homes/lab")
    document = (await box.nbctl("policy", "--user", "ada", "--document")).json
    assert document["Statement"][0]["Resource"] == ["arn:aws:s3:::homes/lab/ada/*"]
    said = await box.nbctl("policy")
    assert "nbd sync  s3://homes/lab" in said.out
    assert "aws iam put-user-policy" in said.out
    assert "nbctl admin storage policy --document > policy.json" in said.out
    await box.listen("az://nbd-{user}")
    found = (await box.nbctl("policy", "--user", "ada", "--json")).json
    assert (found["whose"], found["place"], found["document"]) == ("ada", "az://nbd-ada", "")
