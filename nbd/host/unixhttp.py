"""The few bytes of HTTP that core itself speaks: one small question to a unix socket, one small answer. Not a general client."""

from __future__ import annotations

import asyncio
import socket as sockets
from dataclasses import dataclass

from ..errors import Unreachable

ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


async def ask(socket: str, method: str, path: str, body: bytes = b"", most: int = ANSWER_BYTES) -> Answer:
    """Raises OSError while nobody listens, Unreachable(code=broken_off) where it ended before its answer, and Unreachable for what is not HTTP.
    The deadline is the caller's."""
    return await exchange(await asyncio.open_unix_connection(socket), method, path, body, most)


async def ask_on(connected: sockets.socket, method: str, path: str) -> Answer:
    """On a connection that was made already; closes it."""
    return await exchange(await asyncio.open_unix_connection(sock=connected), method, path, b"", ANSWER_BYTES)


async def exchange(ends: tuple[asyncio.StreamReader, asyncio.StreamWriter], method: str, path: str, body: bytes, most: int) -> Answer:
    reader, writer = ends
    try:
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()
        answer = await _all(reader, most)
    finally:
        writer.close()
    if not answer:
        raise Unreachable(f"what was asked for {path} ended without an answer", code="broken_off")
    head_bytes, _, rest = answer.partition(b"\r\n\r\n")
    words = head_bytes.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise Unreachable(f"what was asked for {path} does not speak HTTP")
    return Answer(int(words[1]), rest)


async def _all(reader: asyncio.StreamReader, most: int) -> bytes:
    data = bytearray()
    while len(data) < most and (chunk := await reader.read(65536)):
        data += chunk
    return bytes(data)
