"""What core asks of sync about a home, as it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..messages import RestoreRequest
from .model import HomeRequest


@dataclass(frozen=True, slots=True)
class EventsOffer:
    """What core has to tell of changes with."""

    group: str = ""
    """The name of its fanotify group, empty for none. Sync answers with the name of the one it has, and is handed this one where that differs."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """People of whose homes it does not tell, and why."""


@dataclass(frozen=True, slots=True)
class InUse:
    """All homes in which a notebook runs now."""

    homes: tuple[HomeRequest, ...]
    events: EventsOffer = EventsOffer()


@dataclass(frozen=True, slots=True)
class ReadyWish:
    home: HomeRequest
    in_use: bool
    """Another notebook of the person runs in it: it is left as it is."""


@dataclass(frozen=True, slots=True)
class FlushWish:
    home: HomeRequest
    event: str
    name: str = ""
    confirmed: bool = False
    """The person said that what is gone may go."""


@dataclass(frozen=True, slots=True)
class LookWish:
    home: HomeRequest
    snapshot: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class CompareWish:
    home: HomeRequest
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RestoreWish:
    home: HomeRequest
    asked: RestoreRequest
    to: str
    """Where the child restores to: for the report."""
    bring: bool = False
    """The home itself is brought to its newest snapshot, as far as that loses nothing; then nothing else is `asked`."""


@dataclass(frozen=True, slots=True)
class PruneWish:
    person: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ForgetWish:
    person: str
    snapshot: str
