"""From a verdict to a step: the cheapest first, announced, at the earliest moment that was told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd.idle.agenda import decide
from nbd.idle.model import Abilities, Decision, Mood, Policy, Situation, Step, Verdict

NOW, MINUTE, HOUR, DAY = 1_000_000.0, 60.0, 3600.0, 86400.0
ORIGINS = {"park_after": "profile gpu-small", "freeze_after": "you", "stop_after": "the admin's default", "max_running": "profile gpu-small"}
POLICY = Policy(origins=ORIGINS)
ABLE = Abilities(held=True)
NO_CRIU = replace(ABLE, freeze="this box has no CRIU")
SITE = Situation("RUNNING", ABLE, NOW - HOUR, 12 * 60.0)
ACTIVE = Verdict(Mood.ACTIVE, NOW, 0.0, ("pid 4711 python used 63 % of GPU-1a2b 4 s ago",))
UNKNOWN = Verdict(Mood.UNKNOWN, NOW - 60, 20 * MINUTE, ("gpu: no answer",))
PARK_TEXT = "after 30 min of idleness its GPU is given back and its kernel kept (profile gpu-small)"


def idle(minutes: float) -> Verdict:
    return Verdict(Mood.IDLE, NOW - minutes * MINUTE, minutes * MINUTE)


def told(step: Step, minutes: float) -> Situation:
    return replace(SITE, warned={step: NOW - minutes * MINUTE})


def in_minutes(decision: Decision) -> tuple[Step, Step, float | None]:
    return decision.step, decision.next, None if decision.due is None else round((decision.due - NOW) / MINUTE, 3)


@pytest.mark.parametrize(
    ("verdict", "situation", "expected"),
    [
        # Nothing now, and the earliest that can come.
        (ACTIVE, SITE, (Step.NOTHING, Step.PARK, 30.0)),
        (idle(0), SITE, (Step.NOTHING, Step.PARK, 30.0)),
        (idle(24), SITE, (Step.NOTHING, Step.PARK, 6.0)),
        (UNKNOWN, SITE, (Step.NOTHING, Step.PARK, 10.0)),
        (replace(ACTIVE, idle_seconds=50.0), SITE, (Step.NOTHING, Step.PARK, 29.167)),
        # The announcement, a sample early; then nothing until it is due.
        (idle(24.9), SITE, (Step.WARN, Step.PARK, 5.1)),
        (idle(25), SITE, (Step.WARN, Step.PARK, 5.0)),
        (idle(25), told(Step.PARK, 0.1), (Step.NOTHING, Step.PARK, 5.0)),
        (idle(29.9), told(Step.PARK, 5), (Step.NOTHING, Step.PARK, 0.1)),
        (idle(30), told(Step.PARK, 5), (Step.PARK, Step.NOTHING, None)),
        # Late: nbd was down, or the policy changed. The step comes later, too.
        (idle(40), SITE, (Step.WARN, Step.PARK, 5.0)),
        (idle(40), told(Step.PARK, 4.9), (Step.NOTHING, Step.PARK, 0.1)),
        (idle(45), told(Step.PARK, 5), (Step.PARK, Step.NOTHING, None)),
        # Announced before it worked again; or while it does.
        (idle(30), told(Step.PARK, 31), (Step.WARN, Step.PARK, 5.0)),
        (ACTIVE, told(Step.PARK, 31), (Step.NOTHING, Step.PARK, 30.0)),
        # Never on unknown, never while it works.
        (replace(UNKNOWN, idle_seconds=40 * MINUTE), told(Step.PARK, 9), (Step.NOTHING, Step.PARK, 0.0)),
        (replace(UNKNOWN, idle_seconds=40 * MINUTE), SITE, (Step.NOTHING, Step.PARK, 5.0)),
        # The cheapest first where two are due.
        (idle(90), replace(SITE, warned={Step.PARK: NOW - HOUR, Step.FREEZE: NOW - HOUR}), (Step.PARK, Step.NOTHING, None)),
        (idle(90), replace(SITE, warned={Step.FREEZE: NOW - HOUR}), (Step.FREEZE, Step.NOTHING, None)),
        # What cannot be done is left out, and the next keeps its own time.
        (idle(10), replace(SITE, abilities=Abilities()), (Step.NOTHING, Step.FREEZE, 50.0)),
        (idle(10), replace(SITE, abilities=replace(ABLE, park="the driver is too old")), (Step.NOTHING, Step.FREEZE, 50.0)),
        (idle(10), replace(SITE, abilities=Abilities(freeze="no CRIU")), (Step.NOTHING, Step.STOP, 50.0)),
        (idle(61), replace(SITE, state="PARKED", abilities=NO_CRIU, warned={Step.STOP: NOW - 301}), (Step.STOP, Step.NOTHING, None)),
        (idle(61), replace(SITE, state="PARKED", abilities=NO_CRIU, warned={Step.FREEZE: NOW - 301}), (Step.WARN, Step.STOP, 5.0)),
        (idle(61), replace(SITE, state="PARKED", abilities=ABLE, warned={Step.FREEZE: NOW - 301}), (Step.FREEZE, Step.NOTHING, None)),
        # One that works gets its card again; one that is only kept does not.
        (ACTIVE, replace(SITE, state="PARKED"), (Step.UNPARK, Step.PARK, 30.0)),
        (replace(ACTIVE, cardless=True), replace(SITE, state="PARKED"), (Step.NOTHING, Step.FREEZE, 60.0)),
        (UNKNOWN, replace(SITE, state="PARKED"), (Step.NOTHING, Step.FREEZE, 40.0)),
        # A person's keep: the clock does not begin before its end.
        (idle(45), replace(told(Step.PARK, 9), kept_until=NOW + HOUR), (Step.NOTHING, Step.PARK, 90.0)),
        (idle(45), replace(told(Step.PARK, 9), kept_until=NOW - MINUTE), (Step.NOTHING, Step.PARK, 29.0)),
        (idle(45), replace(told(Step.PARK, 9), kept_until=NOW - HOUR), (Step.PARK, Step.NOTHING, None)),
    ],
)
def test_steps(verdict: Verdict, situation: Situation, expected: tuple[Step, Step, float | None]) -> None:
    assert in_minutes(decide(verdict, POLICY, situation, NOW)) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (replace(POLICY, park_after=None), (Step.NOTHING, Step.FREEZE, 50.0)),
        (replace(POLICY, park_after=None, freeze_after=None), (Step.NOTHING, Step.STOP, 50.0)),
        (replace(POLICY, park_after=None, freeze_after=None, stop_after=None), (Step.NOTHING, Step.STOP, 167 * 60)),
        (replace(POLICY, park_after=None, freeze_after=None, stop_after=None, max_running=None), (Step.NOTHING, Step.NOTHING, None)),
        (replace(POLICY, park_after=90 * MINUTE), (Step.NOTHING, Step.FREEZE, 50.0)),
        (replace(POLICY, park_after=MINUTE), (Step.WARN, Step.PARK, 5.0)),
    ],
)
def test_never_is_never(policy: Policy, expected: tuple[Step, Step, float | None]) -> None:
    assert in_minutes(decide(idle(10), policy, SITE, NOW)) == expected


def at(minute: float, **changes: object) -> Situation:
    return replace(SITE, local_minute=minute, state="PARKED", **changes)  # type: ignore[arg-type]


NIGHT = replace(POLICY, quiet=((22 * 60, 7 * 60),))


@pytest.mark.parametrize(
    ("verdict", "situation", "expected"),
    [
        # Announced when the night is over, and done after that.
        (idle(61), at(23 * 60), (Step.NOTHING, Step.FREEZE, 8 * 60 + 5)),
        (idle(61), at(6 * 60 + 59.5), (Step.NOTHING, Step.FREEZE, 5.5)),
        (idle(61), at(7 * 60), (Step.WARN, Step.FREEZE, 5.0)),
        (idle(30), at(21 * 60 + 40), (Step.NOTHING, Step.FREEZE, 9 * 60 + 25)),
        (idle(30), at(21 * 60 + 20), (Step.NOTHING, Step.FREEZE, 30.0)),
        # Announced before the night, and the night came: again.
        (idle(61), at(22 * 60 + 1, warned={Step.FREEZE: NOW - 4 * MINUTE}), (Step.NOTHING, Step.FREEZE, 9 * 60 + 4)),
        (idle(660), at(7 * 60, warned={Step.FREEZE: NOW - 9 * HOUR - 300}), (Step.WARN, Step.FREEZE, 5.0)),
        (idle(61), at(7 * 60 + 5, warned={Step.FREEZE: NOW - 300}), (Step.FREEZE, Step.NOTHING, None)),
        # Parking costs nobody anything.
        (idle(30), replace(at(23 * 60, warned={Step.PARK: NOW - 300}), state="RUNNING"), (Step.PARK, Step.NOTHING, None)),
    ],
)
def test_quiet_hours(verdict: Verdict, situation: Situation, expected: tuple[Step, Step, float | None]) -> None:
    assert in_minutes(decide(verdict, NIGHT, situation, NOW)) == expected


def test_hours_that_are_always_quiet() -> None:
    policy = replace(POLICY, quiet=((0, 720), (720, 0)), max_running=None)
    assert in_minutes(decide(idle(600), policy, at(100), NOW)) == (Step.NOTHING, Step.NOTHING, None)


def ran(hours: float, told_hours_ago: float | None = None) -> Situation:
    return replace(SITE, started=NOW - hours * HOUR, end_told=None if told_hours_ago is None else NOW - told_hours_ago * HOUR)


@pytest.mark.parametrize("verdict", [ACTIVE, UNKNOWN, replace(ACTIVE, cardless=True)])
@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (ran(143.9), (Step.NOTHING, "", 24.1)),
        (ran(144), (Step.WARN, "max_running", 24.0)),
        (ran(145, 1), (Step.NOTHING, "", 23.0)),
        (ran(167, 23), (Step.WARN, "max_running", 1.0)),
        (ran(167.5, 0.5), (Step.NOTHING, "", 0.5)),
        (ran(168, 1), (Step.STOP, "max_running", None)),
        # Not announced in time: it comes an hour after it was.
        (ran(300), (Step.WARN, "max_running", 1.0)),
        (ran(300, 0.9), (Step.NOTHING, "", 0.1)),
        (ran(300, 1), (Step.STOP, "max_running", None)),
        (ran(168.5, 24.5), (Step.WARN, "max_running", 1.0)),
        # What was announced to an earlier run was not to this one.
        (ran(168, 200), (Step.WARN, "max_running", 1.0)),
    ],
)
def test_the_end_of_every_run(verdict: Verdict, situation: Situation, expected: tuple[Step, str, float | None]) -> None:
    policy = replace(POLICY, park_after=None, freeze_after=None, stop_after=None)
    for kept in (None, NOW + HOUR):
        decision = decide(verdict, policy, replace(situation, kept_until=kept), NOW)
        assert (decision.step, decision.reason, None if decision.due is None else round((decision.due - NOW) / HOUR, 3)) == expected


def test_a_short_run_is_told_of_its_end_as_of_any_step() -> None:
    policy = replace(POLICY, max_running=HOUR / 2)
    assert in_minutes(decide(ACTIVE, policy, ran(0.42), NOW)) == (Step.WARN, Step.STOP, 5.0)
    assert decide(ACTIVE, policy, ran(0.5, 1 / 12), NOW).step is Step.STOP


def test_a_run_that_ends_before_anything_else_says_so() -> None:
    decision = decide(ACTIVE, POLICY, ran(167.9, 0.9), NOW)
    assert in_minutes(decision) == (Step.NOTHING, Step.STOP, 6.0)
    assert decision.text == "after 7 d, the longest that it may run, it is stopped: its files stay, its kernel does not (profile gpu-small)"


ASKS = replace(UNKNOWN, ask=True, reasons=("busy kernel train.ipynb for 3 h, and nothing measures any work of it",))


@pytest.mark.parametrize(("asked", "step"), [(None, Step.ASK), (NOW, Step.NOTHING), (NOW - 7199, Step.NOTHING), (NOW - 7200, Step.ASK)])
def test_it_asks_once_in_each_grace(asked: float | None, step: Step) -> None:
    decision = decide(ASKS, POLICY, replace(SITE, asked=asked), NOW)
    assert in_minutes(decision) == (step, Step.PARK, 10.0)
    if step is Step.ASK:
        assert decision.text.startswith("busy kernel train.ipynb for 3 h, and nothing measures any work of it: is it still needed?")


@pytest.mark.parametrize(
    ("verdict", "situation", "text"),
    [
        (idle(26), SITE, PARK_TEXT),
        (idle(31), SITE, f"only said, not done: {PARK_TEXT}"),
        (ASKS, SITE, PARK_TEXT),
        (
            ACTIVE,
            ran(200),
            "only said, not done: after 7 d, the longest that it may run, it is stopped: its files stay, its kernel does not (profile gpu-small)",
        ),
    ],
)
def test_a_shadow_says_and_does_nothing(verdict: Verdict, situation: Situation, text: str) -> None:
    decision = decide(verdict, replace(POLICY, shadow=True), situation, NOW)
    assert (decision.step, decision.text) == (Step.NOTHING, text)


def test_a_shadow_leaves_nobody_without_a_card() -> None:
    assert decide(ACTIVE, replace(POLICY, shadow=True), replace(SITE, state="PARKED"), NOW).step is Step.UNPARK


def test_who_was_alone_for_long_is_told_so() -> None:
    decision = decide(replace(idle(25), expired=True), POLICY, SITE, NOW)
    assert (decision.step, decision.reason) == (Step.WARN, "max_session")
    assert decision.text == f"nothing works in it; nobody was there for 8 h (nbd's default); {PARK_TEXT}"
    assert decide(replace(idle(30), expired=True), POLICY, told(Step.PARK, 5), NOW).reason == "max_session"
    assert decide(idle(30), POLICY, told(Step.PARK, 5), NOW).reason == "idle"


@pytest.mark.parametrize(
    ("verdict", "situation", "minutes"),
    [(ACTIVE, SITE, 24.833), (idle(10), SITE, 14.833), (idle(26), told(Step.PARK, 1), 4.0), (UNKNOWN, SITE, 4.833)],
)
def test_when_there_is_something_to_decide_again(verdict: Verdict, situation: Situation, minutes: float) -> None:
    look_at = decide(verdict, POLICY, situation, NOW).look_at
    assert look_at is not None
    assert round((look_at - NOW) / MINUTE, 3) == minutes


def test_even_a_warning_of_no_time_comes_first() -> None:
    policy = replace(POLICY, warn_before=0.0)
    assert in_minutes(decide(idle(40), policy, SITE, NOW)) == (Step.WARN, Step.PARK, 0.0)
    assert decide(idle(40), policy, told(Step.PARK, 0), NOW).step is Step.PARK
