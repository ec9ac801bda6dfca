"""Editors for the proxy to talk to: one that behaves, with every kind of answer an editor has, and one that says exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import WSMsgType, web

SMALL = b"x" * 1400
PIECE = bytes(range(256)) * 256


class Editor:
    """Remembers every request it saw."""

    def __init__(self) -> None:
        self.seen: list[web.BaseRequest] = []
        self.received = 0
        """Bytes of bodies that reached it."""
        self.produced = 0
        """Bytes of `/big` that it could hand on."""
        self.sockets = 0
        """WebSockets open now."""
        self.hold = asyncio.Event()
        """What the answers that wait, wait for."""

    def heard(self) -> bytes:
        """All that was said to it, for canaries."""
        heads = [request.raw_path.encode() + b"".join(name + value for name, value in request.raw_headers) for request in self.seen]
        return b"\n".join(heads)

    def header(self, name: str) -> str | None:
        return self.seen[-1].headers.get(name)

    @asynccontextmanager
    async def serve(self, path: Path) -> AsyncIterator[None]:
        app = web.Application(client_max_size=0)
        app.add_routes(
            [
                web.get("/small", self._small),
                web.get("/big", self._big),
                web.get("/range", self._range),
                web.get("/chunks", self._chunks),
                web.get("/sse", self._sse),
                web.get("/hang", self._hang),
                web.get("/empty", self._empty),
                web.get("/cookies", self._cookies),
                web.get("/ws", self._websocket),
                web.get("/terminals/websocket/{number}", self._websocket),
                web.get("/page", self._page),
                web.get("/lab/page", self._page),
                web.get("/labyrinth/page", self._page),
                web.route("*", "/echo", self._echo),
                web.route("*", "/refuse", self._refuse),
                web.route("*", "/{rest:.*}", self._small),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            yield
        finally:
            self.hold.set()
            await runner.cleanup()

    async def _small(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        return web.Response(body=SMALL, headers={"X-Editor": "yes"}, content_type="text/plain")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """An HTML page, as the query wants it."""
        self.seen.append(request)
        query = request.query
        body = query.get("body", "<!doctype html><html><HEAD lang=en><title>t</title></head><body>hello</body></html>").encode()
        body *= int(query.get("repeat", "1"))
        headers = {"Content-Type": query.get("type", "text/html; charset=utf-8")}
        headers |= {name: query[name] for name in ("Content-Encoding", "Content-Disposition") if name in query}
        headers |= {"Content-Security-Policy": query["policy"]} if "policy" in query else {}
        if "pieces" not in query:
            return web.Response(status=int(query.get("code", "200")), body=body, headers=headers)
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        for at in range(0, len(body), int(query["pieces"])):
            await answer.write(body[at : at + int(query["pieces"])])
            await asyncio.sleep(0)
        if "hold" in query:
            await self.hold.wait()
        return answer

    async def _big(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        size = int(request.query["bytes"])
        answer = web.StreamResponse(headers={"Content-Length": str(size)})
        await answer.prepare(request)
        self.produced = 0
        while self.produced < size:
            piece = PIECE[: size - self.produced]
            await answer.write(piece)
            self.produced += len(piece)
        return answer

    async def _range(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        wanted = request.http_range
        return web.Response(status=206, body=PIECE[wanted], headers={"Content-Range": f"bytes {wanted.start}-{wanted.stop}/{len(PIECE)}"})

    async def _chunks(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for number in range(100):
            await answer.write(f"piece {number};".encode())
        return answer

    async def _sse(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: first\n\n")
        await self.hold.wait()
        await answer.write(b"data: second\n\n")
        return answer

    async def _hang(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        await self.hold.wait()
        return web.Response()

    async def _empty(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        return web.Response(status=int(request.query["code"]), headers={"ETag": '"1"'})

    async def _cookies(self, request: web.Request) -> web.Response:
        answer = web.Response()
        for cookie in ("_xsrf=1; Path=/", "nbd_session=evil; Path=/", "wide=1; Domain=localhost", "__Host-nbd_session=evil", "NBD_x=1; path=/"):
            answer.headers.add("Set-Cookie", cookie)
        answer.headers.update(
            {"Clear-Site-Data": '"cookies"', "Strict-Transport-Security": "max-age=9", "Service-Worker-Allowed": "/", "X-Kept": "1"}
        )
        return answer

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        async for piece in request.content.iter_any():
            self.received += len(piece)
            await answer.write(piece)
        return answer

    async def _refuse(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        return web.Response(status=413, text="too big for me", headers={"Connection": "close"})

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        self.seen.append(request)
        socket = web.WebSocketResponse(max_msg_size=0, protocols=("v1.kernel.websocket.jupyter.org",))
        await socket.prepare(request)
        self.sockets += 1
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        finally:
            self.sockets -= 1
        return socket


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_editor(path: Path, talk: Talk) -> AsyncIterator[None]:
    """`talk` has each connection to itself; when it returns, the connection closes."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(answer: bytes) -> Talk:
    """Read one request's head, say `answer`, close."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk
