"""What no friend sends: smuggled requests, forged identities, other people's cookies, strange hosts. Nothing of it may reach an editor."""

from __future__ import annotations

import asyncio

import pytest

from tests.doors.world import ADA, BOB, World
from tests.fakes.core_api import notebook
from tests.fakes.editor import SMALL


def request(w: World, token: str, *lines: str, start: str = "GET /small HTTP/1.1", host: str | None = None, body: bytes = b"") -> bytes:
    head = [start, f"Host: {host or f'{ADA}.localhost:{w.port}'}", f"Cookie: nbd_session={token}", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


SMUGGLE = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
FRAMINGS = [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
    ("Content-Length: 5\r\nContent-Length: 5", "hello"),
    ("Content-Length: 5\r\nContent-Length: 6", "hello!"),
    ("Content-Length: 5, 5", "hello"),
    ("Content-Length: +5", "hello"),
    ("Content-Length: -5", "hello"),
    ("Content-Length: 0x5", "hello"),
    ("Content-Length: 5 6", "hello"),
    ("Content-Length: 5.0", "hello"),
    ("Content-Length:", "hello"),
    ("Content-Length: \u0665".encode().decode("latin-1"), "hello"),
    ("Content-Length: 99999999999999999999999", "hello"),
    ("Content-Length : 5", "hello"),
    (" Content-Length: 5", "hello"),
    ("Content_Length: 5\r\nTransfer-Encoding: gzip", SMUGGLE),
    ("Transfer-Encoding: gzip", "hello"),
    ("Transfer-Encoding: identity", "hello"),
    ("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunkedx", "0\r\n\r\n"),
    ('Transfer-Encoding: "chunked"', "0\r\n\r\n"),
    ("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
    ("Transfer-Encoding:\x00chunked", "0\r\n\r\n"),
    ("Transfer-Encoding\x00: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding : chunked", "0\r\n\r\n"),
    (" Transfer-Encoding: chunked", "0\r\n\r\n"),
    ("X: y\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("X: a\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("X: a\rTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("X: a\r\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "5;\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "-1\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "5\nhello\n0\n\n"),
    ("Transfer-Encoding: chunked", "5\r\nhelloXX0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "5 \r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "5\x00\r\nhello\r\n0\r\n\r\n"),
    ("Connection: close, X-Forwarded-For", ""),
    ("Connection: Cookie", ""),
    ("Connection: Content-Length\r\nContent-Length: 5", "hello"),
    ("X\x00Y: 1", ""),
    ("X Y: 1", ""),
    (": 1", ""),
    ("nonsense", ""),
    ("X: a\0b", ""),
    ("X: \x07", ""),
    ("Host: evil", ""),
    ("X: " + "a" * 70000, ""),
    ("\r\n".join(f"X-{number}: 1" for number in range(500)), ""),
]


@pytest.mark.parametrize(("lines", "body"), FRAMINGS)
async def test_what_two_servers_could_read_in_two_ways_is_refused(w: World, token: str, lines: str, body: str) -> None:
    raw = request(w, token, lines, start="POST /echo HTTP/1.1", body=body.encode("latin-1") + SMUGGLE.encode())
    answer = await w.raw(raw)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 4")) or not answer, answer[:200]
    assert not [seen for seen in w.editor.seen if "smuggled" in seen.raw_path]
    assert b"Traceback" not in answer


STARTS = [
    "GET http://evil.example/ HTTP/1.1",
    "GET http://127.0.0.1:22/ HTTP/1.1",
    "CONNECT 127.0.0.1:22 HTTP/1.1",
    "TRACE / HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET evil HTTP/1.1",
    "GET /small HTTP/1.0",
    "GET /small HTTP/0.9",
    "GET /small HTTP/2.0",
    "GET /small",
    "GET /small HTTP/1.1 ",
    "GET\t/small\tHTTP/1.1",
    "GET /a b HTTP/1.1",
    "GET /\x00 HTTP/1.1",
    "PRI * HTTP/2.0",
    "get /small HTTP/1.1",
    "GET /" + "a" * 70000 + " HTTP/1.1",
    "\x16\x03\x01\x02",
]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: repr(start[:40]))
async def test_a_start_that_no_browser_sends_reaches_no_editor(w: World, token: str, start: str) -> None:
    answer = await w.raw(request(w, token, start=start))
    assert answer.split(b" ", 2)[1] in {b"400", b"405", b"505"}, answer[:200]
    assert not w.editor.seen


HOSTS = [
    "evil.example",
    "localhost",
    "localhost:1",
    "{id}.localhost",
    "{id}.localhost:1",
    "{id}.localhost:{port}.evil.example",
    "{id}.localhost.evil.example:{port}",
    "evil.{id}.localhost:{port}",
    "{id}.evil.localhost:{port}",
    "{id}.localhost.:{port}",
    "127.0.0.2:{port}",
    "0.0.0.0:{port}",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "2130706433:{port}",
    "127.1:{port}",
    "user@localhost:{port}",
    "localhost:{port}@evil",
    "localhost:{port}/x",
    "localhost :{port}",
    "localhost:{port},evil",
    "SHORT.localhost:{port}",
    "short.localhost:{port}",
    "aaaaaaaaaaaaaaaa.localhost:{port}",
    "..localhost:{port}",
    ".localhost:{port}",
    "a%2eb.localhost:{port}",
    "{id}.localhost:0{port}",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
async def test_an_unknown_host_gets_nothing(w: World, token: str, host: str) -> None:
    raw = request(w, token, host=host.format(id=ADA, port=w.port) or " ")
    answer = await w.raw(raw)
    assert answer.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:200]
    assert b"ada" not in answer
    assert not w.editor.seen


IDENTITY = (
    "Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups "
    "X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Forwarded-Prefix X-Real-IP X-Remote-User X-Remote-Group Remote-User "
    "X-Auth-Request-User X-WebAuth-User X-Authenticated-User X-User X-Original-URL X-Rewrite-URL X-Original-Host X-Client-IP True-Client-IP "
    "CF-Connecting-IP X-Envoy-External-Address X-Host Via TE Trailer Keep-Alive Proxy-Connection Proxy-Authorization Upgrade"
)


@pytest.mark.parametrize("name", IDENTITY.split())
async def test_nobody_speaks_in_the_doors_name(w: World, token: str, name: str) -> None:
    canary = "canary-7"
    variants = (name, name.upper(), name.lower(), name.replace("-", "_"), name.replace("-", "_").upper(), name.title())
    answer = await w.raw(request(w, token, *(f"{variant}: {canary}" for variant in dict.fromkeys(variants)), "Connection: close"))
    assert answer.endswith(SMALL)
    assert canary.encode() not in w.editor.heard()


async def test_the_doors_cookies_never_reach_an_editor_and_the_editors_own_do(w: World, token: str) -> None:
    pages = w.core.sign_in("ada")
    cookies = (
        f"a=1; nbd_session={token}; b=2",
        f"nbd_session={pages};nbd_session={token};c=3",
        f"__Host-nbd_session={pages}; NBD_SESSION={pages}; __host-Nbd_x={pages}; __Secure-nbd_y={pages}; d=4; nbd_session={token}",
        f"  ;; nbd_session={token} ; =x; e",
    )
    for cookie in cookies:
        raw = request(w, "none", "Connection: close").replace(b"Cookie: nbd_session=none", b"Cookie: " + cookie.encode())
        assert (await w.raw(raw)).endswith(SMALL)
    two = request(w, token, f"Cookie: nbd_session={pages}; z=9", "Connection: close")
    assert (await w.raw(two)).endswith(SMALL)
    heard = w.editor.heard()
    assert b"canary" not in heard
    assert b"nbd_" not in heard.lower()
    for own in (b"a=1; b=2", b"c=3", b"d=4", b"z=9"):
        assert own in heard


async def test_an_editor_sets_its_own_cookies_and_no_others(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/cookies", token) as answer:
        assert answer.headers.getall("Set-Cookie") == ["_xsrf=1; Path=/"]
        assert answer.headers["X-Kept"] == "1"
        for name in ("Clear-Site-Data", "Strict-Transport-Security", "Service-Worker-Allowed"):
            assert name not in answer.headers


@pytest.mark.parametrize("path", ["/", "/small", "/lab", "/ws", "/.nbdx", "//.nbd/", "/%2enbd/", "/.nbd", "/../.nbd/", "/proxy/127.0.0.1:22/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_no_wrong_cookie_opens_a_notebook(w: World, method: str, path: str) -> None:
    wrong = ["", "nonsense-nonsense-nonsense", w.core.sign_in("bob", BOB), w.core.sign_in("ada"), w.core.sign_in("ada", ADA, seconds=-1)]
    gone = w.core.sign_in("ada", ADA)
    w.core.sign_out(gone)
    said = set()
    for token in (*wrong, gone):
        async with w.ask(method, w.origin() + path, token) as answer:
            assert answer.status == 401
            said.add(await answer.read())
    async with w.ask(method, w.origin(BOB.replace("1", "9")) + path, w.core.sign_in("ada", ADA)) as answer:
        assert answer.status == 401, "not there and not yours look the same"
        said.add(await answer.read())
    assert len(said) == 1
    assert not w.editor.seen


async def test_an_owner_who_changed_is_no_owner(w: World, token: str) -> None:
    w.core.put(notebook(ADA, "bob", "fold"), w.folder / "editor.sock")
    await asyncio.sleep(0.05)
    async with w.ask("GET", w.origin() + "/small", token) as answer:
        assert answer.status == 404


FOREIGN = [
    ("POST", {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}),
    ("POST", {"Origin": "http://nbob000001.localhost:{port}", "Sec-Fetch-Site": "same-site"}),
    ("POST", {"Origin": "null"}),
    ("DELETE", {"Origin": "http://localhost:{port}"}),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"}),
    ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
]


@pytest.mark.parametrize(("method", "headers"), FOREIGN)
async def test_another_sites_page_cannot_use_the_persons_cookie(w: World, token: str, method: str, headers: dict[str, str]) -> None:
    sent = {name: value.format(port=w.port) for name, value in headers.items()}
    async with w.ask(method, w.origin() + "/small", token, sent) as answer:
        assert answer.status == 403
    assert not w.editor.seen


async def test_a_link_from_anywhere_may_be_followed(w: World, token: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with w.ask("GET", w.origin() + "/small", token, headers) as answer:
        assert answer.status == 200


async def test_a_head_that_never_ends_holds_nobody_up(w: World, token: str) -> None:
    writers = [(await asyncio.open_connection("127.0.0.1", w.port))[1] for _ in range(200)]
    for writer in writers:
        writer.write(b"GET /small HTTP/1.1\r\nHost: ")
    async with asyncio.timeout(5), w.ask("GET", w.origin() + "/small", token) as answer:
        assert answer.status == 200
    for writer in writers:
        writer.close()


async def test_pipelined_requests_are_each_judged(w: World, token: str) -> None:
    first = request(w, token)
    second = request(w, "no", "Connection: close")
    answer = await w.raw(first + second)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.count(b"HTTP/1.1 401") == 1


async def test_a_silent_core_lets_nobody_in(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/small", token) as answer:
        assert answer.status == 200
    w.core.down = True
    w.core.end_subscriptions()
    await asyncio.sleep(0.05)
    async with w.ask("GET", w.origin() + "/small", token, {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}) as answer:
        page = await answer.text()
        assert answer.status == 503
        assert "core does not answer" in page
        assert 'http-equiv="refresh"' in page
