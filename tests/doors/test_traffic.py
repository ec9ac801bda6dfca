"""What the door counts of people: a forgotten tab counts as nothing, whoever types or opens something does."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from nbd.web import traffic as module
from nbd.web.traffic import Ear, Meter, Tally, Traffic
from tests.doors.world import ADA, BOB, World, until
from tests.fakes.core_api import notebook

TEXT, BINARY, DEFLATED, MORE, CLOSE, PING, PONG = 0x81, 0x82, 0xC1, 0x00, 0x88, 0x89, 0x8A
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none", "Accept": "text/html"}
BY_HAND = {**NAVIGATE, "Sec-Fetch-User": "?1"}


class Line:
    """A WebSocket that is listened to, and the time."""

    def __init__(self) -> None:
        self.now, self.tally, self.heard = 0.0, Tally(), 0
        self.ear = Ear(self.tally, lambda: self.now, self.note)

    def note(self) -> None:
        self.heard += 1

    def says(self, first: int = TEXT, size: int = 20, after: float = 0.0) -> None:
        self.now += after
        self.ear.from_browser(bytes([first]) + b"x" * (size - 1))

    def answers(self, after: float = 0.0) -> None:
        self.now += after
        self.ear.from_editor(b"\x81echo")


@pytest.fixture
def line() -> Line:
    line = Line()
    line.now = module.FIRST_SECONDS + 1
    return line


@pytest.mark.parametrize("first", [TEXT, BINARY, DEFLATED, MORE])
def test_a_message_of_the_pages_own_accord_is_typed(line: Line, first: int) -> None:
    line.says(first)
    assert line.tally.typed == line.heard == 1


@pytest.mark.parametrize("first", [CLOSE, PING, PONG])
def test_control_frames_are_not(line: Line, first: int) -> None:
    for _ in range(100):
        line.says(first, 6, after=7.3)
    assert line.tally.typed == 0
    assert line.tally.relayed == 600


def test_how_a_page_introduces_itself_is_not() -> None:
    line = Line()
    for _ in range(10):
        line.says(after=module.FIRST_SECONDS / 11)
    assert line.tally.typed == 0


def test_what_answers_the_editor_is_not(line: Line) -> None:
    for _ in range(10):
        line.answers(after=1.7)
        line.says(after=module.ANSWER_SECONDS / 2)
    assert line.tally.typed == 0
    line.answers(after=1.7)
    line.says(after=module.ANSWER_SECONDS * 1.1)
    assert line.tally.typed == 1


def test_a_clock_is_not_and_a_person_is_no_clock(line: Line) -> None:
    for _ in range(1000):
        line.says(after=5.01)
    assert line.tally.typed <= 2, "a panel that asks every five seconds"
    for pause in (0.11, 0.3, 0.12, 2.5, 0.2, 1.9, 0.15, 4.0):
        line.says(after=pause)
    assert line.tally.typed >= 8


def test_a_laptop_that_wakes_connects_anew_and_nobody_typed() -> None:
    traffic = Traffic(lambda: clock[0], lambda _: False)
    clock = [0.0]
    for _ in range(50):
        clock[0] += 3600
        ear = traffic.tap(ADA, "/api/kernels/4f/channels?session_id=1")
        for _ in range(3):
            clock[0] += 0.4
            ear.from_browser(b"\x81" + b"x" * 300)
            ear.from_editor(b"\x81" + b"x" * 300)
    assert traffic.of(ADA).typed == 0
    assert traffic.of(ADA).relayed == 50 * 3 * 2 * 301


@pytest.mark.parametrize(
    ("path", "listened"),
    [
        ("/api/kernels/0f3a/channels", True),
        ("/api/kernels/0f3a/channels?session_id=7", True),
        ("/terminals/websocket/1", True),
        ("/api/events/subscribe", False),
        ("/api/collaboration/room/json:notebook:9", False),
        ("/lsp/ws/pyright", False),
        ("/proxy/8080/api/kernels/0f3a/channels", False),
        ("/ws", False),
    ],
)
def test_only_kernels_and_terminals_are_listened_to(path: str, *, listened: bool) -> None:
    assert isinstance(Traffic(lambda: 0.0, lambda _: False).tap(ADA, path), Ear if listened else Meter)


def test_who_types_into_a_parked_notebook_is_told_of_at_once() -> None:
    now, parked = [0.0], [False]
    traffic = Traffic(lambda: now[0], lambda _: parked[0])
    ear = traffic.tap(ADA, "/terminals/websocket/1")
    now[0] = 60.0
    ear.from_browser(b"\x81x")
    assert not traffic.hurry.is_set()
    parked[0], now[0] = True, 75.0
    ear.from_browser(b"\x81x")
    assert traffic.hurry.is_set()


async def told(w: World, *, here: int | None = None, clicks: int | None = None, tabs: int | None = None) -> None:
    """Until core has heard of it."""
    wanted = {name: value for name, value in (("here", here), ("clicks", clicks), ("tabs", tabs)) if value is not None}
    await until(lambda: all(getattr(w.core.idle.of(ADA), name) == value for name, value in wanted.items()), 15)


async def test_core_hears_of_all_notebooks_in_one_report(w: World, token: str) -> None:
    other = w.core.sign_in("bob", BOB)
    async with w.ask("GET", w.origin() + "/lab", token, BY_HAND), w.ask("GET", w.origin(BOB) + "/lab", other, BY_HAND):
        pass
    async with w.http.ws_connect(w.origin() + "/ws", headers={"Cookie": f"nbd_session={token}", "Origin": w.origin()}) as socket:
        await socket.send_bytes(b"x" * 1000)
        assert await socket.receive_bytes() == b"x" * 1000
        await told(w, clicks=1, tabs=1)
        last = w.core.idle.reports[-1]
        assert {row.notebook: row.clicks for row in last.notebooks} == {ADA: 1, BOB: 1}
        assert w.core.idle.of(ADA).relayed_bytes > 2000
        assert len({report.door for report in w.core.idle.reports}) == 1
    await told(w, tabs=0)


@pytest.mark.parametrize(
    ("method", "path", "headers", "clicks"),
    [
        ("GET", "/lab/tree/a.ipynb", BY_HAND, 1),
        ("GET", "/lab/tree/a.ipynb", NAVIGATE, 0),
        ("GET", "/lab/tree/a.ipynb", {**BY_HAND, "Sec-Purpose": "prefetch;prerender"}, 0),
        ("GET", "/lab/api/settings", {}, 0),
        ("GET", "/api/kernels?17", {}, 0),
        ("GET", "/api/contents/a.ipynb", {}, 0),
        ("PUT", "/api/contents/a.ipynb", {}, 0),
        ("POST", "/api/contents", {}, 1),
        ("POST", "/api/contents/a.ipynb/checkpoints", {}, 1),
        ("PATCH", "/api/contents/a.ipynb", {}, 1),
        ("POST", "/api/kernels/4f/interrupt", {}, 1),
        ("POST", "/api/sessions", {}, 1),
        ("DELETE", "/api/terminals/1", {}, 1),
        ("POST", "/api/security/csp-report", {}, 0),
    ],
)
async def test_what_is_a_click(w: World, token: str, method: str, path: str, headers: dict[str, str], clicks: int) -> None:
    async with w.ask(method, w.origin() + path, token, {"Origin": w.origin(), **headers}) as answer:
        assert answer.status == 200
    async with w.ask("POST", w.origin() + "/.nbd/here", token, {"Origin": w.origin()}, data={"": ""}) as answer:
        assert answer.status == 204
    await told(w, here=1)
    assert w.core.idle.of(ADA).clicks == clicks


async def test_nobody_says_here_for_another(w: World) -> None:
    other = w.core.sign_in("bob", BOB)
    evil = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    for token, headers, status in (("", {}, 401), (other, {}, 401), (w.core.sign_in("ada", ADA), evil, 403)):
        async with w.ask("POST", w.origin() + "/.nbd/here", token, {"Origin": w.origin(), **headers}, data={"": ""}) as answer:
            assert answer.status == status
    async with w.ask("POST", w.origin(BOB) + "/.nbd/here", other, {"Origin": w.origin(BOB)}, data={"": ""}) as answer:
        assert answer.status == 204
    await until(lambda: w.core.idle.of(BOB).here == 1, 15)
    assert w.core.idle.of(ADA).here == 0


async def test_a_notebook_that_is_gone_is_not_told_of(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/lab", token, BY_HAND):
        pass
    await told(w, clicks=1)
    w.core.remove(ADA)
    await until(lambda: ADA not in {row.notebook for row in w.core.idle.reports[-1].notebooks}, 15)


async def test_a_core_that_is_away_hears_all_of_it_later(w: World, token: str) -> None:
    await until(lambda: bool(w.core.idle.reports), 15)
    w.core.down = True
    async with w.ask("GET", w.origin() + "/lab", token, BY_HAND):
        pass
    await asyncio.sleep(0)
    w.core.down = False
    await told(w, clicks=1)


async def test_typing_into_a_parked_notebook_reaches_core(w: World, token: str) -> None:
    """Through real sockets: the first seconds of a connection pass, then a message."""
    w.core.put(notebook(ADA, "ada", "fold", "PARKED"), w.folder / "editor.sock")
    headers = {"Cookie": f"nbd_session={token}", "Origin": w.origin()}
    async with w.http.ws_connect(w.origin() + "/terminals/websocket/1", headers=headers) as socket:
        await asyncio.sleep(module.FIRST_SECONDS + 0.1)
        before = len(w.core.idle.reports)
        await socket.send_str('["stdin", "l"]')
        await until(lambda: w.core.idle.of(ADA).typed == 1)
        assert len(w.core.idle.reports) <= before + 2
        assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT


async def test_who_reads_in_a_parked_notebook_is_not_told_of(w: World, token: str) -> None:
    """Pressed keys count once it runs again."""
    w.core.put(notebook(ADA, "ada", "fold", "PARKED"), w.folder / "editor.sock")
    for _ in range(2):
        async with w.ask("POST", w.origin() + "/.nbd/here", token, {"Origin": w.origin()}, data={"": ""}) as answer:
            assert answer.status == 204
        reports = len(w.core.idle.reports)
        await until(lambda reports=reports: len(w.core.idle.reports) > reports + 1)  # type: ignore[misc]
    assert w.core.idle.of(ADA).here == 0
