"""As much of HTTP/1.1 as core speaks on its socket: one request a connection, an answer with a length, in chunks, or to the end.

`http.client` would do, and costs a fifth of nbctl's time to start (it brings the email package and TLS along).
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Waiting = Callable[[float], None]
"""Called before each read and about ten times a second while core is silent, with the seconds of silence; raises to give up."""

STEP_SECONDS = 0.1
LONGEST_LINE = 64 * 1024


class BrokenOffError(Exception):
    """The answer ended before its end."""


class NotHttpError(Exception):
    """What came is no HTTP."""


class PatientSocket(socket.socket):
    """A socket whose reads wait in small steps, so that somebody can look at the clock, or at a person, between them."""

    waiting: Waiting

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        ready = select.poll()
        ready.register(self, select.POLLIN)
        began = time.monotonic()
        while True:
            # Before each read, not only after a silent step: who sends a byte at a time is late as well.
            self.waiting(time.monotonic() - began)
            if ready.poll(STEP_SECONDS * 1000):
                return super().recv_into(buffer, nbytes, flags)


def connected(path: str, deadline: float, waiting: Waiting) -> PatientSocket:
    """Raises OSError, TimeoutError among them."""
    until = time.monotonic() + deadline
    peer = PatientSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.waiting = waiting
    peer.settimeout(deadline)
    while True:
        try:
            peer.connect(path)
        except BlockingIOError:  # its queue of callers is full: the kernel says so at once instead of waiting
            if time.monotonic() >= until:
                peer.close()
                raise TimeoutError from None
            time.sleep(STEP_SECONDS)
        except OSError:
            peer.close()
            raise
        else:
            return peer


def request(method: str, target: str, body: bytes | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: nbd", "Accept: application/json", "Connection: close"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif method == "POST":
        lines += ["Content-Length: 0"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


class Response:
    """An answer whose head has been read. Raises BrokenOffError and NotHttpError, and whatever `waiting` raises."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        version, _, status = self._line().partition(b" ")
        if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
            raise NotHttpError
        self.status = int(status[:3])
        self.headers: dict[bytes, bytes] = {}
        while line := self._line().strip():
            name, _, value = line.partition(b":")
            self.headers[name.strip().lower()] = value.strip()

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def lines(self) -> Iterator[bytes]:
        """Each as soon as it is there."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def pieces(self) -> Iterator[bytes]:
        if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            yield from self._chunks()
        elif b"content-length" in self.headers:
            yield self._exactly(self._number(self.headers[b"content-length"], 10))
        else:
            while piece := self.source.readline(LONGEST_LINE):
                yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := self._number(self._line().partition(b";")[0], 16):
            yield self._exactly(size)
            self._line()

    def _line(self) -> bytes:
        line = self.source.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise NotHttpError if len(line) == LONGEST_LINE else BrokenOffError
        return line

    def _exactly(self, count: int) -> bytes:
        data = self.source.read(count)
        if len(data) < count:
            raise BrokenOffError
        return data

    def _number(self, text: bytes, base: int) -> int:
        try:
            value = int(text, base)
        except ValueError:
            raise NotHttpError from None
        if value < 0:
            raise NotHttpError
        return value
