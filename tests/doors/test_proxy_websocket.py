"""WebSockets through the door: any size, any number, and no longer than the right to them."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import pytest

from tests.doors.test_proxy import point_to
from tests.doors.world import ADA, BOB, World, until
from tests.fakes.editor import raw_editor, saying

MIB = 1024 * 1024
PROTOCOL = "v1.kernel.websocket.jupyter.org"


def join(w: World, token: str, origin: str | None = None, id: str = ADA) -> aiohttp.client._WSRequestContextManager:
    headers = {"Cookie": f"nbd_session={token}"} | ({} if origin == "" else {"Origin": origin or w.origin(id)})
    return w.http.ws_connect(w.origin(id) + "/ws", headers=headers, max_msg_size=0, protocols=(PROTOCOL,))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 5 * MIB, 64 * MIB])
async def test_messages_of_any_size_come_back_as_they_went(w: World, token: str, size: int) -> None:
    message = os.urandom(size)
    async with join(w, token) as socket:
        assert socket.protocol == PROTOCOL
        await socket.send_bytes(message)
        assert await socket.receive_bytes() == message


async def test_many_at_once(w: World, token: str) -> None:
    async def talk(number: int) -> None:
        async with join(w, token) as socket:
            for turn in range(20):
                await socket.send_str(f"{number}/{turn}")
                assert await socket.receive_str() == f"{number}/{turn}"

    await asyncio.gather(*(talk(number) for number in range(50)))
    await until(lambda: w.editor.sockets == 0)


async def test_a_reader_that_does_not_read_holds_the_sender_back(w: World, token: str) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
        while True:
            writer.write(b"." * MIB)
            await writer.drain()
            sent += MIB

    async with raw_editor(w.folder / "raw.sock", talk):
        await point_to(w, "raw.sock")
        _, writer = await asyncio.open_connection("127.0.0.1", w.port, limit=1024)
        writer.write(handshake(w, token))
        await until(lambda: sent > 0)
        last = -1
        while sent != last:
            last = sent
            await asyncio.sleep(0.1)
        assert sent < 64 * MIB, "the door took in what nobody read"
        writer.transport.abort()


def handshake(w: World, token: str, *more: str) -> bytes:
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: {ADA}.localhost:{w.port}",
        f"Origin: {w.origin()}",
        f"Cookie: nbd_session={token}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        *more,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def test_what_comes_right_behind_the_handshakes_is_not_lost(w: World, token: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello ")
        writer.write(await reader.readexactly(5))

    async with raw_editor(w.folder / "raw.sock", talk):
        await point_to(w, "raw.sock")
        assert (await w.raw(handshake(w, token) + b"hasty")).endswith(b"\r\n\r\nhello hasty")


async def test_an_editor_that_refuses_the_handshake_is_heard(w: World, token: str) -> None:
    async with raw_editor(w.folder / "raw.sock", saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")):
        await point_to(w, "raw.sock")
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await join(w, token)
        assert error.value.status == 404


async def test_an_editor_that_goes_takes_its_sockets_along(w: World, token: str) -> None:
    async with join(w, token) as socket:
        w.core.put(w.core.notebooks[ADA])
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE}
    await until(lambda: w.editor.sockets == 0)


async def test_a_sign_in_that_ends_takes_its_sockets_along_and_no_others(w: World, token: str) -> None:
    other = w.core.sign_in("ada", ADA)
    async with join(w, token) as mine, join(w, other) as stays:
        w.core.sign_out(token)
        assert (await mine.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE}
        await stays.send_str("still here")
        assert await stays.receive_str() == "still here"


async def test_a_sign_in_that_expires_takes_its_sockets_along(w: World) -> None:
    async with join(w, w.core.sign_in("ada", ADA, seconds=1.5)) as socket:
        assert (await socket.receive(timeout=10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE}


async def test_what_ended_while_core_was_away_ends_when_it_is_back(w: World, token: str) -> None:
    async with join(w, token) as socket:
        w.core.sign_ins.clear()
        w.core.end_subscriptions()
        assert (await socket.receive(timeout=10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE}


async def test_sockets_outlive_a_core_that_restarts(w: World, token: str) -> None:
    async with join(w, token) as socket:
        w.core.end_subscriptions()
        async with w.ask("GET", w.origin() + "/small", token) as answer:  # which waits for the new table
            assert answer.status == 200
        await socket.send_str("still here")
        assert await socket.receive_str() == "still here"


ORIGINS = [
    pytest.param("", id="missing"),
    *(
        pytest.param(origin, id=origin)
        for origin in (
            "null",
            "http://localhost:{port}",
            "https://{id}.localhost:{port}",
            "http://{id}.localhost",
            "http://{id}.localhost:{port}/",
            "http://{id}.localhost:{port}.evil.example",
            "http://{id}.localhost:{port}@evil.example",
            "http://evil.example/{id}.localhost:{port}",
            "http://x{id}.localhost:{port}",
            "http://evil.{id}.localhost:{port}",
            "http://{other}.localhost:{port}",
            "http://{id}.localhost.:{port}",
            "http://{id}.localhost:{port}1",
            "http://{id}.LOCALHOST:{port}",
            "HTTP://{id}.localhost:{port}",
            "http://user@{id}.localhost:{port}",
            "http://{id}.localhost:{port}#",
            "http://{id}.localhost:{port}?x",
            "http://{id}.localhost:{port} http://evil.example",
            "http://127.0.0.1:{port}",
            "http://[::1]:{port}",
            "file://",
            "chrome-extension://abc",
            "http://{id}%2elocalhost:{port}",
            "http:///{id}.localhost:{port}",
            "http:{id}.localhost:{port}",
            "//{id}.localhost:{port}",
            "{id}.localhost:{port}",
            "ws://{id}.localhost:{port}",
        )
    ),
]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_no_other_origin_may_open_one(w: World, token: str, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await join(w, token, origin.format(id=ADA, other=BOB, port=w.port))
    assert error.value.status == 403
    assert not w.editor.seen


async def test_without_the_right_cookie_nobody_may(w: World, token: str) -> None:
    for wrong in ("", "nonsense-nonsense-nonsense", w.core.sign_in("bob", BOB), w.core.sign_in("ada"), w.core.sign_in("bob", ADA)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await join(w, wrong)
        assert error.value.status in {401, 404}
    assert not w.editor.seen


@pytest.mark.parametrize("other", ["h2c", "tcp", "websocket, h2c", "TLS/1.0"])
async def test_other_upgrades_are_refused(w: World, token: str, other: str) -> None:
    head = handshake(w, token, "Connection: close").replace(b"Upgrade: websocket", b"Upgrade: " + other.encode())
    assert (await w.raw(head)).startswith(b"HTTP/1.1 400")
    assert not w.editor.seen
