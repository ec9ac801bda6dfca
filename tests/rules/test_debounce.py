"""When a home is looked at, and how much of it: a table of moments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.homes.keeping.debounce import (
    CHEAP,
    MOST,
    MOST_AGAIN,
    MOST_REST,
    MOST_RETRY,
    QUIET,
    REST,
    Situation,
    Spell,
    Step,
    What,
    again_after,
    look_after,
    next_step,
    rest,
    retry_after,
    save_at,
)

NOW = 1000.0
SAVED = Situation(changed=Spell(NOW - 1, NOW - 1))
UNKNOWN = Situation(changed=Spell(NOW - 1, NOW - 1, everything=True))


@pytest.mark.parametrize(
    ("situation", "what"),
    [
        (Situation(), What.NOTHING),
        (Situation(asked=True), What.ASKED),
        (SAVED, What.SAVE),
        (UNKNOWN, What.LOOK),
        (Situation(look=NOW), What.LOOK),
        (Situation(prove=NOW), What.PROVE),
        (Situation(again=NOW), What.SAVE),
        # Who goes first.
        (replace(UNKNOWN, asked=True, prove=NOW), What.ASKED),
        (replace(SAVED, look=NOW, prove=NOW), What.LOOK),
        (replace(SAVED, prove=NOW), What.SAVE),
        # After a failure nothing is tried, but for who was not told of it.
        (replace(SAVED, look=NOW, prove=NOW, again=NOW, retry=NOW + 1), What.NOTHING),
        (replace(SAVED, retry=NOW + 1, asked_before=True), What.NOTHING),
        (replace(SAVED, retry=NOW + 1, asked=True, asked_before=True), What.ASKED),
        (Situation(asked_before=True, retry=NOW), What.ASKED),
        # A home at rest is not read for what changed, and is for who asks, and when it is time to.
        (replace(SAVED, rested=NOW + 1), What.NOTHING),
        (replace(UNKNOWN, rested=NOW + 1), What.NOTHING),
        (replace(SAVED, rested=NOW + 1, asked=True), What.ASKED),
        (replace(SAVED, rested=NOW + 1, look=NOW), What.LOOK),
    ],
)
def test_what_is_next(situation: Situation, what: What) -> None:
    assert next_step(NOW, situation).what is what


@pytest.mark.parametrize(
    ("situation", "at"),
    [
        (Situation(), None),
        (Situation(changed=Spell(NOW, NOW)), NOW + QUIET),
        (Situation(changed=Spell(NOW - 1, NOW)), NOW + QUIET),
        (Situation(changed=Spell(NOW - MOST + 0.1, NOW)), NOW + 0.1),
        (Situation(changed=Spell(NOW, NOW), prove=NOW + 0.01), NOW + 0.01),
        (Situation(look=NOW + 60, again=NOW + 5), NOW + 5),
        (Situation(look=NOW + 60, again=NOW + 5, retry=NOW + 30), NOW + 30),
        (Situation(asked_before=True, retry=NOW + 7, look=NOW), NOW + 7),
        (replace(SAVED, rested=NOW + 3), NOW + 3),
    ],
)
def test_when_something_will_be(situation: Situation, at: float | None) -> None:
    assert next_step(NOW, situation) == Step(What.NOTHING, at)


SECONDS = st.floats(0, 10_000)


@given(SECONDS, SECONDS)
def test_a_change_waits_for_quiet_and_never_for_long(first: float, more: float) -> None:
    at = save_at(Spell(first, first + more))
    assert first < at <= first + MOST
    assert at <= first + more + QUIET


@given(st.lists(st.floats(0.001, 0.1), min_size=1, max_size=200))
def test_who_writes_without_a_pause_is_saved_all_the_same(gaps: list[float]) -> None:
    """Any writing: between two saves there are never more than MOST seconds of changes."""
    now = first = last = 0.0
    for gap in gaps:
        now += gap
        if next_step(now, Situation(changed=Spell(first, last))).what is What.SAVE:
            assert now - first <= MOST + gap
            first = now
        last = now


def test_a_look_that_took_long_rests() -> None:
    assert rest(0.06) == rest(CHEAP) == 0
    assert rest(CHEAP + 1) == REST
    assert rest(10_000) == MOST_REST
    assert look_after(0.2, 60) == 60
    assert look_after(20, 60) == 200


def test_failures_and_unrest_come_less_and_less_often() -> None:
    for waits, most in (([retry_after(n, 60) for n in range(1, 60)], MOST_RETRY), ([again_after(n) for n in range(60)], MOST_AGAIN)):
        assert waits == sorted(waits)
        assert 0 < waits[0] <= 5
        assert waits[-1] == most
    assert retry_after(1, 0.02) == 0.02
