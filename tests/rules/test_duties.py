"""What is due for a home that nobody asks for: a month of it in a table."""

from __future__ import annotations

import pytest

from nbd.homes.keeping.duties import SECOND, Duty, Failed, Rhythm, due
from nbd.homes.model import HomeNote

HOUR, DAY = 3600 * SECOND, 86400 * SECOND
NOW = 1_795_000_000 * SECOND
RHYTHM = Rhythm(3600.0, 30 * 86400.0, 86400.0)
NEVER = Rhythm(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("note", "rhythm", "duties"),
    [
        (HomeNote(known=NOW), RHYTHM, []),
        (HomeNote(known=NOW - HOUR), RHYTHM, [Duty.PRUNE]),
        (HomeNote(known=NOW - DAY), RHYTHM, [Duty.PRUNE, Duty.SAMPLE]),
        (HomeNote(known=NOW - 40 * DAY), RHYTHM, [Duty.PRUNE, Duty.PROVE]),
        (HomeNote(known=NOW - 40 * DAY), NEVER, []),
        (HomeNote(known=1, pruned=NOW - HOUR + 1, proven=NOW - 29 * DAY, sampled=NOW - DAY + 1), RHYTHM, []),
        (HomeNote(known=1, pruned=NOW - 1, proven=NOW - 29 * DAY, sampled=NOW - DAY), RHYTHM, [Duty.SAMPLE]),
        (HomeNote(known=1, pruned=NOW - 1, proven=NOW - 30 * DAY, sampled=NOW - DAY), RHYTHM, [Duty.PROVE]),
        (HomeNote(known=1, pruned=NOW, proven=NOW - 2, sampled=NOW - 1, damages=("x",)), RHYTHM, [Duty.PROVE]),
        (HomeNote(known=1, pruned=NOW, proven=NOW - 1, sampled=NOW - 2, damages=("x",)), RHYTHM, []),
        (HomeNote(known=1, pruned=NOW, proven=NOW - 2, sampled=NOW - 1, damages=("x",)), NEVER, [Duty.PROVE]),
    ],
)
def test_what_is_due(note: HomeNote, rhythm: Rhythm, duties: list[Duty]) -> None:
    assert due(note, NOW, rhythm, {}) == duties


def test_what_failed_comes_later_each_time_and_at_least_as_often_as_it_is_due() -> None:
    note = HomeNote(known=1, proven=NOW, sampled=NOW)
    for times, minutes in ((1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (50, 60)):
        failed = {Duty.PRUNE: Failed(times, NOW)}
        assert due(note, NOW + minutes * 60 * SECOND - 1, RHYTHM, failed) == []
        assert due(note, NOW + minutes * 60 * SECOND, RHYTHM, failed) == [Duty.PRUNE]


def test_a_month_of_it() -> None:
    note, done = HomeNote(known=NOW), dict.fromkeys(Duty, 0)
    for minute in range(31 * 24 * 60):
        now = NOW + minute * 60 * SECOND
        for duty in due(note, now, RHYTHM, {}):
            done[duty] += 1
            when = {Duty.PRUNE: "pruned", Duty.PROVE: "proven", Duty.SAMPLE: "sampled"}[duty]
            note = HomeNote(**{**{name: getattr(note, name) for name in ("known", "pruned", "proven", "sampled")}, when: now})
    assert done == {Duty.PRUNE: 31 * 24 - 1, Duty.SAMPLE: 29, Duty.PROVE: 1}
