"""Core's API as it is served: the real Server, Gatekeeper and routes on a real unix socket, over a fake machine; and callers of any uid.

A caller's identity is the kernel's: a connection is made by a thread that has taken the caller's uid, which is what SO_PEERCRED then says.
Only root may take another's uid; without it everybody here has the tests' own.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbd import wire
from nbd.api.attached import AttachedRoutes
from nbd.api.door import DoorRoutes, Gatekeeper
from nbd.api.homecare import HomeCareRoutes
from nbd.api.homes import HomeRoutes
from nbd.api.idle import IdleRoutes
from nbd.api.machine import Health, MachineRoutes, Site
from nbd.api.metrics import MetricsRoutes
from nbd.api.notebooks import NotebookRoutes, Showcase
from nbd.api.routes import Route
from nbd.api.server import Server, listening_socket
from nbd.attachments import AttachedView
from nbd.core import openapi_route
from nbd.errors import InvalidInput, NbdError
from nbd.gpus.names import CardNames
from nbd.homemessages import PruneView
from nbd.homes.model import HomeRequest
from nbd.host.metrics import exposition
from nbd.messages import (
    CheckReport,
    DifferenceView,
    EntryView,
    GoneView,
    HomeView,
    LossView,
    RestoreRequest,
    RestoreView,
    RoomView,
    SnapshotView,
    TextView,
    UsageView,
    VerifyView,
    VersionView,
)
from nbd.notebooks.image import Base, ImageFacts, Said, Stage, Step
from nbd.notebooks.images import Images
from nbd.notebooks.model import Occupant
from nbd.notebooks.spec import HostLimits
from nbd.people.model import BrowserRight, Person
from nbd.people.register import Lifetimes, Register
from tests.fakes.idle_desk import FakeDesk
from tests.fakes.machine import FakeFolders, FakeLogs
from tests.services.household import GIB, IMAGE, PROFILES, Household

SETRESUID = {"x86_64": 117, "aarch64": 147}
PAGES = "http://nbd.localhost:8686/"
UIDS = {"ada": 65001, "eve": 65002, "boss": 65003, "door": 990, "nobody": 65534}
PEOPLE = {
    65001: Person("ada", 65001, 65001, "/home/ada"),
    65002: Person("eve", 65002, 65002, "/home/eve"),
    65003: Person("boss", 65003, 65003, "/home/boss", admin=True, groups=("nbd-admin",)),
    990: Person("nbd-web", 990, 990, "/nonexistent"),
}
KEEP = -1
WAIT_SECONDS = 10.0


class FakeAccounts:
    def __init__(self, people: Mapping[int, Person]) -> None:
        self.people = dict(people)

    async def by_uid(self, uid: int) -> Person | None:
        await asyncio.sleep(0)
        return self.people.get(uid)

    async def by_name(self, name: str) -> Person | None:
        return next((person for person in self.people.values() if person.name == name), None)


class MemoryRights:
    def __init__(self) -> None:
        self.rows: dict[str, BrowserRight] = {}

    async def rights(self) -> Sequence[BrowserRight]:
        return list(self.rows.values())

    async def add_right(self, right: BrowserRight) -> None:
        self.rows[right.sha256] = right

    async def end_right(self, sha256: str) -> None:
        self.rows.pop(sha256, None)


class FakeImages:
    """One image, and a build that takes two lines, or ends in trouble after them."""

    trouble: NbdError | None = None

    async def list(self) -> Sequence[ImageFacts]:
        return [ImageFacts(IMAGE, "sha256:1", 5 * GIB, 1.0, {"io.nbd.version.jupyterlab": "4.6.6"})]

    async def pull(self, reference: str) -> AsyncGenerator[Said, None]:
        yield Said(Step(Stage.PULL, reference, ("true",)), "pulled")

    async def build(self, name: str, base: Base) -> AsyncGenerator[Said, None]:
        if name != "jupyter":
            raise InvalidInput(f"there is no image {name[:60]!r}", code="unknown_image")
        for line in ("STEP 1/2: FROM x", "STEP 2/2: RUN y"):
            yield Said(Step(Stage.BUILD, name, ("true",)), line)
        if self.trouble:
            raise self.trouble

    async def check(self, reference: str) -> CheckReport:
        return CheckReport(reference, ready_seconds=1.0)


class FakeSync:
    """Answers as sync does; remembers whose home was asked for, and what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.trouble: NbdError | None = None
        self.hold: asyncio.Event | None = None
        """A restore waits for it."""

    async def ask(self, path: str, body: object, seconds: float = 30.0) -> Any:
        self.asked.append((path, body))
        if self.trouble:
            raise self.trouble
        answers: dict[str, object] = {
            "status": HomeView("/home/x", watched=True, protected=1.0, store="/store", sentence="protected", hint=""),
            "snapshots": [SnapshotView("ab" * 32, 1.0, "stop", "main")],
            "ls": [EntryView("paper", "file", 0o600, 5, 1.0)],
            "diff": [DifferenceView("renamed", "paper", "old")],
            "prune": PruneView("ada", done=False, snapshots=(), freed_bytes=0, deleted=0),
            "forget": SnapshotView("ab" * 32, 1.0, "stop", "main"),
            "verify": VerifyView(good=True, snapshots=1, objects=2, bytes=3),
            "text": TextView("paper", SnapshotView("ab" * 32, 1.0, "stop", "main"), 5, 1.0, "words"),
            "versions": [VersionView(SnapshotView("ab" * 32, 1.0, "stop"), SnapshotView("cd" * 32, 0.0, "save"), "file", 5, 1.0)],
            "usage": UsageView("/home/x", 1.0, measuring=False, bytes=5, room=RoomView("fine", "disk", 5, 9, 4, "the disk has room")),
            "losses": LossView(1, (GoneView("work", "folder", 1),)),
        }
        return wire.dump(answers[path])

    async def confirm(self, home: HomeRequest) -> HomeView:
        return wire.load(HomeView, await self.ask("status", home))

    async def restore(self, who: Occupant, asked: RestoreRequest, to: str) -> AsyncGenerator[RestoreView, None]:
        self.asked.append(("restore", (who, asked, to)))
        if self.hold:
            await self.hold.wait()
        for done in (False, True):
            yield RestoreView(done, to, SnapshotView("ab" * 32, 1.0, "stop"), entries=1)


