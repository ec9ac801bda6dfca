"""One request through to an editor and its answer back, streaming both ways with back-pressure. Who may do so is decided before (access.py).

A small answer costs one write each way. A body is never held whole: the readers stop reading when what they feed is full. When something breaks
before the answer's head is out, an error is raised for the door to put into words; after it, the connection is cut, which is the one way HTTP/1.1
has to say "this is not all of it".
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from ..errors import InvalidInput, NbdError, Unreachable
from ..unixdoor import Place
from .headers import LAST_CHUNK, answer_head, chunk, forwarded, framing, request_head, unencoded
from .inset import LOOK_BYTES, is_page, place_in, with_inset
from .traffic import Traffic
from .tunnel import Right, Tunnel, Tunnels
from .upstream import Answer, Connection, Gone, Pool

SMALL = 64 * 1024
NO_BODY = frozenset({204, 205, 304})
NO_LENGTH = frozenset({204, 205})
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
CLOSE = b"\r\nConnection: close\r\n"


class Sent(web.StreamResponse):
    """For aiohttp: the answer is on the wire already. Holds nothing of a request, so that two of them serve all."""

    def __init__(self, *, stay: bool) -> None:
        super().__init__()
        self._stay = stay

    @property
    def keep_alive(self) -> bool:
        return self._stay

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


KEPT, CLOSED = Sent(stay=True), Sent(stay=False)


class Target(NamedTuple):
    """Where a request that was let through goes, and on whose word."""

    place: Place
    host: str
    right: Right
    inset: bytes = b""
    """What is put into the answer where it is a page of the editor's (inset.py)."""


