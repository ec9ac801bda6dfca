"""Messages with bytes beside them, over one stream: what sync and a restore's child say to each other.

A frame is two lengths (u32 each), a JSON object, and bytes. Paths and names are bytes: in JSON they stand as text in which each byte that is no
UTF-8 is a lone surrogate, escaped.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import Damaged
from ..homes.model import Entry
from ..homes.snapshots.encoding import decode_entries, encode_part

HEAD = struct.Struct(">II")
LENGTH = struct.Struct(">I")
MOST_WORDS, MOST_DATA = 4 << 20, 256 << 20


class Frame(NamedTuple):
    words: dict[str, Any]
    data: bytes = b""


async def send(writer: asyncio.StreamWriter, words: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    text = json.dumps(words).encode()
    writer.write(HEAD.pack(len(text), sum(map(len, parts))) + text)
    for part in parts:
        writer.write(part)
        await writer.drain()
    await writer.drain()


async def receive(reader: asyncio.StreamReader, most_data: int = MOST_DATA) -> Frame | None:
    """None: the other side has ended. Raises Damaged for what is no frame."""
    try:
        words, data = HEAD.unpack(await reader.readexactly(HEAD.size))
        if words > MOST_WORDS or data > most_data:
            raise Damaged("a message is larger than any that nbd sends")
        message = json.loads(await reader.readexactly(words))
        if not isinstance(message, dict):
            raise Damaged("a message is no object")
        return Frame(message, await reader.readexactly(data))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except (ValueError, RecursionError):  # the second: nested a thousand deep
        raise Damaged("a message does not parse") from None


def told(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def heard(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def packed(entries: Sequence[Entry]) -> bytes:
    """Each by itself: they are of many folders, and one name may come again."""
    parts = [encode_part([entry]) for entry in entries]
    return LENGTH.pack(len(parts)) + b"".join(LENGTH.pack(len(part)) + part for part in parts)


def unpacked(data: bytes) -> tuple[list[Entry], memoryview]:
    """The entries, and what follows them."""
    (count,) = LENGTH.unpack_from(data)
    entries, at = list[Entry](), LENGTH.size
    for _ in range(count):
        (length,) = LENGTH.unpack_from(data, at)
        entries += decode_entries(data[at + LENGTH.size : at + LENGTH.size + length])
        at += LENGTH.size + length
    return entries, memoryview(data)[at:]
