"""How fast the store may be used, by the clock; the settings that say so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.homes.stores.bandwidth import Bucket, Limits, Window
from nbd.values import rate, rates

MIB = 1 << 20
OFFICE = Limits([Window(*hours) for hours in rates("08:00-18:00 5MiB, 22:00-06:00 unlimited")], 20 * MIB)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [("00:00", None), ("05:59", None), ("06:00", 20), ("07:59", 20), ("08:00", 5), ("17:59", 5), ("18:00", 20), ("22:00", None), ("23:59", None)],
)
def test_the_rate_of_the_hour(clock: str, expected: int | None) -> None:
    hours, minutes = clock.split(":")
    found = OFFICE.at(int(hours) * 60 + int(minutes) + 0.5)
    assert found == (expected * MIB if expected else None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("08:00-18:00", '"08:00-18:00" must be hours and a rate'),
        ("8:00-18:00 5MiB", '"8:00-18:00 5MiB" must be hours and a rate'),
        ("08:00-18:00 5MiB,", '"" must be hours and a rate'),
        ("08:00-18:60 5MiB", "hours go from 00:00 to 24:00"),
        ("08:00-25:00 5MiB", "hours go from 00:00 to 24:00"),
        ("08:00-08:00 5MiB", "from one to another"),
        ("08:00-18:00 5MB", '"08:00-18:00 5MB": the rate must be'),
        ("08:00-18:00 0B", '"08:00-18:00 0B": the rate must be'),
        ("08:00-18:00 5MiB, 17:59-19:00 1MiB", '"17:59-19:00 1MiB" overlaps with "08:00-18:00 5MiB"'),
        ("22:00-06:00 5MiB, 05:00-07:00 1MiB", '"05:00-07:00 1MiB" overlaps with "22:00-06:00 5MiB"'),
        (5, "must be a text"),
    ],
)
def test_a_wrong_schedule_names_its_part(text: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rates(text)


def test_rates() -> None:
    assert (rate("unlimited"), rate("20MiB"), rates("")) == (None, 20 * MIB, ())
    assert rates("00:00-24:00 64KiB") == ((0, 1440, 65536),)
    for wrong in ("", "0MiB", "63KiB", "fast", 7, None):
        with pytest.raises(ValueError, match="unlimited"):
            rate(wrong)


def test_debt_is_waited_for() -> None:
    bucket = Bucket(0.0, 100.0).filled(5 * MIB, 100.0)
    assert bucket.wait(5 * MIB) == 0
    bucket = bucket.spent(10 * MIB)
    assert bucket.wait(5 * MIB) == 2.0
    bucket = bucket.filled(5 * MIB, 101.0)
    assert bucket.wait(5 * MIB) == 1.0
    assert bucket.filled(None, 101.0).wait(None) == 0
    assert bucket.filled(5 * MIB, 90.0) == Bucket(-5 * MIB, 90.0), "a clock that goes back gives nothing"
    assert bucket.filled(5 * MIB, 1000.0).balance == 5 * MIB, "what was not used is kept for a second, not for ever"


@given(st.lists(st.tuples(st.integers(0, 10 * MIB), st.floats(0, 3)), min_size=1, max_size=50), st.integers(1 << 16, 50 * MIB))
def test_never_more_than_the_rate(sent: list[tuple[int, float]], speed: int) -> None:
    """Who waits as told has sent, at any moment, at most a burst, one object and the rate's worth."""
    now, bucket, total = 0.0, Bucket(0.0, 0.0), 0
    for size, pause in sent:
        bucket = bucket.filled(speed, now)
        now += bucket.wait(speed) + pause
        bucket = bucket.filled(speed, now).spent(size)
        total += size
        assert total <= speed * (now + 1) + max(size for size, _ in sent) + 1
