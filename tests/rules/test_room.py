"""How full a home is, and what follows: a table."""

from __future__ import annotations

import pytest

from nbd.homes.sizes.room import Level, Policy, Room, Space, amount, judge, monthly

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
DISK = Space(500 * GIB, TIB)
"""Room enough."""


@pytest.mark.parametrize(
    ("room", "level", "kind", "refuse"),
    [
        # The house's quota, against what was measured.
        (Room(DISK, 79 * GIB, 100 * GIB), "fine", "quota", False),
        (Room(DISK, 80 * GIB, 100 * GIB), "warn", "quota", False),
        (Room(DISK, 90 * GIB, 100 * GIB), "loud", "quota", False),
        (Room(DISK, 100 * GIB, 100 * GIB), "loud", "quota", False),
        (Room(DISK, 100 * GIB + 1, 100 * GIB), "over", "quota", True),
        # What was not measured refuses nothing, nor does it warn.
        (Room(DISK, None, 100 * GIB), "fine", "disk", False),
        (Room(DISK, 900 * GIB, 0), "fine", "disk", False),
        # The disk itself: nearly full is less than 5 % and less than 2 GiB.
        (Room(Space(3 * GIB, TIB), 5, 0), "fine", "disk", False),
        (Room(Space(GIB, TIB), 5, 0), "loud", "disk", False),
        (Room(Space(GIB, 4 * GIB), 5, 0), "fine", "disk", False),
        (Room(Space(0, TIB), 5, 0), "over", "disk", False),
        # A project quota is the file system's own word, and needs no measuring; nor does it refuse: the person must get in to tidy up.
        (Room(Space(30 * GIB, 100 * GIB, own=True)), "fine", "project quota", False),
        (Room(Space(15 * GIB, 100 * GIB, own=True)), "warn", "project quota", False),
        (Room(Space(5 * GIB, 100 * GIB, own=True)), "loud", "project quota", False),
        (Room(Space(0, 100 * GIB, own=True)), "over", "project quota", False),
        # It is better than what was measured an hour ago.
        (Room(Space(60 * GIB, 100 * GIB, own=True), 99 * GIB, 80 * GIB), "fine", "quota", False),
        # The tighter one is told.
        (Room(Space(0, TIB), 85 * GIB, 100 * GIB), "over", "disk", False),
        (Room(Space(GIB, TIB), 101 * GIB, 100 * GIB), "over", "quota", True),
        (Room(Space(5 * GIB, 100 * GIB, own=True), None, 90 * GIB), "over", "quota", True),
    ],
)
def test_levels(room: Room, level: str, kind: str, refuse: bool) -> None:  # noqa: FBT001
    verdict = judge(room)
    assert (verdict.level, verdict.kind, verdict.refuse) == (level, kind, refuse)


def test_sentences() -> None:
    assert judge(Room(DISK, 85 * GIB, 100 * GIB)).sentence == "your home takes 85 GiB of the 100 GiB that it may take (85%)"
    assert judge(Room(Space(0, 100 * GIB, own=True))).sentence == "your home takes 100 GiB of the 100 GiB that its file system gives it (100%)"
    assert judge(Room(Space(GIB, TIB), None, 0)).sentence == "the disk of your home has 1.0 GiB of 1.0 TiB left"


def test_whose_quota() -> None:
    policy = Policy(100, {"ada": 500, "eve": 0})
    assert [policy.of(person) for person in ("ada", "eve", "bob")] == [500, 0, 100]


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536 * KIB, "1.5 MiB"), (12 * GIB, "12 GiB")])
def test_amounts(count: int, said: str) -> None:
    assert amount(count) == said


@pytest.mark.parametrize(
    ("tariff", "stored", "said"),
    [
        ("0.02 USD/GB-month", 12_000_000_000, "about 0.24 USD a month"),
        ("0.02 USD/GiB-month", 10 * GIB, "about 0.20 USD a month"),
        ("0.02 USD/GB-month", 1000, "less than 0.01 USD a month"),
        ("", 1000, ""),
    ],
)
def test_cost(tariff: str, stored: int, said: str) -> None:
    assert monthly(tariff, stored) == said


def test_levels_are_in_order() -> None:
    assert list(Level) == ["fine", "warn", "loud", "over"]
