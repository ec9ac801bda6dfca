"""The door's side of core's API: calls on a person's behalf, and the subscription that keeps the table.

Who a call acts for is proved by the token in the person's cookie, never said by the door. Every call has a deadline; every answer that is not a
success comes out as the NbdError that core meant.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from .. import wire
from ..errors import KINDS, Deadline, InvalidInput, NbdError, Unreachable
from ..idlemessages import FromInside, TrafficReport
from ..messages import DoorEvent, NotebookView, ProblemAnswer, Redeemed, RedeemRequest
from .table import SILENCE_SECONDS, DoorTable

T = TypeVar("T")
CALL_SECONDS, STREAM_SECONDS = 30.0, 300.0
BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
LOG_BYTES = 1024 * 1024
START_SECONDS = 10.0
"""The two programs start side by side; that core is not there yet is no news for so long."""
log = logging.getLogger(__name__)


class CoreLink:
    """Needs a running loop to be made; `close` it."""

    def __init__(self, socket: Path, *, quiet_seconds: float = START_SECONDS) -> None:
        self._quiet_seconds = quiet_seconds
        self._session = aiohttp.ClientSession(
            "http://core",
            connector=aiohttp.UnixConnector(str(socket)),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1024 * 1024,
        )

    async def close(self) -> None:
        await self._session.close()

    async def redeem(self, ticket: str) -> Redeemed:
        """Spend a one-time ticket. Raises NotSignedIn or NotFound where it is not, or no longer, good."""
        return wire.decode(Redeemed, await self._call("POST", "/v1/door/redeem", None, RedeemRequest(ticket)))

    async def tell_traffic(self, report: TrafficReport) -> None:
        await self._call("POST", "/v1/door/traffic", None, report)

    async def keep_inside(self, token: str, seconds: float) -> NotebookView:
        """Keep the notebook whose origin the token is for."""
        return wire.decode(NotebookView, await self._call("POST", "/v1/door/keep", None, FromInside(token, seconds)))

    async def woken(self, token: str) -> NotebookView:
        """A person stands before the notebook whose origin the token is for."""
        return wire.decode(NotebookView, await self._call("POST", "/v1/door/woken", None, FromInside(token)))

    async def get(self, kind: type[T], path: str, token: str) -> T:
        return wire.decode(kind, await self._call("GET", path, token))

    async def get_list(self, kind: type[T], path: str, token: str) -> tuple[T, ...]:
        message = json.loads(await self._call("GET", path, token))
        if not isinstance(message, list):
            raise InvalidInput(f"core's {path} is not a list")
        return tuple(wire.load(kind, item, f"[{number}]") for number, item in enumerate(message))

    async def text(self, path: str, token: str) -> str:
        return (await self._call("GET", path, token)).decode(errors="replace")

    async def post(self, kind: type[T], path: str, token: str, body: object = None) -> T:
        return wire.decode(kind, await self._call("POST", path, token, body))

    async def patch(self, kind: type[T], path: str, token: str, body: object) -> T:
        return wire.decode(kind, await self._call("PATCH", path, token, body))

    async def do(self, method: str, path: str, token: str) -> None:
        await self._call(method, path, token)

    async def stream(self, kind: type[T], path: str, token: str, body: object) -> AsyncGenerator[T, None]:
        """The pieces of a long answer as they come: one JSON object a line, the last of which may be an error. Silence may last STREAM_SECONDS."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_SECONDS, sock_read=STREAM_SECONDS)
        try:
            async with self._session.post(path, headers=headers, data=wire.encode(body).encode(), timeout=timeout) as answer:
                if answer.status >= 400:
                    raise problem(answer.status, await answer.read())
                async for line in answer.content:
                    yield piece(kind, line)
        except TimeoutError as error:
            raise Deadline("nbd did not go on in time", hint="see: nbctl status") from error
        except aiohttp.ClientError as error:
            raise Unreachable("nbd broke off", hint="see: nbctl status") from error

    async def _call(self, method: str, path: str, token: str | None, body: object = None) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else wire.encode(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(method, path, headers=headers, data=data) as answer:
                content = await answer.content.read(LOG_BYTES) if answer.content_type == "text/plain" else await answer.read()
        except TimeoutError as error:
            raise Deadline("nbd did not answer in time", hint="see: nbctl status") from error
        except aiohttp.ClientError as error:
            raise Unreachable("nbd is not running", hint="see: systemctl status nbd") from error
        if answer.status >= 400:
            raise problem(answer.status, content)
        return content

    async def follow(self, table: DoorTable) -> None:
        """Keep `table` as core sees the world, for ever: a subscription that ends or falls silent is made anew."""
        failures, told = 0, False
        quiet_until = time.monotonic() + self._quiet_seconds
        while True:
            try:
                await self._subscribe(table)
                failures, told = 0, False
            except (aiohttp.ClientError, TimeoutError, NbdError, ValueError) as error:
                worked = table.fresh()
                loud = worked or not (told or time.monotonic() < quiet_until)
                log.log(logging.WARNING if loud else logging.DEBUG, "who is signed in cannot be learned from core: %s", in_words(error))
                failures, told = 0 if worked else failures + 1, told or loud
            table.lost()
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def _subscribe(self, table: DoorTable) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._session.get("/v1/door/events", timeout=timeout) as answer:
            if answer.status != 200:
                raise problem(answer.status, await answer.read())
            table.begin()
            async for line in answer.content:
                if line.startswith(b"data:"):
                    table.apply(wire.decode(DoorEvent, line[5:]))
                else:
                    table.heard()


def piece(kind: type[T], line: bytes) -> T:
    """Raises the error that a stream ended with: its status was sent before anybody knew."""
    if line.startswith(b'{"error"'):
        raise problem(500, line)
    return wire.decode(kind, line)


def in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"nobody listens at its socket ({error.os_error.strerror or error.os_error})"
    if isinstance(error, TimeoutError):
        return f"it said nothing for {SILENCE_SECONDS:g} s"
    return str(error) or type(error).__name__


def problem(status: int, content: bytes) -> NbdError:
    """What core said, as the error it was there."""
    kind: Any = KINDS.get(status, NbdError)
    try:
        error = wire.decode(ProblemAnswer, content).error
    except InvalidInput:
        return Unreachable(f"nbd answered {status}", hint="see: journalctl -u nbd", code="bad_answer")
    made: NbdError = kind(error.message, hint=error.hint, code=error.code, retryable=error.retryable)
    return made
