"""Core's API over its unix socket, with a deadline on every answer.

An ordinary answer must be complete within `deadline` seconds of the request. A stream (events, a followed log, a build) may be silent for as long as
it likes, provided core still answers: after `deadline` seconds of silence it is asked for its status on a second connection.

Raises Unreachable (exit code 5) where core cannot be reached or breaks off, Deadline where it stays silent, and for an answer that
is a refusal or a failure the kind that its status and code say.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from .. import wire
from ..errors import MESSAGES, Conflict, Deadline, InvalidInput, NbdError, NoCapacity, NotFound, NotSignedIn, Refused, Unreachable
from ..messages import Problem, ProblemAnswer
from .transport import BrokenOffError, NotHttpError, Response, Waiting, connected, request

T = TypeVar("T")
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
EXITS: dict[int, type[NbdError]] = {400: InvalidInput, 401: NotSignedIn, 403: Refused, 404: NotFound, 409: Conflict}
CODES: dict[str, type[NbdError]] = {kind.default_code: kind for kind in (InvalidInput, NotSignedIn, Refused, NoCapacity, NotFound)}
DEV_SOCKET = ".nbd/run/nbd.sock"


class Answer(NamedTuple):
    status: int
    message: Any


@dataclass(frozen=True, slots=True)
class Client:
    path: str
    deadline: float

    def get(self, path: str) -> Any:
        return self.ask("GET", path).message

    def post(self, path: str, body: object = None) -> Any:
        return self.ask("POST", path, body).message

    def patch(self, path: str, body: object) -> Any:
        return self.ask("PATCH", path, body).message

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path).message

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        until = time.monotonic() + self.deadline
        with self._asked(method, path, body, lambda _: self._check(until)) as response:
            return Answer(response.status, parsed(response.read()))

    def lines(self, method: str, path: str, tick: Callable[[], None] | None = None, body: object = None) -> Iterator[str]:
        """The lines of a streamed answer as they come; `tick` is called between them about ten times a second."""
        with self._asked(method, path, body, Prober(self, tick)) as response:
            for line in response.lines():
                yield line.decode("utf-8", "replace")

    def text(self, path: str) -> str:
        until = time.monotonic() + self.deadline
        with self._asked("GET", path, None, lambda _: self._check(until)) as response:
            return response.read().decode("utf-8", "replace")

    def events(self, tick: Callable[[], None]) -> Iterator[tuple[str, Any]]:
        """(kind, data) of each server-sent event."""
        kind, data = "", ""
        for line in self.lines("GET", "/v1/events", tick):
            field, _, value = line.rstrip("\r").partition(":")
            if field == "event":
                kind = value.strip()
            elif field == "data":
                data += value.strip()
            elif not line.strip() and kind:
                yield kind, parsed(data.encode()) if data else None
                kind, data = "", ""

    def _check(self, until: float) -> None:
        if time.monotonic() >= until:
            raise self._silent()

    def _silent(self) -> Deadline:
        return Deadline(
            f"nbd did not answer within {self.deadline:g} s",
            hint=f"what it did meanwhile is unknown: look with nbctl status, or at {MESSAGES}",
        )

    @contextmanager
    def _asked(self, method: str, path: str, body: object, waiting: Waiting) -> Iterator[Response]:
        text = None if body is None else json.dumps(wire.dump(body)).encode()
        try:
            with connected(self.path, self.deadline, waiting) as peer, peer.makefile("rb") as source:
                peer.sendall(request(method, path, text))
                response = Response(source)
                if response.status >= 400:
                    raise refusal(response.status, response.read())
                yield response
        except TimeoutError:
            raise self._silent() from None
        except OSError as error:
            raise unreachable(self.path, error) from None
        except BrokenOffError:
            raise broken_off() from None
        except NotHttpError:
            raise not_nbd() from None


class Prober:
    """Keeps a stream honest: silence is fine while core answers."""

    def __init__(self, client: Client, tick: Callable[[], None] | None) -> None:
        self.client = client
        self.tick = tick
        self._asked_at = 0.0

    def __call__(self, silence: float) -> None:
        if self.tick:
            self.tick()
        if silence < self._asked_at:
            self._asked_at = 0.0
        if silence - self._asked_at >= self.client.deadline:
            self.client.get("/v1/status")
            self._asked_at = silence


def route(*parts: str) -> str:
    """The path of a resource. Raises NotFound for a name that cannot be one and would lead elsewhere: an empty one, "." and ".."."""
    for part in parts:
        if not part.strip("."):
            raise NotFound(f"there is nothing called {part!r}", hint="names: nbctl ls, nbctl profile ls, nbctl image ls")
    return "/v1/" + "/".join(quoted(part) for part in parts)


def quoted(text: str) -> str:
    return "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise not_nbd() from None


def not_nbd() -> Unreachable:
    hint = "is it nbd's socket? nbctl version says where it looked"
    return Unreachable("what listens there does not speak as nbd does", hint=hint, code="bad_answer")


def typed(kind: type[T], message: object) -> T:
    """A message as the value it is. Raises NbdError where core's answer is not one: the two are of different versions."""
    try:
        return wire.load(kind, message)
    except InvalidInput as error:
        raise NbdError(
            f"nbd's answer makes no sense to this nbctl: {error.message}", hint="are both of one version? nbctl version", code="bad_answer"
        ) from None


