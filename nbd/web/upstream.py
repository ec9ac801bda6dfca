"""Connections to the editors' unix sockets: one request at a time on each, kept and used again while both sides behave.

The answer's head and body are framed by aiohttp's C parser (llhttp); a connection on which anything was odd is closed, never used again. The
event loop thread is the only one here; a `Connection` belongs to one request from `Pool.take` to `Pool.give`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

from .. import unixdoor
from ..errors import Unreachable
from ..unixdoor import Place
from .traffic import Tally

READ_AHEAD = 256 * 1024
HEAD_LINE = 16 * 1024
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 30.0
IDLE_EACH = 64
SILENCE_SECONDS = 3600.0
"""An editor may think for long (a cell that renders for minutes); for longer than this it is taken for dead."""


class Answer(NamedTuple):
    head: RawResponseMessage
    body: StreamReader
    tail: bytes
    """After a 101: what already came of the other protocol."""


class Gone(Unreachable):
    """The connection ended. `untouched`: before one byte of an answer, so that asking again on a new one is safe for who may ask twice."""

    def __init__(self, message: str, *, untouched: bool) -> None:
        super().__init__(message, code="editor_gone")
        self.untouched = untouched


class Connection(BaseProtocol):
    __slots__ = ("_answer", "_body", "_heard", "place", "since", "sound", "tally")

    def __init__(self, loop: asyncio.AbstractEventLoop, place: Place) -> None:
        super().__init__(loop)
        self.place = place
        self.tally = Tally()
        """Of whoever has it: what it carries is counted there."""
        self.sound = True
        """Nothing odd happened: it may carry another request."""
        self.since = loop.time()
        """When it last came to rest, was asked, or took more of a body."""
        self._answer: asyncio.Future[Answer] | None = None
        self._body: StreamReader | None = None
        self._heard = False

    def ask(self, head: bytes, *, bodiless: bool) -> asyncio.Future[Answer]:
        """Send a request's head (and as much of its body as came with it). `bodiless`: the answer will have no body, whatever its head says."""
        if self.transport is None:
            raise Gone("the editor closed the connection", untouched=True)
        self._parser = HttpResponseParser(
            self,
            self._loop,
            READ_AHEAD,
            max_line_size=HEAD_LINE,
            max_field_size=HEAD_LINE,
            response_with_body=not bodiless,
            read_until_eof=True,
            auto_decompress=False,
        )
        self._heard = False
        self._body = None
        self._answer = self._loop.create_future()
        self.since = self._loop.time()
        self.tally.relayed += len(head)
        self.transport.write(head)
        return self._answer

    async def send(self, data: tuple[bytes, ...]) -> None:
        """More of the request's body. Returns when there is room for the next piece."""
        if self.transport is None:
            raise Gone("the editor closed the connection during an upload", untouched=False)
        self.since = self._loop.time()
        self.tally.relayed += sum(map(len, data))
        self.transport.writelines(data)
        if self._paused:
            await self._drain_helper()

    def finished(self) -> bool:
        """The answer is here to its last byte, and the next one could follow."""
        return self.sound and self.transport is not None and self._body is not None and self._body.is_eof() and not self._reading_paused

    def waiting(self) -> bool:
        return self._answer is not None and not self._answer.done()

    def abort(self) -> None:
        self.sound = False
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.tally.relayed += len(data)
        if self._parser is None or (data and self._body is not None and self._body.is_eof()):
            self.abort()
            return
        self._heard = self._heard or bool(data)
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._fail(Unreachable(f"the editor's answer is not HTTP: {first_line(error.message)}", code="bad_gateway"))
            self.abort()
            return
        for head, body in messages:
            self._take(head, body, tail if upgraded else b"")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.sound = False
        if self._parser is not None:
            with suppress(HttpProcessingError, asyncio.InvalidStateError):
                self._parser.feed_eof()  # what it complains of is said below, in our words
        self._fail(Gone("the editor closed the connection", untouched=not self._heard))
        super().connection_lost(exc)

    def _take(self, head: RawResponseMessage, body: StreamReader, tail: bytes) -> None:
        if 100 <= head.code < 200 and head.code != 101:
            return  # "continue" and "early hints" are between the editor and us
        if self._answer is None or self._answer.done():
            self.abort()
            return
        self._body = body
        self.sound = self.sound and not head.should_close and head.code != 101
        self._answer.set_result(Answer(head, body, tail))

    def _fail(self, error: Unreachable) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        elif self._body is not None and not self._body.is_eof():
            self._body.set_exception(error)


class Pool:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: dict[Place, deque[Connection]] = {}
        self._busy: set[Connection] = set()

    def idle(self, place: Place) -> Connection | None:
        """A connection that rests, if there is one; the last used first, so that the others can age."""
        resting = self._idle.get(place)
        while resting:
            connection = resting.pop()
            if connection.sound and connection.transport is not None:
                self._busy.add(connection)
                return connection
        return None

    async def connect(self, place: Place) -> Connection:
        """Raises Unreachable where nobody answers at `place`, or somebody who is not the notebook's owner."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                door = await unixdoor.connect(place)
                _, connection = await self._loop.create_unix_connection(lambda: Connection(self._loop, place), sock=door)
        except (OSError, TimeoutError) as error:
            raise Unreachable("the editor does not answer", hint="it may be starting or stopping", code="editor_gone") from error
        self._busy.add(connection)
        return connection

    def give(self, connection: Connection) -> None:
        """The request is over, whichever way."""
        self._busy.discard(connection)
        resting = self._idle.setdefault(connection.place, deque())
        if connection.finished() and len(resting) < IDLE_EACH:
            connection.since = self._loop.time()
            resting.append(connection)
        else:
            connection.abort()

    def forget(self, place: Place) -> None:
        """The editor at `place` is gone; another may come to the same place."""
        for connection in self._idle.pop(place, ()):
            connection.abort()

    def sweep(self) -> None:
        """Close what has rested too long, and what has waited too long for an answer."""
        now = self._loop.time()
        for place, resting in list(self._idle.items()):
            while resting and (resting[0].transport is None or now - resting[0].since > IDLE_SECONDS):
                resting.popleft().abort()
            if not resting:
                del self._idle[place]
        for connection in [one for one in self._busy if one.waiting() and now - one.since > SILENCE_SECONDS]:
            connection.abort()

    def close(self) -> None:
        for place in list(self._idle):
            self.forget(place)
        for connection in list(self._busy):
            connection.abort()


def first_line(text: str) -> str:
    return text.split("\n", 1)[0].rstrip(":")[:120]
