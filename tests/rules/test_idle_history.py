"""The last day as lines: small, whole, and enough to judge again."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.idle import history, judge, replay
from nbd.idle.evidence import MEANINGS, grained
from nbd.idle.history import DAY_BYTES, Happened, Stamp, Stretch, decode, encode, entries, joined, noted, recent, samples, seen
from nbd.idle.model import Abilities, Decision, Evidence, Mood, Policy, Sample, Signal, Step, Unknown

BOOT, RUN, WALL = "3b241101-e2bb", "f00dfeedf00dfeed", 1_763_600_000.0
ROW = Stretch("f00dfeedf00d", "3b241101-e2b", 100.0, 100.0, WALL, 1, Mood.IDLE)
IDLE = Sample(0.0, 10.0)
ABLE = Abilities(freeze="this box has no CRIU", held=True)


def day(make: list[Sample], every: float = 10.0) -> list[bytes]:
    """The lines of as many samples."""
    growing: Stretch | None = None
    lines: list[bytes] = []
    for number, sample in enumerate(make):
        at = 1_000_000 + number * every
        growing, more = noted(growing, seen(RUN, Stamp(BOOT, at, WALL + number * every), replace(sample, at=at), Mood.IDLE))
        lines += more
    return [*lines, *([encode(growing)] if growing else [])]


def restless(chance: random.Random) -> Sample:
    """All signals at once, each time with other weights, a long name, and every source failing."""
    evidence = tuple(Evidence(signal, grained(chance.uniform(0.05, meaning.weight)), "") for signal, meaning in MEANINGS.items())
    unknown = tuple(Unknown(source, "x" * 500) for source in ("gpu", "cgroup", "editor", "door", "probe", "moon"))
    return Sample(0.0, 10.0, evidence, unknown, tuple(f"{'ü' * 200}-{number}" for number in range(50)))


def test_the_worst_day_fits() -> None:
    chance = random.Random(4)
    lines = day([restless(chance) for _ in range(8640)])
    size = sum(len(line) + 1 for line in lines)
    print(f"{len(lines)} lines, {size} bytes")
    assert len(lines) > 8600
    assert size <= DAY_BYTES
    assert sum(row.count for row in entries(lines) if isinstance(row, Stretch)) == 8640


def test_what_does_not_fit_goes_oldest_first() -> None:
    chance = random.Random(4)
    lines = day([restless(chance) for _ in range(20_000)], every=4.0)
    kept = recent(lines, Stamp(BOOT, 1_080_000, WALL + 80_000))
    assert sum(len(line) + 1 for line in kept) <= DAY_BYTES
    assert kept == tuple(lines[-len(kept) :])
    assert len(kept) > 8000


def test_a_still_day_is_one_line() -> None:
    lines = day([IDLE] * 8640)
    assert len(lines) < 1440
    kept = recent(lines, Stamp(BOOT, 1_086_400, WALL + 86_400))
    (row,) = entries(kept)
    assert len(kept) == 1
    assert isinstance(row, Stretch)
    assert (row.count, row.spacing, row.first, row.last) == (8640, 10.0, 1_000_000.0, 1_086_390.0)
    assert [sample.at for sample in samples(row)] == pytest.approx([1_000_000 + 10 * number for number in range(8640)])


def test_it_is_written_down_every_minute() -> None:
    growing, written = None, []
    for number in range(20):
        growing, lines = noted(growing, seen(RUN, Stamp(BOOT, 10.0 * number, WALL), replace(IDLE, at=10.0 * number), Mood.IDLE))
        written += [(number, len(lines))] if lines else []
    assert written == [(6, 1), (13, 1)]


@pytest.mark.parametrize(
    ("other", "together"),
    [
        (replace(ROW, first=110.0, last=110.0), True),
        (replace(ROW, first=190.0, last=200.0, count=2), False),
        (replace(ROW, first=100.0, last=100.0), False),
        (replace(ROW, first=110.0, last=110.0, mood=Mood.ACTIVE), False),
        (replace(ROW, first=110.0, last=110.0, evidence=((Signal.TAB, 0.1),)), False),
        (replace(ROW, first=110.0, last=110.0, unknown=("gpu",)), False),
        (replace(ROW, first=110.0, last=110.0, busy=1, name="x"), False),
        (replace(ROW, first=110.0, last=110.0, run="other"), False),
        (replace(ROW, first=110.0, last=110.0, boot="other"), False),
        (replace(ROW, first=110.0, last=150.0, count=5), True),
    ],
)
def test_what_is_alike_and_evenly_apart_is_one_row(other: Stretch, together: bool) -> None:  # noqa: FBT001
    row = joined(ROW, other)
    assert (row is not None) == together
    if row:
        assert row == replace(ROW, last=other.last, wall=other.wall, count=1 + other.count)


names = st.text(alphabet="abcdef0123456789", min_size=1, max_size=12)
rows = st.builds(
    Stretch,
    run=names,
    boot=names,
    first=st.integers(0, 10**9).map(lambda number: number / 8),
    last=st.just(0.0),
    wall=st.integers(0, 2 * 10**9).map(float),
    count=st.integers(1, 10_000),
    mood=st.sampled_from(list(Mood)),
    evidence=st.lists(st.sampled_from(list(history.LETTERS)), unique=True).flatmap(
        lambda signals: st.tuples(*[st.tuples(st.just(signal), st.integers(1, 40).map(lambda weight: weight / 20)) for signal in signals])
    ),
    unknown=st.lists(st.sampled_from([*history.SOURCES, "other"]), unique=True).map(tuple),
    busy=st.integers(0, 9),
    name=st.text(max_size=8).map(lambda text: "".join(letter for letter in text if letter.isprintable() and letter.isascii())),
).map(lambda row: replace(row, last=row.first + 10.0 * (row.count - 1)))


@given(rows)
def test_a_row_is_read_as_it_was_written(row: Stretch) -> None:
    assert decode(encode(row)) == row


@given(st.sampled_from(list(Step)), st.sampled_from(["", "idle", "max_running"]), st.text(max_size=400))
def test_a_step_is_read_as_it_was_written(step: Step, reason: str, text: str) -> None:
    found = history.happened(RUN, Stamp(BOOT, 5.0, WALL), Decision(step, reason, text, Step.PARK))
    line = encode(found)
    assert decode(line) == found
    assert b"\n" not in line
    assert isinstance(found, Happened)
    assert (found.step, found.reason, found.next) == (step, reason, Step.PARK)


@given(st.binary(max_size=80))
def test_any_line_is_read_or_left_out(line: bytes) -> None:
    assert decode(line) is None or isinstance(decode(line), (Stretch, Happened))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_ends_nothing(cut: int) -> None:
    lines = day([replace(IDLE, evidence=(Evidence(Signal.CPU, 1.5, ""),))] * 10 + [IDLE] * 10)
    assert len(entries([lines[0][:cut], *lines])) <= 3
    assert entries([*lines, b"", b"! ", b"x y z"]) == entries(lines)


def test_the_day_is_by_the_clock_that_nobody_sets() -> None:
    lines = day([IDLE] * 7)
    assert recent(lines, Stamp(BOOT, 1_000_100, WALL + 365 * 86_400))
    assert recent(lines, Stamp(BOOT, 1_000_060 + 86_401, WALL)) == ()
    # After another boot only the wall's is left, and one that is far off in either direction is of no use.
    assert recent(lines, Stamp("other", 5.0, WALL + 3600))
    assert recent(lines, Stamp("other", 5.0, WALL + 2 * 86_400)) == ()
    assert recent(lines, Stamp("other", 5.0, WALL - 2 * 86_400)) == ()


def minute(wall: float) -> float:
    return wall / 60 % 1440


WORKS = replace(IDLE, evidence=(Evidence(Signal.CPU, 2.0, ""),))


def test_another_policy_would_have_done_this() -> None:
    """An hour of work, two of rest, an hour of work: with half the window."""
    lived = entries(day([WORKS] * 360 + [IDLE] * 720 + [WORKS] * 360))
    found = replay.replay(lived, Policy(park_after=900.0, stop_after=5400.0), ABLE, minute)
    begin = 1_000_000 + 3590.0
    assert [(done.step, done.at - begin) for done in found.done] == [
        (Step.WARN, 590.0),
        (Step.PARK, 900.0),
        (Step.WARN, 5090.0),
        (Step.STOP, 5400.0),
    ]
    assert found.done[1].wall - WALL == found.done[1].at - 1_000_000
    # Free from when it was parked until somebody would have started it again.
    assert found.free_seconds == 7210.0 - 900.0


def test_a_policy_that_parks_wakes_it_up_again() -> None:
    lived = entries(day([WORKS] * 360 + [IDLE] * 300 + [WORKS] * 10))
    found = replay.replay(lived, Policy(), ABLE, minute)
    assert [done.step for done in found.done] == [Step.WARN, Step.PARK, Step.UNPARK]
    assert replay.replay(lived, Policy(shadow=True), ABLE, minute) == found
    assert replay.replay(lived, Policy(park_after=None), ABLE, minute).done == ()


def test_a_run_that_is_unknown_is_not_gone_on_with() -> None:
    lived = entries(day([IDLE] * 100))
    assert replay.resume(lived, "other", BOOT, Policy()) is None
    assert replay.resume(lived, RUN, "other", Policy()) is None
    assert replay.resume((), RUN, BOOT, Policy()) is None
    known = replay.resume(lived, RUN, BOOT, Policy())
    assert known is not None
    assert known.standing.idle_seconds == pytest.approx(990.0, abs=0.01)


def test_nothing_lingers_longer_than_is_read_again() -> None:
    for signal, meaning in MEANINGS.items():
        assert judge.faded(signal, judge.Trace(0.0, meaning.weight, ""), replay.LINGERS, 1.0) < judge.NEGLIGIBLE


def test_who_goes_on_knows_since_when_a_kernel_is_busy() -> None:
    busy = replace(WORKS, busy=("a notebook with a name.ipynb",))
    known = replay.resume(entries(day([WORKS, *[busy] * 800])), RUN, BOOT, Policy())
    assert known is not None
    assert known.standing.busy == (("a notebook with a name.i", 1_000_010.0),)
    assert known.standing.active_at == 1_008_000.0


def test_one_that_is_away_comes_back_for_work_and_not_for_a_trifle() -> None:
    trifle = replace(IDLE, evidence=(Evidence(Signal.NETWORK, 0.4, ""),))
    keep = replace(IDLE, evidence=(Evidence(Signal.KEEP, 2.0, ""),))
    away = [WORKS] * 10 + [IDLE] * 400
    for more, free in ((trifle, 4000.0), (keep, 4000.0), (WORKS, 2210.0)):
        found = replay.replay(entries(day(away + [more] * 180)), Policy(), ABLE, minute)
        assert [done.step for done in found.done] == [Step.WARN, Step.PARK, Step.WARN, Step.STOP], more
        assert found.free_seconds == free
