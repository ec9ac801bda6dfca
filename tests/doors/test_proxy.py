"""The proxy over real sockets: what an editor says arrives, whole and in time; what goes wrong is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.doors.world import ADA, World, until
from tests.fakes.editor import PIECE, SMALL, Talk, raw_editor, saying

MIB = 1024 * 1024


async def test_a_small_answer_arrives_as_it_was_said(w: World, token: str) -> None:
    for _ in range(3):
        async with w.ask("GET", w.origin() + "/small?a=%2e%2e&b", token) as answer:
            assert (answer.status, await answer.read(), answer.headers["X-Editor"]) == (200, SMALL, "yes")
    assert w.editor.seen[-1].raw_path == "/small?a=%2e%2e&b"
    assert w.editor.header("Host") == w.origin().removeprefix("http://")
    assert w.editor.header("X-Forwarded-For") == "127.0.0.1"
    assert w.editor.header("X-Forwarded-Proto") == "http"


async def test_a_download_passes_whole_and_a_slow_reader_holds_the_editor_back(w: World, token: str) -> None:
    size = 256 * MIB
    async with w.ask("GET", w.origin() + f"/big?bytes={size}", token) as answer:
        assert answer.headers["Content-Length"] == str(size)
        await answer.content.readexactly(10)
        last = -1
        while w.editor.produced != last:  # until nothing moves any more
            last = w.editor.produced
            await asyncio.sleep(0.1)
        assert 0 < last < 64 * MIB, "the door took in what nobody read"
        got = 10
        async for piece in answer.content.iter_any():
            got += len(piece)
    assert got == size


async def test_chunks_arrive_in_their_order(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/chunks", token) as answer:
        assert await answer.text() == "".join(f"piece {number};" for number in range(100))


async def test_an_event_arrives_before_the_next_one_is_made(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/sse", token) as answer:
        assert await answer.content.readexactly(13) == b"data: first\n\n"
        w.editor.hold.set()
        assert await answer.content.read() == b"data: second\n\n"


async def test_ranges_pass(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/range", token, {"Range": "bytes=5-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, PIECE[5:10])


@pytest.mark.parametrize("code", [204, 304])
async def test_answers_without_a_body_leave_the_connection_usable(w: World, token: str, code: int) -> None:
    for _ in range(2):
        async with w.ask("GET", w.origin() + f"/empty?code={code}", token) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (code, b"", '"1"')


async def test_head_tells_the_length_and_sends_nothing(w: World, token: str) -> None:
    for _ in range(2):
        async with w.ask("HEAD", w.origin() + "/small", token) as answer:
            assert (answer.status, await answer.read(), answer.headers["Content-Length"]) == (200, b"", str(len(SMALL)))


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_upload_streams_through_while_its_answer_comes_back(w: World, token: str, chunked: bool) -> None:  # noqa: FBT001
    count = 512
    headers = {} if chunked else {"Content-Length": str(count * len(PIECE))}
    got = 0
    async with w.ask("POST", w.origin() + "/echo", token, headers, data=pieces(count)) as answer:
        async for piece in answer.content.iter_any():
            got += len(piece)
    assert got == w.editor.received == count * len(PIECE)
    sent = w.editor.seen[-1].headers
    assert ("Transfer-Encoding" in sent, "Content-Length" in sent) == (chunked, not chunked)


async def test_a_small_body_passes(w: World, token: str) -> None:
    async with w.ask("PUT", w.origin() + "/echo", token, data=b"hello") as answer:
        assert await answer.read() == b"hello"


async def test_an_upload_that_the_editor_refuses_half_way_gets_the_refusal(w: World, token: str) -> None:
    async with w.ask("POST", w.origin() + "/refuse", token, data=pieces(2000)) as answer:
        assert (answer.status, await answer.text()) == (413, "too big for me")


async def test_expect_continue_is_answered_by_the_door(w: World, token: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
    head = (
        f"POST /echo HTTP/1.1\r\nHost: {ADA}.localhost:{w.port}\r\nCookie: nbd_session={token}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_who_leaves_takes_the_request_along(w: World, token: str) -> None:
    ended: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        ended.append(await reader.read())

    async with raw_editor(w.folder / "raw.sock", talk):
        await point_to(w, "raw.sock")
        task = asyncio.ensure_future(w.ask("GET", w.origin() + "/", token).__aenter__())
        await asyncio.sleep(0.1)
        task.cancel()
        await until(lambda: ended == [b""])


# what editors do wrong


async def point_to(w: World, name: str) -> None:
    """Ada's editor is at another socket now, and the door knows."""
    w.core.put(w.core.notebooks[ADA], w.folder / name)
    await asyncio.sleep(0.05)


