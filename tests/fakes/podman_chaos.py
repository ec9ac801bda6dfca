"""A Podman service on its bad days: a unix socket whose far end commits one sin after another. `sin` may be changed while it serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    body: bytes


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[bool]]
"""Writes an answer; whether the connection stays open."""


class ChaosPodman:
    """Serves within the test's own event loop: whoever blocks that loop gets no answer at all."""

    def __init__(self, path: Path, sin: Answer) -> None:
        self.path = path
        self.sin = sin
        self.asked: list[Asked] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ChaosPodman:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, str(self.path))

    async def close(self) -> None:
        """As when the service ends: the socket is gone, each connection closed."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            going_on = True
            while going_on:
                asked = await self._one(reader)
                going_on = await self.sin(asked, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        asked = Asked(method, path, await reader.readexactly(int(lengths[0])) if lengths else b"")
        self.asked.append(asked)
        return asked


def answers(value: object, status: int = 200) -> Answer:
    """No sin: a whole answer, and the connection stays."""
    return says(json.dumps(value).encode(), status)


def says(body: bytes, status: int = 200) -> Answer:
    async def answer(_: Asked, writer: asyncio.StreamWriter) -> bool:
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return True

    return answer


def refuses(status: int, message: str) -> Answer:
    """As Podman words its errors."""
    return answers({"cause": message.rpartition(": ")[2], "message": message, "response": status}, status)


async def silent(_: Asked, writer: asyncio.StreamWriter) -> bool:
    """Accepts, reads, never answers."""
    await asyncio.Event().wait()
    return False


async def hangs_up(_: Asked, writer: asyncio.StreamWriter) -> bool:
    return False


async def half_a_body(_: Asked, writer: asyncio.StreamWriter) -> bool:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{"Id": "ab')
    return False


async def half_a_body_of_unknown_length(_: Asked, writer: asyncio.StreamWriter) -> bool:
    writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[{"Id": "ab')
    return False


async def half_a_head(_: Asked, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    return False


async def not_http(_: Asked, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"220 mail.example ESMTP\r\n")
    return False


async def drips(_: Asked, writer: asyncio.StreamWriter) -> bool:
    """A byte now and then: no single read ever takes long, the whole never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


def by_path(table: dict[str, Answer], otherwise: Answer) -> Answer:
    """One sin for one question, told apart by a piece of its path."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> bool:
        chosen = next((answer for piece, answer in table.items() if piece in asked.path), otherwise)
        return await chosen(asked, writer)

    return answer