class Proxy:
    def __init__(self, pool: Pool, tunnels: Tunnels, scheme: str, traffic: Traffic) -> None:
        self._pool = pool
        self._tunnels = tunnels
        self._scheme = scheme
        self._traffic = traffic

    async def relay(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Raises InvalidInput for a head that cannot be passed on and Unreachable where the editor does not do its part."""
        browser = transport_of(request)
        self._tunnels.relay_begins(browser, target.right)
        try:
            return await self._relayed(request, target)
        finally:
            self._tunnels.relay_ends(browser)

    async def _relayed(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        repeatable = request.method in REPEATABLE
        length, small = measured(request)
        head = self._head(request, target, b"\r\n" if length == 0 and repeatable else framing(length))
        if small is None:
            return await self._upload(request, await self._connected(target), head, chunked=length is None)
        rested = self._pool.idle(target.place)
        if rested is not None:
            rested.tally = self._traffic.of(target.right.notebook)
            try:
                return await self._exchange(request, rested, head + small, target.inset)
            except Gone as gone:
                if not (gone.untouched and repeatable):
                    raise
        return await self._exchange(request, await self._connected(target), head + small, target.inset)

    async def _connected(self, target: Target) -> Connection:
        connection = await self._pool.connect(target.place)
        connection.tally = self._traffic.of(target.right.notebook)
        return connection

    async def upgrade(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Join the browser and the editor for a WebSocket; returns when it is over."""
        if request.headers.get("Upgrade", "").lower() != "websocket" or request.method != "GET" or not request.content.is_eof():
            raise InvalidInput("the only upgrade here is to a WebSocket", code="bad_upgrade")
        connection = await self._connected(target)
        try:
            answer = await connection.ask(self._head(request, target, WEBSOCKET + b"\r\n"), bodiless=False)
            if answer.head.code != 101:
                return await pass_on(request, answer)
            return await self._joined(request, connection, answer, target.right)
        finally:
            self._pool.give(connection)

    async def _joined(self, request: web.BaseRequest, connection: Connection, answer: Answer, right: Right) -> web.StreamResponse:
        browser, editor = transport_of(request), connection.transport
        if editor is None or answer.head.headers.get("Upgrade", "").lower() != "websocket":
            raise Unreachable("the editor did not complete the WebSocket handshake", code="bad_gateway")
        browser.write(answer_head(101, "Switching Protocols", answer.head.raw_headers, b"\r\n" + WEBSOCKET + b"\r\n") + answer.tail)
        # aiohttp kept what a hasty client sent behind its handshake; there is no public way to ask for it.
        editor.write(request.protocol._message_tail)
        tunnel = Tunnel(browser, editor, self._traffic.tap(right.notebook, request.raw_path), request.protocol.connection_lost)
        self._tunnels.add(tunnel, right)
        tally = self._traffic.of(right.notebook)
        tally.tabs += 1
        try:
            await tunnel.closed
        finally:
            tally.tabs -= 1
            tunnel.close()
        return CLOSED

    async def _exchange(self, request: web.BaseRequest, connection: Connection, message: bytes, inset: bytes) -> web.StreamResponse:
        try:
            answer = await connection.ask(message, bodiless=request.method == "HEAD")
            return await (pass_on_page(request, answer, inset) if inset and is_page(answer.head) else pass_on(request, answer))
        finally:
            self._pool.give(connection)

    async def _upload(self, request: web.BaseRequest, connection: Connection, head: bytes, *, chunked: bool) -> web.StreamResponse:
        """Send the body while waiting for the answer, which may come before the body's end (a refusal, an echo)."""
        answer = connection.ask(head, bodiless=False)
        upload = asyncio.create_task(send_body(request, connection, chunked=chunked))
        try:
            await asyncio.wait((upload, answer), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await upload
            return await pass_on(request, await answer)
        finally:
            connection.sound = connection.sound and upload.done()
            upload.cancel()
            await asyncio.wait((upload,))
            self._pool.give(connection)

    def _head(self, request: web.BaseRequest, target: Target, end: bytes) -> bytes:
        own = forwarded(request.remote or "", self._scheme, target.host)
        fields = unencoded(request.raw_headers) if target.inset else request.raw_headers
        return request_head(request.method, request.raw_path, fields, own + end)


def measured(request: web.BaseRequest) -> tuple[int | None, bytes | None]:
    """How long the request's body is (None: chunks will tell), and the body itself where all of it is here already."""
    body = request.content
    if body.is_eof():
        small = body.read_nowait()
        return len(small), small
    length = request.headers.get("Content-Length")
    return (None if length is None else int(length)), None


async def send_body(request: web.BaseRequest, connection: Connection, *, chunked: bool) -> None:
    if request.headers.get("Expect", "").lower() == "100-continue":
        transport_of(request).write(CONTINUE)
    while data := await request.content.readany():
        await connection.send(chunk(data) if chunked else (data,))
    if chunked:
        await connection.send((LAST_CHUNK,))


async def pass_on(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """The editor's answer to the browser. Once the head is out nothing is raised but a cancellation."""
    head, body = answer.head, answer.body
    transport = transport_of(request)
    stay = request.keep_alive
    start, whole = framed(request, answer, b"\r\n" if stay else CLOSE)
    if whole is not None and len(whole) <= SMALL:
        transport.write(start + whole)
    elif whole is not None:
        transport.writelines((start, whole))
    else:
        transport.write(start)
        stay = await stream(request, body, chunked="Content-Length" not in head.headers) and stay
    await request.writer.drain()
    return KEPT if stay else CLOSED


async def pass_on_page(request: web.BaseRequest, answer: Answer, inset: bytes) -> web.StreamResponse:
    """As `pass_on`, with `inset` where its head begins. A page without one passes as it is."""
    head, body, transport = answer.head, answer.body, transport_of(request)
    stay = request.keep_alive
    first = bytearray()
    try:
        while place_in(first) is None and len(first) < LOOK_BYTES and (data := await body.readany()):
            first += data
    except (HttpProcessingError, ConnectionError):
        raise Unreachable("the editor broke off", code="editor_gone") from None
    told = head.headers.get("Content-Length")
    page = with_inset(bytes(first), inset)
    length = None if told is None else int(told) + len(page) - len(first)
    transport.write(answer_head(head.code, head.reason, head.raw_headers, (b"\r\n" if stay else CLOSE) + framing(length)))
    if page:
        transport.writelines(chunk(page) if length is None else (page,))
    stay = await stream(request, body, chunked=length is None) and stay
    await request.writer.drain()
    return KEPT if stay else CLOSED


def framed(request: web.BaseRequest, answer: Answer, end: bytes) -> tuple[bytes, bytes | None]:
    """The head as the browser gets it, and the body where all of it is here already. `end` ends the line before the framing."""
    code, reason, fields, body = answer.head.code, answer.head.reason, answer.head.raw_headers, answer.body
    length = answer.head.headers.get("Content-Length")
    if code == 101:
        raise Unreachable("the editor switched protocols without being asked", code="bad_gateway")
    if code in NO_BODY or request.method == "HEAD":
        told = framing(int(length)) if length is not None and code not in NO_LENGTH else b"\r\n"
        return answer_head(code, reason, fields, end + told), b""
    if body.is_eof() and body.exception() is None:
        whole = body.read_nowait()
        return answer_head(code, reason, fields, end + framing(len(whole))), whole
    return answer_head(code, reason, fields, end + framing(None if length is None else int(length))), None


async def stream(request: web.BaseRequest, body: StreamReader, *, chunked: bool) -> bool:
    """False where the editor broke off: the browser's connection is cut then, and carries nothing more."""
    transport = transport_of(request)
    try:
        while data := await body.readany():
            if chunked:
                transport.writelines(chunk(data))
            else:
                transport.write(data)
            await request.writer.drain()
    except (NbdError, HttpProcessingError, ConnectionError):
        transport.abort()
        return False
    if chunked:
        transport.write(LAST_CHUNK)
    return True


def transport_of(request: web.BaseRequest) -> asyncio.Transport:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the browser has gone")
    return transport
