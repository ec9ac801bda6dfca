"""The line in an editor's pages, the bar it draws, what it may do; and who wakes a frozen notebook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

import aiohttp
import pytest

from nbd.errors import Conflict
from nbd.idlemessages import NoticeKind, NoticeView
from nbd.messages import NotebookView, Progress, Waiting
from nbd.web.notices import Bar, bar
from tests.doors.world import ADA, World
from tests.fakes.core_api import notebook

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none", "Accept": "text/html"}
BY_HAND = {**NAVIGATE, "Sec-Fetch-User": "?1"}
LINE = b'<script src="/.nbd/static/notice.js?v='
WARN = NoticeView(NoticeKind.WARN, "idle for 25 min; its GPU is given back", 1300.0, "profile gpu-small", 7200.0)


async def got(w: World, path: str, token: str, headers: Mapping[str, str] = NAVIGATE) -> tuple[bytes, Mapping[str, str]]:
    async with w.ask("GET", w.origin() + path, token, headers) as answer:
        return await answer.read(), dict(answer.headers)


@pytest.mark.parametrize("pieces", [0, 1, 7, 100_000])
async def test_a_page_of_the_editor_gets_one_line_at_the_beginning_of_its_head(w: World, token: str, pieces: int) -> None:
    plain = b"<!doctype html><html><HEAD lang=en><title>t</title></head><body>hello</body></html>"
    body, headers = await got(w, "/lab/page" + (f"?pieces={pieces}" if pieces else ""), token, {**NAVIGATE, "Accept-Encoding": "br, gzip"})
    assert body.count(LINE) == 1
    before, _, after = body.partition(b"<HEAD lang=en>")
    line, _, rest = after.partition(b"</script>")
    assert before + b"<HEAD lang=en>" + rest == plain
    assert line.startswith(LINE)
    assert line.endswith(b"defer>")
    assert headers.get("Content-Length", str(len(body))) == str(len(body))
    assert w.editor.header("Accept-Encoding") == "identity"


async def test_a_long_page_passes_whole(w: World, token: str) -> None:
    body = "<html><head></head>" + "word " * 300 + "</html>"
    for query in (f"?body={quote(body)}", f"?body={quote(body)}&pieces=50"):
        got_body, _ = await got(w, "/lab/page" + query, token)
        assert got_body.replace(got_body[got_body.index(LINE) : got_body.index(b"</script>") + 9], b"") == body.encode()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/page", NAVIGATE, id="what the editor shows of the person's"),
        pytest.param("/labyrinth/page", NAVIGATE, id="another path that begins alike"),
        pytest.param("/lab/page", {**NAVIGATE, "Sec-Fetch-Dest": "iframe"}, id="a frame"),
        pytest.param("/lab/page", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, id="a script's request"),
        pytest.param("/lab/page?type=text/plain", NAVIGATE, id="no HTML"),
        pytest.param("/lab/page?type=application/json", NAVIGATE, id="data"),
        pytest.param("/lab/page?code=404", NAVIGATE, id="an error"),
        pytest.param("/lab/page?Content-Encoding=gzip", NAVIGATE, id="compressed all the same"),
        pytest.param("/lab/page?Content-Disposition=attachment", NAVIGATE, id="a download"),
        pytest.param("/lab/page?body=no+head", NAVIGATE, id="no head"),
        pytest.param("/lab/page?pieces=3&body=" + "x" * 3000, NAVIGATE, id="no head, in pieces"),
        pytest.param("/lab/page?pieces=4000&body=" + "x" * 4000 + quote("<!-- ") * 20 + "y" * 1000, NAVIGATE, id="no head, long"),
        pytest.param("/lab/page?body=", NAVIGATE, id="nothing"),
    ],
)
async def test_all_else_passes_as_it_is(w: World, token: str, path: str, headers: dict[str, str]) -> None:
    body, told = await got(w, path, token, headers)
    assert LINE not in body
    query = dict(w.editor.seen[-1].query)
    if "body" in query:
        assert body == query["body"].encode()
    assert told.get("Content-Length", str(len(body))) == str(len(body))


async def test_a_page_without_a_head_is_not_waited_for(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/lab/page?hold&pieces=1000&repeat=20&body=" + "x" * 1000, token, NAVIGATE) as answer:
        assert (await answer.content.readexactly(18_000)).startswith(b"xxxx")
        w.editor.hold.set()
        assert LINE not in await answer.read()


async def test_a_head_request_is_told_the_editors_own_length(w: World, token: str) -> None:
    async with w.ask("HEAD", w.origin() + "/lab/page", token, NAVIGATE) as answer:
        assert answer.status == 200
        assert await answer.read() == b""


async def test_the_script_is_there_for_every_page(w: World, token: str) -> None:
    body, _ = await got(w, "/lab/page", token)
    path = body[body.index(LINE) + 13 : body.index(b'" defer')].decode()
    async with w.ask("GET", w.origin() + path) as answer:
        assert answer.status == 200
        assert "javascript" in answer.headers["Content-Type"]
        text = await answer.text()
    # Where a page forbids strings to become markup or code (VS Code does), such a script would not run.
    assert not [word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write", "Function(") if word in text]


# the bar


def view(state: str = "RUNNING", **values: object) -> NotebookView:
    return replace(notebook(ADA, "ada", "fold", state), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (view(), None),
        (view("STOPPED", notice=WARN), None),
        (view(notice=WARN), Bar("warn 1300 idle for 25 min; its GPU is given back", "warn", "Idle for 25 min; its GPU is given back", 300.0,
                                "profile gpu-small", 7200.0)),
        (view(notice=replace(WARN, due=900.0)), Bar("warn 900 idle for 25 min; its GPU is given back", "warn",
                                                    "Idle for 25 min; its GPU is given back", 0.0, "profile gpu-small", 7200.0)),
        (view(notice=NoticeView(NoticeKind.TOLD, "its GPU is back: NVIDIA H200")), Bar("told 0 its GPU is back: NVIDIA H200", "told",
                                                                                       "Its GPU is back: NVIDIA H200")),
        (view("PARKED", run=3), Bar("parked 3 ", "sleep", "The GPU was given back; it comes back when you run something.", wake="Get it back now")),
        (view("PARKED", waiting=Waiting(2, "0 of 2 cards are free", 1.0)),
         Bar("waiting 0", "sleep", "Waiting for a GPU, number 2 in line: 0 of 2 cards are free.", share=-1)),
        (view("PARKED", progress=Progress("unpark", "its memory goes back onto the GPU", 0.4)),
         Bar("rising 0", "sleep", "Its memory goes back onto the GPU.", share=0.4)),
        (view("FROZEN"), Bar("frozen 0 ", "sleep", "This notebook sleeps on the disk, with all that was in its memory.", wake="Wake it")),
        (view("PARKED", trouble="no card of its kind is left"),
         Bar("parked 0 no card of its kind is left", "sleep", "The GPU did not come back: no card of its kind is left.", wake="Get it back now")),
        (view("FROZEN", trouble="its image is damaged"),
         Bar("frozen 0 its image is damaged", "sleep", "This notebook could not be woken: its image is damaged.", wake="Wake it")),
        (view("FROZEN", progress=Progress("thaw", "it wakes")), Bar("rising 0", "sleep", "It wakes.", share=-1)),
    ],
)  # fmt: skip
def test_what_the_bar_says(seen: NotebookView, told: Bar | None) -> None:
    found = bar(seen, 1000.0)
    assert found == told
    assert found is None or found.tone in ("warn", "ask", "told", "sleep")


async def piece(answer: aiohttp.ClientResponse) -> object:
    while True:
        line = await answer.content.readline()
        if line.startswith(b"data: "):
            return json.loads(line[6:])
        assert line, "the stream ended"


async def test_the_bar_follows_what_core_says_and_ends_with_the_sign_in(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/.nbd/notices", token) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await piece(answer) is None
        w.core.put(view(notice=replace(WARN, due=2e9)), w.folder / "editor.sock")
        told = await piece(answer)
        assert isinstance(told, dict)
        assert (told["tone"], told["keep"], told["rule"]) == ("warn", 7200.0, "profile gpu-small")
        # What is no news to the bar is not told again.
        w.core.put(view(notice=replace(WARN, due=2e9), sentence="another"), w.folder / "editor.sock")
        await asyncio.sleep(0.1)
        w.core.put(view("PARKED"), w.folder / "editor.sock")
        assert (await piece(answer))["tone"] == "sleep"  # type: ignore[index]
        w.core.sign_out(token)
        while line := await answer.content.readline():
            assert not line.startswith(b"data: ")


async def test_bars_are_told_to_their_person_alone(w: World) -> None:
    for token in ("", w.core.sign_in("bob", ADA), w.core.sign_in("ada")):
        async with w.ask("GET", w.origin() + "/.nbd/notices", token) as answer:
            assert answer.status in (401, 404)


async def test_one_click_keeps_it(w: World, token: str) -> None:
    async with w.ask("POST", w.origin() + "/.nbd/keep", token, {"Origin": w.origin()}, data={"seconds": "7200"}) as answer:
        assert answer.status == 204
    assert w.core.idle.kept == [("fold", 7200.0)]
    w.core.idle.trouble = Conflict("it cannot be kept for so long", hint="4 h at most")
    async with w.ask("POST", w.origin() + "/.nbd/keep", token, {"Origin": w.origin()}, data={"seconds": "720000"}) as answer:
        assert answer.status == 409
        assert (await answer.json())["error"]["message"] == "it cannot be kept for so long"


@pytest.mark.parametrize("text", ["", "-1", "1e3", "nan", "99999999", "٣"])
async def test_seconds_that_are_none(w: World, token: str, text: str) -> None:
    async with w.ask("POST", w.origin() + "/.nbd/keep", token, {"Origin": w.origin()}, data={"seconds": text}) as answer:
        assert answer.status == 400
    assert not w.core.idle.kept


@pytest.mark.parametrize("path", ["/.nbd/keep", "/.nbd/wake", "/.nbd/here"])
async def test_another_site_keeps_and_wakes_nothing(w: World, token: str, path: str) -> None:
    for headers in ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, {"Origin": w.pages}, {"Sec-Fetch-Site": "same-site"}):
        async with w.ask("POST", w.origin() + path, token, headers, data={"seconds": "7200"}) as answer:
            assert answer.status == 403
    async with w.ask("GET", w.origin() + path, token) as answer:
        assert answer.status == 404
    assert not w.core.idle.kept
    assert not w.core.idle.woken


async def test_why_leads_to_the_pages(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/.nbd/why", token, BY_HAND) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"{w.pages}/notebooks/{ADA}/why")


# a frozen one


@pytest.mark.parametrize(
    ("headers", "woken"),
    [
        pytest.param(BY_HAND, True, id="a person opens it"),
        pytest.param({**BY_HAND, "Sec-Fetch-Site": "same-origin"}, True, id="by a link of its own"),
        pytest.param({"Accept": "text/html", "Sec-Fetch-Mode": ""}, True, id="an old browser"),
        pytest.param({**NAVIGATE, "Sec-Fetch-Site": "same-origin"}, False, id="a page that loads itself again"),
        pytest.param({**BY_HAND, "Sec-Fetch-Site": "cross-site"}, False, id="another site's link"),
        pytest.param({**BY_HAND, "Sec-Purpose": "prefetch;prerender"}, False, id="fetched ahead"),
    ],
)
async def test_who_opens_a_frozen_notebook_wakes_it(w: World, token: str, headers: dict[str, str], *, woken: bool) -> None:
    w.core.put(view("FROZEN", sentence="frozen: asleep on disk with its memory"))
    async with w.ask("GET", w.origin() + "/lab", token, headers) as answer:
        text = await answer.text()
        assert answer.status == 503
    assert w.core.idle.woken == ["fold"] * woken
    assert "Frozen: asleep on disk with its memory." in text
    assert 'data-events="/.nbd/events"' in text


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/kernels", {}),
        ("GET", "/lab/api/settings", {}),
        ("PUT", "/api/contents/a.ipynb", {}),
        ("POST", "/api/sessions", {}),
        ("GET", "/api/kernels/4f/channels", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Fetch-Mode": "websocket"}),
    ],
)
async def test_a_forgotten_tab_wakes_nothing(w: World, token: str, method: str, path: str, headers: dict[str, str]) -> None:
    w.core.put(view("FROZEN", sentence="frozen: asleep on disk with its memory"))
    async with w.ask(method, w.origin() + path, token, {"Origin": w.origin(), **headers}) as answer:
        assert answer.status == 503
        said = (await answer.json())["error"]
    assert (said["code"], said["message"]) == ("notebook_away", "fold is frozen: asleep on disk with its memory")
    assert not w.core.idle.woken


async def test_its_page_has_a_button_for_who_was_not_believed(w: World, token: str) -> None:
    w.core.put(view("FROZEN"))
    async with w.ask("POST", w.origin() + "/.nbd/wake", token, {**BY_HAND, "Sec-Fetch-Site": "same-origin"}, data={"": ""}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/.nbd/")
    assert w.core.idle.woken == ["fold"]
    async with w.ask("POST", w.origin() + "/.nbd/wake", token, {"Origin": w.origin()}, data={"": ""}) as answer:
        assert answer.status == 204


async def test_a_wake_that_is_refused_is_told_on_the_page(w: World, token: str) -> None:
    w.core.put(view("FROZEN"))
    w.core.idle.trouble = Conflict("there is no room in memory: 12 GiB are needed", hint="stop another notebook")
    async with w.ask("GET", w.origin() + "/lab", token, BY_HAND) as answer:
        text = await answer.text()
    assert "There is no room in memory: 12 GiB are needed." in text
    assert "Wake it" in text


async def test_a_link_of_ones_own_wakes_it(w: World) -> None:
    w.core.put(view("FROZEN"))
    async with w.ask("GET", f"{w.origin()}/.nbd/enter?ticket={w.core.ticket('ada', ADA)}", "", BY_HAND) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/.nbd/")
    assert w.core.idle.woken == ["fold"]


async def test_a_parked_one_is_reached_as_ever(w: World, token: str) -> None:
    w.core.put(view("PARKED"), w.folder / "editor.sock")
    async with w.ask("GET", w.origin() + "/small", token) as answer:
        assert answer.status == 200
    assert not w.core.idle.woken
