"""The one door to Podman's API socket: podman-py's client, in threads, with a deadline on each call, its errors put into our words.

Requests go to the libpod API itself rather than through podman-py's models: the models ask for everything twice and cannot say all that a
container of ours needs. Works with Podman 4.3 to 5.x; the API version asked for is the oldest of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from podman.api.client import APIClient
from podman.api.uds import UDSConnection, UDSConnectionPool, UDSSocket
from podman.errors import APIError, PodmanError

from ..errors import Conflict, Deadline, HostUnfit, NbdError, NotFound, Unreachable
from .blocking import Blocking
from .cdi import BY_UUID

API_VERSION = "4.3.0"
AT_ONCE = 16
"""Calls under way at a time: ten people who start together do not wait for each other, and a hung Podman holds few threads."""
NO_CONTENT = 204
SHORT_SECONDS = 10.0
HEALTH_SECONDS = 2.0
LOOK_AT_IT = "look at it: systemctl status podman, or the terminal of nbd dev"


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: object = None
    seconds: float | None = None
    """Deadline of this call; None for the door's own."""


class Podman:
    def __init__(self, socket: str, seconds: float) -> None:
        self._socket = socket
        self._seconds = seconds
        self._door = Blocking(AT_ONCE, LOOK_AT_IT)
        self._idle: list[APIClient] = []
        """Clients with an open connection. One is used by one thread at a time; one that met trouble is thrown away."""

    async def ask(self, call: Call) -> Any:
        """The decoded answer, None when it has no body.

        Raises NotFound, Conflict, HostUnfit (disk full), Deadline, Unreachable; any other refusal is an NbdError with Podman's words.
        """
        seconds = call.seconds or self._seconds
        return await self._door.run("Podman", seconds, lambda: self._ask(call, seconds))

    async def health(self) -> str:
        try:
            await self.ask(Call("GET", "/containers/json", {"limit": "1"}, seconds=HEALTH_SECONDS))
        except NbdError as error:
            return str(error)
        return "ok"

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _ask(self, call: Call, seconds: float) -> Any:
        client = self._idle.pop() if self._idle else client_of(self._socket)
        try:
            send = {"GET": client.get, "POST": client.post, "DELETE": client.delete}[call.method]
            data: dict[str, Any] = {} if call.body is None else {"data": json.dumps(call.body), "headers": {"Content-Type": "application/json"}}
            answer = send(call.path, params=dict(call.params or {}), timeout=seconds, **data)
            body = whole(answer)
        except requests.Timeout:
            client.close()
            raise Deadline(f"Podman did not answer within {seconds:g} s", hint=LOOK_AT_IT) from None
        except (requests.RequestException, APIError, PodmanError, OSError) as error:
            client.close()
            hint = "start it: systemctl start podman.socket (nbd dev starts its own: see its terminal)"
            raise Unreachable(f"Podman cannot be reached at {self._socket}: {innermost(error)}", hint=hint) from None
        self._idle.append(client)
        return parsed(answer.status_code, body)


def client_of(socket: str) -> APIClient:
    client = APIClient(base_url=f"http+unix://{socket}", version=API_VERSION)
    adapter: Any = client.get_adapter("http://")
    adapter.poolmanager.pool_classes_by_scheme = {"http": Pool}
    return client


class Connection(UDSConnection):
    """podman-py's own forgets the descriptor of a socket that nobody listens on."""

    def connect(self) -> None:
        sock = UDSSocket(self.uds)
        sock.settimeout(self.timeout)
        try:
            sock.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class Pool(UDSConnectionPool):
    ConnectionCls = Connection


def whole(answer: Any) -> bytes:
    """The body. Raises ConnectionError when it was cut off in the head: the client library takes that for an answer without a body."""
    body: bytes = answer.content
    if not {"content-length", "transfer-encoding"} & {name.lower() for name in answer.headers} and answer.status_code != NO_CONTENT and not body:
        raise ConnectionError("its answer was cut off")
    return body


def parsed(status: int, body: bytes) -> Any:
    """What an answer means. Raises as `Podman.ask`."""
    try:
        value = json.loads(body) if body.strip() else None
    except ValueError:
        raise Unreachable("Podman answered something that is not JSON", hint=LOOK_AT_IT) from None
    if status < 400:
        return value
    message = str(value.get("message") or value.get("cause")) if isinstance(value, dict) else f"status {status}"
    raise as_error(status, message)


GONE = re.compile(r"no such container|no such network|does not exist in database", re.IGNORECASE)
"""Podman 4.3 says so with status 500 of what went between two of its own steps."""


def as_error(status: int, message: str) -> NbdError:
    if status == 404 or GONE.search(message):
        return NotFound(message)
    if status == 409 or "is already in use" in message:
        return Conflict(message)
    if "no space left on device" in message:
        return HostUnfit("no space is left for containers", code="disk_full", hint="make room: podman image prune, or a larger /var/lib/containers")
    if "CDI device" in message:
        # Podman looks into the specifications when a container starts: they changed after nbd looked.
        return HostUnfit(f"a card cannot be given to the container: {message}", code="cdi_missing", hint=f"write the specification anew: {BY_UUID}")
    return HostUnfit(f"Podman refused: {message}", code="podman_refused")


@contextmanager
def understood() -> Iterator[None]:
    """Around the reading of an answer. One without the fields that Podman documents is an error of Podman's, not a defect that ends core."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreachable(f"Podman's answer is not understood: {error!r}", hint=LOOK_AT_IT) from None


def listed(answer: Any) -> list[dict[str, Any]]:
    """An answer that must be a list. Podman says [] for none; nothing at all would read as "all containers are gone", so it is refused."""
    with understood():
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise TypeError(f"{str(answer)[:60]} instead of a list of objects")
        return answer


def innermost(error: BaseException) -> str:
    """The cause at the bottom: requests wraps an OSError five times, and only that one means something to an admin."""
    while True:
        below = error.__cause__ or error.__context__ or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if below is None:
            return str(error) or type(error).__name__
        error = below
