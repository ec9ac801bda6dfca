"""A kept connection to one editor, over which small questions are asked again and again: several at once, answered in their order.

What is at the other end belongs to a person and may say anything: heads and bodies are bounded, their form is fixed, and what was not asked for ends
the connection. A deadline is the caller's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from .. import unixdoor
from ..errors import Unreachable
from ..unixdoor import Place

HEAD_BYTES, BODY_BYTES = 16 << 10, 256 << 10
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)
END = b"\r\n\r\n"


class Answer(NamedTuple):
    status: int
    body: bytes


class Line(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._answers: list[Answer] = []
        self._wanted = 0
        self._waiting: asyncio.Future[list[Answer]] | None = None
        self.names: dict[str, str] = {}
        """What is called how, as this editor said it last."""
        self.asked = 0

    @property
    def open(self) -> bool:
        return self._transport is not None

    async def ask(self, paths: Sequence[str]) -> list[Answer]:
        """One answer a path. Raises Unreachable(broken_off) when the connection ends first, Unreachable for what is no answer. One caller at a time;
        who leaves early leaves it closed."""
        if self._transport is None:
            raise broken_off()
        self._answers, self._wanted = [], len(paths)
        waiting: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._transport.write(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode() for path in paths))
        try:
            return await waiting
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._settle(broken_off())

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.close()  # Nobody asked.
            return
        self._data += data
        try:
            while len(self._answers) < self._wanted and (answer := self._next()) is not None:
                self._answers.append(answer)
        except Unreachable as error:
            self._settle(error)
            return
        if len(self._answers) == self._wanted:
            self._settle(None)
            if self._data:
                self.close()

    def _settle(self, error: Unreachable | None) -> None:
        if self._waiting is None or self._waiting.done():
            return
        if error is None:
            self._waiting.set_result(self._answers)
        else:
            self._waiting.set_exception(error)

    def _next(self) -> Answer | None:
        """The next whole answer, taken off what came; None where more has to come."""
        end = self._data.find(END, 0, HEAD_BYTES)
        if end < 0:
            if len(self._data) >= HEAD_BYTES:
                raise nonsense("its head does not end")
            return None
        head = bytes(self._data[: end + 2])
        status, lengths = STATUS.match(head), LENGTH.findall(head)
        if status is None or len(lengths) != 1:
            raise nonsense("it is not HTTP with a length")
        length = int(lengths[0])
        if length > BODY_BYTES:
            raise nonsense(f"it is larger than {BODY_BYTES >> 10} KiB")
        begin = end + len(END)
        if len(self._data) < begin + length:
            return None
        body = bytes(self._data[begin : begin + length])
        del self._data[: begin + length]
        return Answer(int(status[1]), body)


async def connected(place: Place) -> Line:
    """Raises OSError while nobody listens, Unreachable for what is not the person's."""
    found = await unixdoor.connect(place)
    try:
        _, line = await asyncio.get_running_loop().create_unix_connection(Line, sock=found)
    except BaseException:
        found.close()
        raise
    return line


def nonsense(why: str) -> Unreachable:
    return Unreachable(f"the editor's answer is not understood: {why}", code="not_understood")


def broken_off() -> Unreachable:
    return Unreachable("the editor ended the connection without an answer", code="broken_off")