async def said(w: World, token: str, talk: Talk, *, times: int = 1) -> list[tuple[int, bytes]]:
    got = []
    async with raw_editor(w.folder / "raw.sock", talk):
        await point_to(w, "raw.sock")
        for _ in range(times):
            async with w.ask("GET", w.origin() + "/", token) as answer:
                got.append((answer.status, await answer.read()))
    return got


async def test_a_body_that_ends_with_the_connection(w: World, token: str) -> None:
    assert await said(w, token, saying(b"HTTP/1.1 200 OK\r\n\r\nall of it"), times=2) == [(200, b"all of it")] * 2


async def test_answers_of_http_1_0(w: World, token: str) -> None:
    assert await said(w, token, saying(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")) == [(200, b"ok")]


async def test_early_hints_stay_between_the_editor_and_the_door(w: World, token: str) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    assert await said(w, token, saying(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) == [(200, b"ok")]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closes without a word"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="closes in the head"),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n", id="is not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="two framings"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", id="a length below nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="an encoding of its own"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", id="switches unasked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", id="a chunk that is none"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", id="a zero byte in the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000 + b"\r\n\r\n", id="an endless line"),
    ],
)
async def test_an_answer_that_cannot_be_trusted_becomes_a_clear_one(w: World, token: str, answer: bytes) -> None:
    ((status, body),) = await said(w, token, saying(answer))
    assert status == 503
    assert b'"error"' in body


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", id="a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="chunks"),
    ],
)
async def test_a_body_that_breaks_off_is_never_shown_as_whole(w: World, token: str, answer: bytes) -> None:
    with pytest.raises(aiohttp.ClientError):
        await said(w, token, saying(answer))


async def test_what_follows_an_answer_unasked_reaches_nobody(w: World, token: str) -> None:
    """Response splitting: a second answer in the wake of the first must not become the next request's."""
    double = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for _, body in await said(w, token, saying(double), times=3):
        assert b"evil" not in body


async def test_a_kept_connection_that_died_is_not_the_persons_trouble(w: World, token: str) -> None:
    talks = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal talks
        talks += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read(1)  # closes only when it is used again

    assert await said(w, token, talk, times=3) == [(200, b"ok")] * 3
    assert talks == 3


async def test_a_post_is_never_sent_twice(w: World, token: str) -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b""):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(said)

    async with raw_editor(w.folder / "raw.sock", talk):
        await point_to(w, "raw.sock")
        async with w.ask("GET", w.origin() + "/", token) as answer:
            assert answer.status == 200
        async with w.ask("POST", w.origin() + "/", token) as answer:
            assert answer.status == 503
    assert [head.split()[0] for head in heads] == [b"GET", b"POST"]


# where the editor is not


async def test_no_editor_at_the_socket_is_said_to_scripts_and_shown_to_people(w: World, token: str, tmp_path: Path) -> None:
    await point_to(w, "nobody.sock")
    async with w.ask("GET", w.origin() + "/api/contents", token) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, "editor_gone")
        assert answer.headers["Retry-After"]
    async with w.ask("GET", w.origin() + "/lab", token, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}) as answer:
        page = await answer.text()
        assert answer.status == 503
        assert "fold" in page
        assert "/.nbd/events" in page
