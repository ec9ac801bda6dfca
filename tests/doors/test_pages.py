"""The pages over real sockets: who gets in and how, what a form may do, what a page must never do."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from urllib.parse import quote

import pytest

from nbd.messages import CardView, FailureView, GpusView, HomeView, ProfileView, Progress, Waiting
from nbd.web.cookies import form_token
from nbd.web.origins import Origins
from nbd.web.pages import Pages
from nbd.web.visit import Policy
from tests.doors.world import ADA, BOB, World, until
from tests.fakes.core_api import no_capacity, notebook

GIB = 1024**3
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
TYPED = NAVIGATE | {"Sec-Fetch-Site": "none"}
LINKED = NAVIGATE | {"Sec-Fetch-Site": "cross-site"}


async def get(w: World, path: str, token: str = "", headers: dict[str, str] | None = None, *, status: int = 200) -> str:
    async with w.ask("GET", w.pages + path, token, NAVIGATE | (headers or {})) as answer:
        assert answer.status == status
        return await answer.text()


async def post(w: World, path: str, token: str, *, headers: dict[str, str] | None = None, **fields: str) -> tuple[int, str, str]:
    """A form of our own page. Returns the status, where it leads, and the page."""
    sent = {"Origin": w.pages} | (headers or {})
    async with w.ask("POST", w.pages + path, token, sent, data={"form_token": form_token(token)} | fields) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


# getting in


async def test_who_is_not_signed_in_is_told_how(w: World) -> None:
    for path in ("/", "/new", f"/notebooks/{ADA}", "/notebooks/nnever0000", "/events"):
        page = await get(w, path, status=401)
        assert "nbctl login" in page
        assert "fold" not in page


async def test_a_link_signs_in_once(w: World) -> None:
    ticket = w.core.ticket("ada")
    async with w.ask("GET", f"{w.pages}/enter?ticket={ticket}", headers=TYPED) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        cookie = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"nbd_session=[^;]+; Path=/; Max-Age=3\d{3}; HttpOnly; SameSite=Lax", cookie)
    assert "Your notebooks" in await get(w, "/", cookie.partition(";")[0].partition("=")[2])
    assert "used already" in await get(w, f"/enter?ticket={ticket}", headers=TYPED, status=401)


@pytest.mark.parametrize(("running", "lands"), [(True, "/lab"), (False, "/.nbd/")])
async def test_a_notebooks_link_leads_into_it(w: World, running: bool, lands: str) -> None:  # noqa: FBT001
    w.core.put(w.core.notebooks[ADA], w.folder / "editor.sock" if running else None)
    await asyncio.sleep(0.05)
    async with w.ask("GET", f"{w.origin()}/.nbd/enter?ticket={w.core.ticket('ada', ADA)}", headers=TYPED) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, lands)
        token = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    async with w.ask("GET", w.origin() + lands, token, NAVIGATE) as answer:
        assert answer.status == 200


async def test_a_link_is_for_one_origin_only(w: World) -> None:
    for url, where in ((w.pages + "/enter", ADA), (w.origin() + "/.nbd/enter", None), (w.origin() + "/.nbd/enter", BOB)):
        async with w.ask("GET", f"{url}?ticket={w.core.ticket('ada', where)}", headers=TYPED) as answer:
            assert answer.status == 400
            assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        LINKED,
        LINKED | {"Sec-Fetch-Site": "same-site"},
        LINKED | {"Referer": "http://evil.example/"},
        TYPED | {"Sec-Purpose": "prefetch"},
        NAVIGATE | {"Referer": "http://nbob000001.localhost:1/"},
    ],
)
async def test_a_link_that_the_person_may_not_have_asked_for_is_not_spent(w: World, headers: dict[str, str]) -> None:
    """Login CSRF: somebody else's link must not make this browser theirs."""
    ticket = w.core.ticket("mallory", ADA)
    async with w.ask("GET", f"{w.origin()}/.nbd/enter?ticket={ticket}", headers=headers) as answer:
        page = await answer.text()
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "Sign in here?" in page
    assert "redeem" not in w.core.calls
    url, form = w.origin() + "/.nbd/enter", {"ticket": ticket}
    for forged in ({"Origin": w.pages}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        async with w.ask("POST", url, headers=forged, data=form) as answer:
            assert answer.status == 403
    assert "redeem" not in w.core.calls
    async with w.ask("POST", url, headers={"Origin": w.origin()}, data=form) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (303, True)


async def test_a_link_of_somebody_else_asks_before_it_replaces_who_is_here(w: World, pages_token: str) -> None:
    page = await get(w, f"/enter?ticket={w.core.ticket('bob')}", pages_token, TYPED)
    assert "Sign in as bob?" in page
    found = re.search(r'name="ticket" value="([^"]+)"', page)
    assert found
    assert "canary-token-0003" not in page, "the new sign-in's token is for the cookie alone"
    async with w.ask("POST", w.pages + "/enter", pages_token, {"Origin": w.pages}, data={"ticket": found[1]}) as answer:
        assert answer.status == 303
        token = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    assert "bob" in await get(w, "/", token)
    async with w.ask("POST", w.pages + "/enter", pages_token, {"Origin": w.pages}, data={"ticket": found[1]}) as answer:
        assert answer.status == 401, "once"


async def test_the_open_button_needs_no_second_question(w: World, pages_token: str) -> None:
    status, location, _ = await post(w, f"/notebooks/{ADA}/open", pages_token)
    assert status == 303
    assert location.startswith(w.origin() + "/.nbd/enter?ticket=")
    async with w.ask("GET", location, headers=LINKED | {"Referer": w.pages + "/"}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/lab")


async def test_a_link_to_another_address_is_not_followed(w: World, pages_token: str) -> None:
    w.core.origin = "http://{host}localhost.evil.example"
    status, location, _ = await post(w, f"/notebooks/{ADA}/open", pages_token)
    assert (status, location) == (500, "")


async def test_signing_out_ends_every_browser(w: World, pages_token: str, token: str) -> None:
    async with w.ask("POST", w.pages + "/logout", pages_token, {"Origin": w.pages}, data={"form_token": form_token(pages_token)}) as answer:
        assert answer.status == 200
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
    await until(lambda: not w.core.sign_ins)
    await get(w, "/", pages_token, status=401)
    async with w.ask("GET", w.origin() + "/small", token) as answer:
        assert answer.status == 401


# doing things


async def test_a_start_leads_to_its_page(w: World, pages_token: str) -> None:
    form = {"name": "new-one", "profile": "gpu-1", "wait": "on", "gpus.gpu-1": "2", "gpus.gpu-2": "7"}
    status, location, _ = await post(w, "/notebooks", pages_token, **form)  # type: ignore[arg-type]
    assert status == 303
    assert w.core.calls == ["start ada/new-one gpu-1 2 True"]
    page = await get(w, location, pages_token)
    assert "new-one" in page


async def test_a_refused_start_keeps_what_was_typed_and_says_why(w: World, pages_token: str) -> None:
    w.core.profiles = [ProfileView("gpu-1", "One GPU", "", "jupyterlab", "jupyter", 4, GIB, 1, "1 GPU", available=False, reason="bob/train has it")]
    w.core.refusal = no_capacity()
    status, _, page = await post(w, "/notebooks", pages_token, name="new-one", profile="gpu-1")
    assert status == 409
    for said in ("0 of 2 cards fit now, 1 asked for", "wait in line", 'value="new-one"', "bob/train has it"):
        assert said in page


async def test_the_other_buttons(w: World, pages_token: str) -> None:
    assert (await post(w, f"/notebooks/{ADA}/stop", pages_token))[:2] == (303, "/")
    await until(lambda: w.core.notebooks[ADA].state == "STOPPED")
    assert (await post(w, f"/notebooks/{ADA}/start", pages_token))[1] == f"/notebooks/{ADA}?then=open"
    assert "Your home directory and every file in it stay" in await get(w, f"/notebooks/{ADA}/delete", pages_token)
    assert (await post(w, f"/notebooks/{ADA}/delete", pages_token))[:2] == (303, "/")
    assert w.core.calls == ["stop fold", "start ada/fold cpu-small None True", "delete fold"]


CHANGES = ["/notebooks", *(f"/notebooks/{ADA}/{verb}" for verb in ("start", "stop", "delete", "open")), "/logout"]


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{ADA}.localhost:1"},
        {"Origin": "", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_no_other_page_can_press_a_button(w: World, pages_token: str, path: str, headers: dict[str, str]) -> None:
    status, _, _ = await post(w, path, pages_token, headers=headers, name="x", profile="cpu-small")
    assert status == 403
    assert not w.core.calls


@pytest.mark.parametrize("path", CHANGES)
async def test_a_form_must_be_of_this_very_sign_in(w: World, pages_token: str, path: str) -> None:
    for shown in ("", "x", form_token(w.core.sign_in("ada")), form_token(pages_token).upper(), "é"):
        status, _, _ = await post(w, path, pages_token, form_token=shown)
        assert status == 403
    assert not w.core.calls


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
async def test_only_a_form_changes_anything(w: World, pages_token: str, path: str, method: str) -> None:
    async with w.ask(method, w.pages + path, pages_token, NAVIGATE) as answer:
        assert answer.status in {200, 404}
    assert not w.core.calls


async def test_what_is_not_a_form_is_refused(w: World, pages_token: str) -> None:
    for kind, body in (
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 70000),
    ):
        async with w.ask("POST", w.pages + "/notebooks", pages_token, {"Origin": w.pages, "Content-Type": kind}, data=body) as answer:
            assert answer.status == 400
    form = {"name": "x", "profile": "gpu-1", "gpus.gpu-1": "many"}
    assert (await post(w, "/notebooks", pages_token, **form))[0] == 400  # type: ignore[arg-type]
    assert not w.core.calls


def test_every_route_says_who_may_use_it() -> None:
    """What changes something is a checked form; what is open to everybody is this list and no more."""
    pages = Pages(Origins("http", "localhost", 1), None, None, None)  # type: ignore[arg-type]
    entrance = live = type("Any", (), {"__getattr__": lambda self, name: None})()
    routes = pages.routes(entrance, live)
    at_notebooks = pages.notebook_routes(entrance, live)
    public = {(route.method, route.path) for route in (*routes, *at_notebooks) if route.policy is Policy.PUBLIC}
    assert public == {
        (method, prefix + path) for prefix in ("", "/.nbd") for method, path in (("GET", "/enter"), ("POST", "/enter"), ("GET", "/static/{id}"))
    }
    assert all(route.policy is Policy.FORM for route in routes if route.method == "POST" and route.path != "/enter")
    assert not [route for route in at_notebooks if route.policy is Policy.FORM], "a notebook's own code is of that origin"


async def test_what_is_anothers_is_not_there(w: World, pages_token: str) -> None:
    mine, other = [], []
    for path in ("", "/log", "/delete"):
        other.append(await get(w, f"/notebooks/{BOB}{path}", pages_token, status=404))
        mine.append(await get(w, f"/notebooks/nnever0000{path}", pages_token, status=404))
    for verb in ("start", "stop", "delete", "open"):
        assert (await post(w, f"/notebooks/{BOB}/{verb}", pages_token))[0] == 404
    assert mine == other
    assert not w.core.calls
    assert "train" not in await get(w, "/", pages_token)


# what pages must never do


REDIRECTS = [
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/%0d%0aX: 1",
    "@evil.example",
    "\t//evil.example",
    "%5c%5cevil",
]


@pytest.mark.parametrize("to", REDIRECTS)
async def test_nothing_in_a_request_leads_elsewhere(w: World, pages_token: str, to: str) -> None:
    for name in ("next", "url", "return", "then", "ticket", "redirect"):
        async with w.ask("GET", f"{w.pages}/enter?ticket={w.core.ticket('ada')}&{name}x={quote(to)}", headers=TYPED) as answer:
            assert answer.headers["Location"] == "/"
        assert "evil" not in (await post(w, f"/notebooks/{ADA}/stop?{name}={quote(to)}", pages_token))[1]


XSS = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*7}}"


