"""Stands between nbd and an S3 server, on loopback, and gives a share of the requests a bad day: seeded, so that a day can be had again.

What real stores and the lines to them do: errors, requests to slow down, silence, resets before, in and after the work, answers cut in half, listings
from earlier, credentials that have expired, and the worst: a PUT of which half is kept and all is acknowledged.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

END = b"\r\n\r\n"
ANSWERS = {
    "error": (500, "InternalError"),
    "slow down": (503, "SlowDown"),
    "too many": (429, "TooManyRequests"),
    "expired": (400, "ExpiredToken"),
    "busy": (409, "ConditionalRequestConflict"),
}
ANY = ("error", "slow down", "too many", "expired", "silent", "reset", "reset after", "silent after")
FAULTS: dict[str, Callable[[str, bool], bool]] = {
    **dict.fromkeys(ANY, lambda method, listing: True),
    "busy": lambda method, listing: method == "PUT",
    "reset in the body": lambda method, listing: method == "PUT",
    "half kept": lambda method, listing: method == "PUT",
    "half kept, reset": lambda method, listing: method == "PUT",
    "half answered": lambda method, listing: method == "GET",
    "stale list": lambda method, listing: listing,
}
"""Name, and of which requests (method, is it a listing) it can be."""


@dataclass
class Request:
    method: str
    path: str
    headers: list[bytes]
    length: int
    body: bytes = b""

    @property
    def listing(self) -> bool:
        return self.method == "GET" and "list-type=2" in self.path


@dataclass
class FaultServer:
    upstream: tuple[str, int]
    chance: random.Random
    share: float
    only: tuple[str, ...] = tuple(FAULTS)
    met: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    connections: int = 0
    now: int = 0
    most: int = 0
    """Requests at once."""
    endpoint: str = ""
    _lists: dict[str, list[bytes]] = field(default_factory=dict)
    _lines: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._lines.add(writer)
        try:
            while True:
                request = parsed(await reader.readuntil(END))
                self.requests += 1
                self.now += 1
                self.most = max(self.most, self.now)
                try:
                    await self._one(request, reader, writer)
                finally:
                    self.now -= 1
        except (asyncio.IncompleteReadError, OSError, Reset):
            writer.transport.abort()
        finally:
            self._lines.discard(writer)

    async def _one(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._fault(request)
        if fault == "reset in the body":
            await reader.readexactly(request.length // 2)
            raise Reset
        request.body = await reader.readexactly(request.length)
        if fault == "reset":
            raise Reset
        if fault == "silent":
            await reader.read()
            raise Reset
        answer = refusal(*ANSWERS[fault]) if fault in ANSWERS else await self._forwarded(request, fault)
        if fault == "silent after":
            await reader.read()
        if fault in ("reset after", "half kept, reset", "silent after"):
            raise Reset
        if fault == "half answered":
            head, _, body = answer.partition(END)
            writer.write(head + END + body[: len(body) // 2])
            await writer.drain()
            raise Reset
        writer.write(answer)
        await writer.drain()

    def _fault(self, request: Request) -> str:
        """Empty for none."""
        if self.chance.random() >= self.share:
            return ""
        fault = self.chance.choice([name for name in self.only if FAULTS[name](request.method, request.listing)] or [""])
        self.met[fault] += 1
        return fault

    async def _forwarded(self, request: Request, fault: str) -> bytes:
        if fault.startswith("half kept"):
            request.body = request.body[: len(request.body) // 2]
        answer = await self._asked(request)
        if request.listing:
            seen = self._lists.setdefault(request.path, [])
            seen.append(answer)
            if fault == "stale list":
                return self.chance.choice(seen)
        return answer

    async def _asked(self, request: Request) -> bytes:
        reader, writer = await asyncio.open_connection(*self.upstream)
        try:
            kept = [line for line in request.headers if not line.lower().startswith((b"connection:", b"content-length:", b"x-amz-checksum"))]
            lines = [f"{request.method} {request.path} HTTP/1.1".encode(), *kept, b"Connection: close", b"Content-Length: %d" % len(request.body)]
            writer.write(b"\r\n".join(lines) + END + request.body)
            head, _, body = (await reader.read()).partition(END)
        finally:
            writer.close()
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"content-length:"))]
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + END + body

    def hang_up(self) -> None:
        for writer in list(self._lines):
            writer.transport.abort()


class Reset(Exception):
    pass


def parsed(head: bytes) -> Request:
    first, *headers = head.removesuffix(END).split(b"\r\n")
    method, path, _ = first.decode().split(" ")
    length = next((int(line.partition(b":")[2]) for line in headers if line.lower().startswith(b"content-length:")), 0)
    return Request(method, path, headers, length)


def refusal(status: int, code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a bad day</Message></Error>".encode()
    return f"HTTP/1.1 {status} Bad Day\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}".encode() + END + body


@asynccontextmanager
async def faulty(upstream: tuple[str, int], seed: int, share: float = 0.2, only: tuple[str, ...] = tuple(FAULTS)) -> AsyncIterator[FaultServer]:
    server = FaultServer(upstream, random.Random(seed), share, only)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20)
    server.endpoint = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        server.hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await listening.wait_closed()