class FakeAttached:
    """Answers as sync does of attached data; remembers for whom it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.found: list[AttachedView] = []

    async def views(self, person: str, ids: Collection[str]) -> Sequence[AttachedView]:
        self.asked.append(("views", person, frozenset(ids)))
        return self.found

    async def confirm(self, person: str, one: str) -> None:
        self.asked.append(("confirm", person, one))

    async def forget(self, person: str, one: str) -> None:
        self.asked.append(("forget", person, one))

    async def entrust(self, person: str, url: str, options: dict[str, str]) -> None:
        self.asked.append(("entrust", person, (url, options)))


class ApiWorld:
    def __init__(self, folder: Path, house: Household, door_uid: int) -> None:
        self.house, self.accounts, self.rights = house, FakeAccounts(PEOPLE), MemoryRights()
        self.socket = folder / "nbd.sock"
        self.register = Register(self.accounts, self.rights, Lifetimes(1000.0, 60.0), lambda: house.now)
        self.door_uid = door_uid
        self.images, self.sync = FakeImages(), FakeSync()
        self.attached, self.desk = FakeAttached(), FakeDesk()
        self.broken: Exception | None = None
        self.routes = self._routes()
        self.gatekeeper = Gatekeeper(self.accounts, self.register, door_uid)
        self.server = Server([*self.routes, openapi_route(self.routes)], self.gatekeeper)

    def _routes(self) -> list[Route]:
        house = self.house
        address = "http://{}.nbd.localhost:8686/"
        showcase = Showcase(house.roster, house.leases, CardNames(house.driver), address.format, house.news)
        limits = HostLimits(20_000, 16_000, 8, 64 * GIB)
        site = Site("/test", "box", 1.0, PAGES, "localhost/nbd/", lambda: PROFILES, "cpu", limits, house.manager.reconcile)
        health = Health({"podman": self.podman_health}, lambda _: None, time.monotonic)
        return [
            *NotebookRoutes(house.manager, house.roster, showcase, self.register, FakeLogs()).routes(),
            *MachineRoutes(house.pool, house.roster, Images(self.images), site, health).routes(),
            *HomeRoutes(self.sync).routes(),
            *AttachedRoutes(self.attached, house.roster).routes(),
            *HomeCareRoutes(self.sync).routes(),
            *IdleRoutes(self.desk, self.desk, house.roster, showcase, self.register).routes(),
            *MetricsRoutes(house.news, exposition, lambda: house.now).routes(),
            *DoorRoutes(self.register, house.roster, showcase, FakeFolders(house.machine).socket, PAGES).routes(),
        ]

    async def podman_health(self) -> str:
        if self.broken:
            raise self.broken
        return "ok"

    async def close(self) -> None:
        """In core's order."""
        self.house.roster.changes.close()
        self.register.changes.close()
        await self.server.close()
        await self.house.manager.close()

    def by(self, who: str) -> Caller:
        return Caller(self.socket, UIDS[who] if os.geteuid() == 0 else os.geteuid())

    def me(self, name: str = "ada", *, admin: bool = False) -> Caller:
        """The tests' own uid, as a person of that name."""
        uid = os.geteuid()
        self.accounts.people[uid] = Person(name, uid, uid, f"/home/{name}", admin=admin)
        return Caller(self.socket, uid)

    async def token(self, name: str = "ada", notebook: str | None = None) -> str:
        person = await self.accounts.by_name(name)
        assert person
        token, _, _ = await self.register.redeem(self.register.give_ticket(person, notebook)[0])
        return token


@asynccontextmanager
async def api_world(folder: Path, house: Household | None = None, door_uid: int = UIDS["door"]) -> AsyncIterator[ApiWorld]:
    world = ApiWorld(folder, house or Household(), door_uid)
    await world.house.manager.reconcile()
    await world.server.listen(listening_socket(world.socket, None, 0o666))
    try:
        yield world
    finally:
        await world.close()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The machine's word for what went wrong; empty where nothing did."""
        return str(self.json["error"]["code"]) if self.status >= 400 else ""


class Opened:
    """An answer whose head has been read: its body comes as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def head(self) -> None:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}

    async def event(self) -> tuple[str, Any]:
        """The next server-sent event; comments are passed over. ("", None) at the end of the stream."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                lines = await self._block()
                if not lines:
                    return "", None
                fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
                if fields:
                    return fields.get("event", ""), json.loads(fields["data"])

    async def _block(self) -> list[str]:
        lines = []
        while line := (await self.reader.readline()).decode().rstrip("\n"):
            lines.append(line)
        return lines

    def hang_up(self) -> None:
        self.writer.close()


@dataclass(frozen=True)
class Caller:
    socket: Path
    uid: int

    async def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        async with asyncio.timeout(WAIT_SECONDS):
            opened = await self.open(method, path, body, headers)
            reply = Reply(opened.status, opened.headers, await opened.reader.read())
            opened.hang_up()
        return reply

    async def open(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Opened:
        """HTTP/1.0, so an answer ends with the connection and nothing is chunked."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        reader, writer = await asyncio.open_unix_connection(sock=connected(self.socket, self.uid))
        lines = [f"{method} {path} HTTP/1.0", f"Content-Length: {len(raw)}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + raw)
        opened = Opened(reader, writer)
        await opened.head()
        return opened


def connected(path: Path, uid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    problems: list[BaseException] = []

    def connect() -> None:
        try:
            # The raw call changes this thread alone; the C library's would change the whole process.
            if uid != os.geteuid() and ctypes.CDLL(None, use_errno=True).syscall(SETRESUID[platform.machine()], KEEP, uid, KEEP) != 0:
                raise OSError(ctypes.get_errno(), "setresuid")
            sock.connect(str(path))
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    if problems:
        sock.close()
        raise problems[0]
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return sock


def valid(schema: Mapping[str, Any], value: object, path: str = "$") -> list[str]:
    """What is wrong with a value by the part of JSON Schema that nbd's document speaks."""
    if "anyOf" in schema:
        tries = [valid(option, value, path) for option in schema["anyOf"]]
        return [] if any(not problems for problems in tries) else tries[0]
    kinds: dict[str, tuple[type, ...]] = {
        "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "null": (type(None),),
    }  # fmt: skip
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{path}: {value!r} is no {kind}"]
    problems = [f"{path}: {value!r} is not in {schema['enum']}"] if "enum" in schema and value not in schema["enum"] else []
    if isinstance(value, list):
        problems += [problem for number, item in enumerate(value) for problem in valid(schema["items"], item, f"{path}[{number}]")]
    if isinstance(value, dict):
        problems += [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        problems += [problem for name, item in value.items() for problem in valid_member(schema, name, item, path)]
    return problems


def valid_member(schema: Mapping[str, Any], name: str, value: object, path: str) -> list[str]:
    if "properties" not in schema:
        return valid(schema["additionalProperties"], value, f"{path}.{name}")
    if name not in schema["properties"]:
        return [f"{path}.{name} is not in the document"]
    return valid(schema["properties"][name], value, f"{path}.{name}")
