"""What a route is: data, from which the server, the access check and the OpenAPI document are made. No route exists that is not listed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ..people.model import Person


class Who(StrEnum):
    """Who may call at all; what they may do to a notebook is people/access.py's word."""

    PERSON = "person"
    ADMIN = "admin"
    DOOR = "door"
    """The web program, known by its uid; and root."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, parsed: nothing in it names the acting person but what the kernel or core's own token says."""

    person: Person
    args: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    token: str | None = None
    """The browser's token where the web program asks for somebody."""


class Stream(Protocol):
    """A long answer. Sending waits while the reader is slow and raises ConnectionError when it is gone."""

    async def send(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Created:
    """An answer with status 201."""

    value: object


Handler = Callable[[Ask], Awaitable[object]]
StreamHandler = Callable[[Ask, Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    summary: str
    answer: Any
    """The type of the answer; for a stream, of each piece."""
    handler: Handler | None = None
    stream: StreamHandler | None = None
    content_type: str = "application/json"
    body: Any = None
    who: Who = Who.PERSON
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameter name to what it means."""
