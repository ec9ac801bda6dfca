"""What `/metrics` tells of homes: to an admin of each by its person, to anybody else of their own; how many there are in all, without names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..homemessages import HomeBrief
from ..storemessages import TrafficView

Value = tuple[tuple[str, ...], float]
Reading = Callable[[HomeBrief], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One family of the exposition. Names are part of the product: docs/homes.md lists them."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: tuple[Value, ...]
    counts: bool = False
    """It only grows, until the program that counts is started again."""


def of_homes(briefs: Sequence[HomeBrief], now: float) -> list[Figure]:
    def each(name: str, text: str, read: Reading, *, counts: bool = False) -> Figure:
        values = tuple(((brief.person,), value) for brief in briefs if (value := read(brief)) is not None)
        return Figure(f"nbd_home_{name}", text, ("user",), values, counts)

    def age(moment: float | None) -> float | None:
        return None if moment is None else max(now - moment, 0.0)

    return [
        each("protected_age_seconds", "Since when not everything of the home is in the store.", lambda brief: age(brief.protected)),
        each("unsaved_bytes", "Changed and not in the store yet.", lambda brief: brief.unsaved_bytes),
        each("spooled_bytes", "Waiting on this box for a store that is away.", lambda brief: brief.spooled_bytes),
        each("trouble", "1 while the last look at the home did not end well.", lambda brief: float(bool(brief.trouble))),
        each("withheld", "1 while deletions wait for a person's confirmation.", lambda brief: float(bool(brief.withheld))),
        each("half", "1 while the home was brought to this box in part only.", lambda brief: float(brief.half)),
        each("damages", "What the last reading of all snapshots found damaged.", lambda brief: len(brief.damages)),
        each("verified_age_seconds", "Since a part or all of the snapshots was read and compared.", lambda brief: age(brief.verified)),
        each("dropped_snapshots", "Snapshots dropped by the rules of retention.", lambda brief: brief.dropped, counts=True),
    ]


def of_all(briefs: Sequence[HomeBrief]) -> list[Figure]:
    """Without a name: anybody may know whether the box keeps its homes."""
    states = {
        "in use": sum(brief.watched for brief in briefs),
        "in trouble": sum(bool(brief.trouble) for brief in briefs),
        "waiting for the store": sum(brief.spooled_bytes > 0 for brief in briefs),
        "damaged": sum(bool(brief.damages) for brief in briefs),
    }
    return [Figure("nbd_homes", "How many homes are so.", ("state",), tuple(((state,), float(number)) for state, number in states.items()))]


def of_store(traffic: Sequence[TrafficView]) -> list[Figure]:
    def each(name: str, text: str, read: Callable[[TrafficView], float]) -> Figure:
        return Figure(f"nbd_store_{name}", text, ("kind",), tuple(((one.kind,), read(one)) for one in traffic), counts=True)

    return [
        each("requests", "Requests to the store of snapshots.", lambda one: one.requests),
        each("errors", "Of these, without an answer or denied.", lambda one: one.errors),
        each("sent_bytes", "Bytes of objects to the store.", lambda one: one.sent_bytes),
        each("received_bytes", "Bytes of objects from the store.", lambda one: one.received_bytes),
        each("seconds", "Time that requests took; what ran side by side adds up.", lambda one: one.seconds),
    ]