async def test_what_people_write_stays_text(w: World, pages_token: str) -> None:
    nasty = replace(
        notebook(ADA, "ada", XSS, "FAILED"),
        profile=XSS,
        editor=XSS,
        url=XSS,
        sentence=XSS,
        hint=XSS,
        stop_reason=XSS,
        ended=1.0,
        gpus=(XSS,),
        failure=FailureView(XSS, XSS, XSS, (XSS,)),
    )
    w.core.put(nasty)
    w.core.put(replace(nasty, id="nada000002", state="STARTING", progress=Progress("image", XSS, 0.5), failure=None))
    w.core.put(replace(nasty, id="nada000003", state="STARTING", waiting=Waiting(1, XSS, 0.0), failure=None))
    w.core.log = XSS
    w.core.gpus = GpusView((CardView(XSS, XSS, GIB, 1, quarantine=XSS, holders=(XSS,)),), simulated=True, reason=XSS, queue=(XSS,))
    w.core.profiles = [ProfileView(XSS, XSS, XSS, XSS, XSS, 1, GIB, 1, XSS, available=False, reason=XSS)]
    await asyncio.sleep(0.1)
    paths = ("/", "/new", f"/notebooks/{ADA}", "/notebooks/nada000002", "/notebooks/nada000003", f"/notebooks/{ADA}/log", f"/notebooks/{ADA}/delete")
    for path in paths:
        page = await get(w, path, pages_token)
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "{{7*7}}" in page
    for path in (f"/{quote(XSS)}", f"/enter?ticket={quote(XSS)}", f"/notebooks/{quote(XSS)}"):
        async with w.ask("GET", w.pages + path, pages_token, TYPED) as answer:
            assert "<script>alert" not in await answer.text()


