"""What `nvml.py` and its helper process say to each other: one JSON line a message, in the form `wire` speaks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..gpus.model import Card
from ..gpus.ports import CardProcess, Reading
from ..idle.model import GpuLook


class Ask(StrEnum):
    OPEN = "open"
    """Only initialise the driver library: this alone can take seconds on a box without the persistence daemon."""
    CARDS = "cards"
    PROCESSES = "processes"
    READINGS = "readings"
    WORK = "work"
    """Since the question before it: who asks it must be one alone."""


@dataclass(frozen=True, slots=True)
class Question:
    number: int
    ask: Ask


class Kind(StrEnum):
    ABSENT = "absent"
    """No driver library, or no driver: a box without usable GPUs, which is a normal state."""
    BROKEN = "broken"
    """The driver is there and cannot be asked."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of the driver as a whole; what is wrong with one card is in that card."""

    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    """That of the question."""
    trouble: Trouble | None = None
    version: str | None = None
    cards: tuple[Card, ...] = ()
    processes: tuple[CardProcess, ...] = ()
    readings: tuple[Reading, ...] = ()
    work: GpuLook | None = None