def typed_all(kind: type[T], messages: object) -> list[T]:
    if not isinstance(messages, list):
        raise NbdError("nbd's answer makes no sense to this nbctl: it is not a list", hint="nbctl version", code="bad_answer")
    return [typed(kind, message) for message in messages]


def refusal(status: int, body: bytes) -> NbdError:
    """What an answer that is not a success means here."""
    try:
        problem = wire.decode(ProblemAnswer, body).error
    except (InvalidInput, UnicodeDecodeError):
        problem = Problem("internal", f"nbd answered {status} and gave no reason", f"see {MESSAGES}")
    kind = EXITS.get(status, NbdError)
    return as_error(NoCapacity if kind is Conflict and problem.code == NoCapacity.default_code else kind, problem)


def problem_error(message: object) -> NbdError:
    """The problem that ended a stream, where there is no status."""
    problem = typed(Problem, message)
    return as_error(CODES.get(problem.code, NbdError), problem)


def as_error(kind: type[NbdError], problem: Problem) -> NbdError:
    return kind(problem.message, hint=problem.hint, code=problem.code, retryable=problem.retryable)


def broken_off() -> Unreachable:
    return Unreachable("nbd broke off in the middle of its answer", hint=f"it may be restarting: try again, or see {MESSAGES}")


NOT_HERE = "systemctl start nbd, or in a checkout: make run (nbd dev); of one that is elsewhere: --socket DIR/run/nbd.sock or NBD_SOCKET"


def unreachable(path: str, error: OSError) -> Unreachable:
    if isinstance(error, PermissionError):
        return Unreachable(f"you may not talk to nbd at {path}", hint=membership(path), code="socket_denied")
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return broken_off()
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"nobody answers at {path}: nbd is not running", hint="systemctl start nbd, or in a checkout: make run (nbd dev)")
    if not isinstance(error, FileNotFoundError):
        return Unreachable(f"nbd cannot be reached at {path}: {error.strerror or error}", hint="--socket PATH or NBD_SOCKET says where it is")
    if os.path.exists(DEV_SOCKET):  # noqa: PTH110 - pathlib would cost 4 ms of every start
        return Unreachable(f"there is no nbd at {path}", hint=f"an 'nbd dev' lives in this folder: export NBD_SOCKET={os.path.abspath(DEV_SOCKET)}")  # noqa: PTH100
    return Unreachable(f"there is no nbd at {path}", hint=NOT_HERE)


def membership(path: str) -> str:
    try:
        import grp

        return f"the group {grp.getgrgid(os.stat(path).st_gid).gr_name!r} may: an admin adds you to it, then sign in again"  # noqa: PTH116
    except (OSError, KeyError):
        return "an admin adds you to the group that may, then sign in again"
