"""From samples to a verdict: what is enough, what fades, when the idle clock runs, and what only a person can know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd.idle import judge
from nbd.idle.evidence import MEANINGS
from nbd.idle.judge import Standing
from nbd.idle.model import Evidence, Mood, Policy, Sample, Signal, Unknown, Verdict

POLICY = Policy()
HOUR = 3600.0
GPU_GONE = Unknown("gpu", "the driver does not answer")
PROBE_GONE = Unknown("probe", "exit code 1")


def shows(*signals: Signal) -> tuple[Evidence, ...]:
    return tuple(Evidence(signal, MEANINGS[signal].weight, f"{signal} it is") for signal in signals)


def fold(standing: Standing, seconds: float, *signals: Signal, unknown: tuple[Unknown, ...] = (), policy: Policy = POLICY) -> Standing:
    """Samples ten seconds apart, all alike; with KERNEL a kernel is busy."""
    busy = ("train.ipynb",) if Signal.KERNEL in signals else ()
    for _ in range(round(seconds / 10)):
        standing = judge.observe(standing, Sample(standing.at + 10, 10.0, shows(*signals), unknown, busy), policy)
    return standing


def judged(standing: Standing, later: float = 0.0, policy: Policy = POLICY) -> Verdict:
    return judge.verdict(standing, policy, standing.at + later)


START = judge.begin(0.0)


@pytest.mark.parametrize(
    ("signals", "mood"),
    [
        ((Signal.GPU,), Mood.ACTIVE),
        ((Signal.CPU,), Mood.ACTIVE),
        ((Signal.DISK,), Mood.ACTIVE),
        ((Signal.NETWORK,), Mood.ACTIVE),
        ((Signal.KERNEL,), Mood.ACTIVE),
        ((Signal.TYPING,), Mood.ACTIVE),
        ((Signal.CLICK,), Mood.ACTIVE),
        ((Signal.PROBE,), Mood.ACTIVE),
        ((Signal.KEEP,), Mood.ACTIVE),
        ((Signal.VRAM,), Mood.IDLE),
        ((Signal.TERMINAL,), Mood.IDLE),
        ((Signal.HEARTBEAT, Signal.TAB), Mood.IDLE),
        ((Signal.TERMINAL, Signal.HEARTBEAT, Signal.TAB), Mood.IDLE),
        ((Signal.VRAM, Signal.TERMINAL), Mood.ACTIVE),
        ((), Mood.IDLE),
    ],
)
def test_what_is_enough(signals: tuple[Signal, ...], mood: Mood) -> None:
    standing = fold(START, 600, *signals)
    assert judged(standing).mood is mood
    assert standing.idle_seconds == (0.0 if mood is Mood.ACTIVE else 600.0)


def test_the_idle_clock_begins_at_the_end_of_the_last_work() -> None:
    standing = fold(fold(START, 5 * HOUR, Signal.CPU), 300)
    assert judged(standing) == Verdict(Mood.IDLE, 5 * HOUR, 300.0, ("nothing has worked for 5 min",))
    assert judged(standing, 5.0).idle_seconds == 305.0


def test_the_next_look_has_not_come_yet() -> None:
    """A busy kernel is worth exactly enough; it is active until a sample says otherwise."""
    standing = fold(START, 100, Signal.KERNEL)
    assert judged(standing, 14.9).mood is Mood.ACTIVE
    assert judged(standing, 15.1).mood is Mood.UNKNOWN


def test_what_is_old_is_nothing_to_act_on() -> None:
    standing = fold(START, 600)
    assert judged(standing, 15.0).mood is Mood.IDLE
    verdict = judged(standing, 40.0)
    assert (verdict.mood, verdict.reasons) == (Mood.UNKNOWN, ("nothing was seen for 40 s",))


def test_strong_evidence_fades_in_a_minute_and_the_clock_runs_meanwhile() -> None:
    standing = fold(fold(START, 60, Signal.CPU), 50)
    assert (judged(standing).mood, judged(standing).idle_seconds) == (Mood.ACTIVE, 50.0)
    assert judged(fold(standing, 20)).mood is Mood.IDLE


def test_a_short_window_is_not_delayed_by_what_fades() -> None:
    policy = replace(POLICY, park_after=60.0, warn_before=10.0)
    standing = fold(fold(START, 60, Signal.TYPING, policy=policy), 10, policy=policy)
    assert judged(standing, policy=policy).mood is Mood.IDLE
    assert judged(fold(fold(START, 60, Signal.TYPING), 10)).mood is Mood.ACTIVE


def test_unknown_is_never_idle_and_not_counted() -> None:
    standing = fold(fold(START, 600), 6000, unknown=(GPU_GONE,))
    verdict = judged(standing)
    assert (verdict.mood, verdict.since, verdict.idle_seconds) == (Mood.UNKNOWN, 600.0, 600.0)
    assert verdict.reasons == ("gpu: the driver does not answer",)
    assert judged(fold(standing, 100)).idle_seconds == 700.0


def test_what_shows_work_does_so_whatever_else_fails() -> None:
    assert judged(fold(START, 600, Signal.CPU, unknown=(GPU_GONE,))).mood is Mood.ACTIVE


@pytest.mark.parametrize(("gap", "counted"), [(10.0, 610.0), (30.0, 630.0), (31.0, 600.0), (40_000.0, 600.0)])
def test_a_gap_is_neither_idle_nor_work(gap: float, counted: float) -> None:
    standing = fold(START, 600)
    after = judge.observe(standing, Sample(600 + gap, gap), POLICY)
    assert (after.idle_seconds, after.active_at) == (counted, 0.0)


def test_a_sample_that_is_not_newer_changes_nothing() -> None:
    standing = fold(START, 600)
    assert judge.observe(standing, Sample(600.0, 10.0, shows(Signal.CPU)), POLICY) == standing
    assert judge.observe(standing, Sample(0.0, 10.0, shows(Signal.CPU)), POLICY) == standing


def test_a_silent_busy_kernel_is_asked_about_and_never_idle() -> None:
    standing = fold(START, 2 * HOUR, Signal.KERNEL)
    assert judged(standing).mood is Mood.ACTIVE
    verdict = judged(fold(standing, 30, Signal.KERNEL))
    assert (verdict.mood, verdict.ask) == (Mood.UNKNOWN, True)
    assert verdict.reasons == ("busy kernel train.ipynb for 2 h, and nothing measures any work of it",)
    assert judged(fold(standing, 5.9 * HOUR, Signal.KERNEL)).ask
    # It ends: idle from then on.
    assert judged(fold(fold(standing, HOUR, Signal.KERNEL), 600)).idle_seconds == 600.0


def test_whatever_is_measured_speaks_for_a_busy_kernel() -> None:
    """Also what is not enough by itself: it gets its grace again."""
    standing = fold(fold(START, 1.5 * HOUR, Signal.KERNEL), 10, Signal.KERNEL, Signal.VRAM)
    assert judged(fold(standing, 2 * HOUR - 10, Signal.KERNEL)).mood is Mood.ACTIVE
    assert judged(fold(standing, 2 * HOUR + 30, Signal.KERNEL)).mood is Mood.UNKNOWN


def test_what_was_not_seen_is_not_held_against_a_kernel() -> None:
    standing = fold(START, HOUR, Signal.KERNEL)
    deaf = fold(standing, 4 * HOUR, unknown=(Unknown("editor", "504"),))
    assert judged(fold(deaf, 0.9 * HOUR, Signal.KERNEL)).mood is Mood.ACTIVE
    later = judge.observe(standing, Sample(5 * HOUR, 4 * HOUR, shows(Signal.KERNEL), (), ("train.ipynb",)), POLICY)
    assert judged(fold(later, 0.9 * HOUR, Signal.KERNEL)).mood is Mood.ACTIVE


@pytest.mark.parametrize("signals", [(Signal.KERNEL,), (Signal.PROBE,), (Signal.VRAM, Signal.TERMINAL)])
def test_after_max_session_claims_count_no_more(signals: tuple[Signal, ...]) -> None:
    policy = replace(POLICY, busy_grace=30 * HOUR)
    before, after = (fold(START, seconds, *signals, policy=policy) for seconds in (8 * HOUR, 8 * HOUR + 1200))
    assert judged(before, policy=policy).mood is Mood.ACTIVE
    verdict = judged(after, policy=policy)
    assert (verdict.mood, verdict.since, verdict.expired) == (Mood.IDLE, 8 * HOUR, True)
    assert "nobody was there for 8 h" in verdict.reasons[1]


def test_after_max_session_a_stuck_kernel_is_idle_from_then_on() -> None:
    verdict = judged(fold(START, 8 * HOUR + 600, Signal.KERNEL))
    assert (verdict.mood, verdict.idle_seconds, verdict.expired, verdict.ask) == (Mood.IDLE, 600.0, True, False)
    assert verdict.reasons[1].startswith("busy kernel train.ipynb for 8 h 9 min: nobody was there for 8 h 10 min")


@pytest.mark.parametrize("signal", [Signal.GPU, Signal.CPU, Signal.DISK, Signal.NETWORK, Signal.KEEP])
def test_measured_work_counts_for_ever(signal: Signal) -> None:
    assert judged(fold(START, 100 * HOUR, signal)).mood is Mood.ACTIVE


def test_a_person_begins_the_session_again() -> None:
    standing = fold(fold(START, 7 * HOUR, Signal.PROBE), 10, Signal.TYPING)
    assert judged(fold(standing, 7 * HOUR, Signal.PROBE)).mood is Mood.ACTIVE
    assert judged(fold(standing, 8.5 * HOUR, Signal.PROBE)).mood is Mood.IDLE
    forever = replace(POLICY, max_session=None)
    assert judged(fold(START, 40 * HOUR, Signal.PROBE, policy=forever), policy=forever).mood is Mood.ACTIVE


@pytest.mark.parametrize(
    ("unknown", "mood"),
    [(PROBE_GONE, Mood.IDLE), (GPU_GONE, Mood.UNKNOWN), (Unknown("editor", "504"), Mood.UNKNOWN), (Unknown("door", ""), Mood.UNKNOWN)],
)
def test_after_max_session_only_a_failing_probe_hides_nothing(unknown: Unknown, mood: Mood) -> None:
    assert judged(fold(START, 8 * HOUR, unknown=(unknown,))).mood is Mood.UNKNOWN
    assert judged(fold(START, 9 * HOUR, unknown=(unknown,))).mood is mood


def test_the_reasons_are_those_of_the_issue() -> None:
    standing = fold(START, 130 * 60, Signal.KERNEL, Signal.GPU)
    work = Evidence(Signal.GPU, 1.75, "pid 4711 python used 63 % of GPU-1a2b")
    kernel = Evidence(Signal.KERNEL, 1.0, "busy kernel train.ipynb")
    standing = judge.observe(replace(standing, traces={}), Sample(standing.at + 10, 10.0, (kernel, work), (), ("train.ipynb",)), POLICY)
    verdict = judged(standing, 4.0)
    assert verdict.reasons == ("pid 4711 python used 63 % of GPU-1a2b 4 s ago", "busy kernel train.ipynb for 2 h 10 min")
    assert verdict.since == standing.at


def test_what_is_no_reason_for_a_card() -> None:
    assert judged(fold(START, 100, Signal.KEEP)).cardless
    assert judged(fold(START, 100, Signal.DISK, Signal.NETWORK, Signal.PROBE)).cardless
    assert not judged(fold(START, 100, Signal.KEEP, Signal.TYPING)).cardless
    assert not judged(fold(START, 100, Signal.CPU)).cardless


def test_what_is_left_of_it() -> None:
    standing = fold(fold(START, 60, Signal.CPU, Signal.TAB), 60, Signal.TAB)
    left = judge.remaining(standing, POLICY, standing.at + 5)
    assert [(item.evidence.signal, item.evidence.weight, item.age, item.counts) for item in left] == [
        (Signal.CPU, 1.0, 65.0, True),
        (Signal.TAB, 0.1, 5.0, True),
    ]


def test_only_what_is_fresh_and_counts_moves_the_idle_clock() -> None:
    """While strong evidence fades, neither a tab nor a claim that counts no more is work."""
    worked = fold(START, 9 * HOUR, Signal.CPU)
    for signals in ((Signal.TAB, Signal.HEARTBEAT), (Signal.KERNEL,), (Signal.PROBE,)):
        standing = fold(worked, 50, *signals)
        assert (judged(standing).mood, standing.active_at, standing.idle_seconds) == (Mood.ACTIVE, 9 * HOUR, 50.0)


def test_weak_signals_are_little_beside_others_too() -> None:
    weak = (*shows(Signal.TERMINAL, Signal.HEARTBEAT, Signal.TAB), Evidence(Signal.KERNEL, 0.3, ""))
    assert judged(judge.observe(START, Sample(10.0, 10.0, weak), POLICY)).mood is Mood.IDLE


def test_less_of_a_signal_does_not_take_away_what_is_left_of_it() -> None:
    standing = judge.observe(START, Sample(10.0, 10.0, (Evidence(Signal.DISK, 1.0, ""),)), POLICY)
    less = (Evidence(Signal.DISK, 0.4, ""), *shows(Signal.TERMINAL))
    assert judge.observe(standing, Sample(20.0, 10.0, less), POLICY).active_at == 20.0