async def test_every_answer_of_the_doors_own_is_locked_down(w: World, pages_token: str, token: str) -> None:
    urls = [
        (w.pages + path, pages_token)
        for path in ("/", "/new", "/nothing", "/static/style.css", "/static/nothing", f"/notebooks/{ADA}", "/enter?ticket=x")
    ]
    urls += [(w.origin() + path, token) for path in ("/.nbd/", "/.nbd/nothing", "/.nbd/static/live.js", "/.nbd/enter")]
    urls += [(w.pages + "/", ""), (w.origin() + "/lab", "")]
    for url, who in urls:
        async with w.ask("GET", url, who, NAVIGATE) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Server"] == "nbd"
            assert answer.headers["Cache-Control"] == "no-store" or "/static/" in url
            if answer.content_type == "text/html":
                assert not re.search(r"<[^>]+ (?:style|on\w+)=|<style|<script(?! src=)", await answer.text())


async def test_the_first_page_is_small(w: World, pages_token: str) -> None:
    page = await get(w, "/", pages_token)
    size = len(page.encode())
    for asset in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page)):
        size += len((await get(w, asset)).encode())
    assert size <= 100 * 1024


async def test_simulated_cards_are_called_so_wherever_cards_are_shown(w: World, pages_token: str) -> None:
    w.core.gpus = GpusView((CardView("GPU-1", "NVIDIA H200", 141 * GIB, 100 * GIB, holders=("ada/fold", "bob/train")),), simulated=True, reason="")
    for path in ("/", "/new"):
        page = await get(w, path, pages_token)
        assert "Simulated GPUs" in page
        assert "100 GiB of 141 GiB" in page
        assert "you · fold, bob/train" in page


