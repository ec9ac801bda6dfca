"""How full is a home, and may another notebook start in it? Pure: values in, a level with its reason out.

Two limits may bind: the house's own (`homes.quota`, against what was measured) and the file system's (a project quota, or the disk itself). The
tighter one is told. Only the house's own quota ever refuses a start: in a home without a free byte a person must be able to tidy up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

WARN, LOUD = 0.80, 0.90
NEARLY_FULL_SHARE, NEARLY_FULL_BYTES = 0.05, 2 << 30
"""A disk is nearly full when it has less than both."""
FULL_BYTES = 16 << 20
"""An editor wants to save more than this."""


class Level(StrEnum):
    FINE = "fine"
    WARN = "warn"
    """80 % of a limit."""
    LOUD = "loud"
    """90 % of a limit; or the disk is nearly full."""
    OVER = "over"
    """Nothing more fits, or may be added."""


LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True)
class Policy:
    quota: int = 0
    """Bytes; 0 for none."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Of these people another; 0 for none."""
    refuse: bool = True

    def of(self, person: str) -> int:
        return self.others.get(person, self.quota)


class Space(NamedTuple):
    """What the file system has for a home."""

    free: int
    total: int
    own: bool = False
    """They are this home's alone: its folder has a project quota."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is known. `used` is measured; None while it is not."""

    space: Space
    used: int | None = None
    quota: int = 0
    """0 for none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    level: Level
    kind: str
    """Which limit it is: quota, project quota, disk."""
    used: int | None
    """By the home; None while it is not known."""
    limit: int
    sentence: str
    refuse: bool = False
    """The house's quota is passed."""


def judge(room: Room) -> Verdict:
    """The limit that binds most."""
    return max(verdicts(room), key=lambda one: (LEVELS.index(one.level), one.kind != "disk", share(one.used, one.limit)))


def verdicts(room: Room) -> Iterator[Verdict]:
    free, total, own = room.space
    used = total - free if own else room.used
    if room.quota and used is not None:
        level = of_share(used, room.quota)
        yield Verdict(level, "quota", used, room.quota, filled(used, room.quota, "it may take"), level is Level.OVER)
    if own:
        level = Level.OVER if free < FULL_BYTES else of_share(total - free, total)
        yield Verdict(level, "project quota", used, total, filled(total - free, total, "its file system gives it"))
    else:
        yield Verdict(of_disk(room.space), "disk", used, total, f"the disk of your home has {amount(free)} of {amount(total)} left")


def of_share(used: int, limit: int) -> Level:
    taken = share(used, limit)
    return Level.OVER if taken > 1 else Level.LOUD if taken >= LOUD else Level.WARN if taken >= WARN else Level.FINE


def of_disk(space: Space) -> Level:
    if space.free < FULL_BYTES:
        return Level.OVER
    return Level.LOUD if space.free < min(NEARLY_FULL_BYTES, NEARLY_FULL_SHARE * space.total) else Level.FINE


def filled(used: int, limit: int, words: str) -> str:
    return f"your home takes {amount(used)} of the {amount(limit)} that {words} ({share(used, limit):.0%})"


def share(used: int | None, limit: int) -> float:
    return used / limit if used is not None and limit else 0.0


def amount(count: int) -> str:
    """ "512 B", "3.4 KiB", "12 MiB"."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def monthly(tariff: str, stored: int) -> str:
    """What so many bytes cost at "0.02 USD/GB-month": "about 0.24 USD a month"; empty without a tariff."""
    if not tariff:
        return ""
    each, rest = tariff.split(" ")
    currency, unit = rest.removesuffix("-month").split("/")
    cost = float(each) * stored / (1e9 if unit == "GB" else 2**30)
    return f"about {cost:.2f} {currency} a month" if cost >= 0.01 else f"less than 0.01 {currency} a month"