# live


async def test_a_page_is_told_of_what_is_its_own(w: World, pages_token: str) -> None:
    async with w.ask("GET", w.pages + "/events", pages_token) as answer:
        assert answer.content_type == "text/event-stream"
        await answer.content.readuntil(b"data: \n\n")
        w.core.put(replace(w.core.notebooks[BOB], sentence="is somebody else's"))
        told = await answer.content.readuntil(b"\n\n")
        assert told == b"event: changed\ndata: gpus\n\n", "that a card may have changed hands, and not whose"
        w.core.put(replace(w.core.notebooks[ADA], sentence="is hers"))
        assert await answer.content.readuntil(b"\n\n") == f"event: changed\ndata: {ADA}\n\n".encode()
        w.core.sign_out(pages_token)
        assert b"signed-out" in await answer.content.read()


async def test_an_away_page_goes_on_when_the_editor_is_back(w: World, token: str) -> None:
    w.core.put(replace(w.core.notebooks[ADA], state="STOPPED", sentence="stopped by you"))
    await asyncio.sleep(0.05)
    async with w.ask("GET", w.origin() + "/lab/tree/a.ipynb", token, NAVIGATE) as answer:
        assert answer.status == 503
        page = await answer.text()
    assert "Stopped by you." in page
    assert f"{w.pages}/notebooks/{ADA}" in page
    async with w.ask("GET", w.origin() + "/.nbd/events", token) as answer:
        await answer.content.readuntil(b"data: \n\n")
        w.core.put(replace(w.core.notebooks[ADA], state="RUNNING"), w.folder / "editor.sock")
        assert ADA.encode() in await answer.content.readuntil(b"\n\n")
    async with w.ask("GET", w.origin() + "/.nbd/", token, NAVIGATE) as answer:
        assert 'data-ready="/lab"' in await answer.text()


async def test_the_home_page_says_how_the_home_is_kept_or_leaves_it_out(w: World) -> None:
    token = w.core.sign_in(ADA)
    assert 'id="kept"' not in await get(w, "/", token)
    w.core.home = HomeView("/home/ada", watched=True, protected=time.time() - 130, store="/srv", sentence="protected", hint="")
    page = await get(w, "/", token)
    assert "Your home: protected, 2 min ago." in page
    assert '<a href="/home"' in page
    trouble = "the store <b>s3</b> is away"
    w.core.home = HomeView("/home/ada", True, 1.0, "/srv", f"not protected: {trouble}", "wait", trouble)  # noqa: FBT003
    assert "Your home: not protected: the store &lt;b&gt;s3&lt;/b&gt; is away." in await get(w, "/", token)
