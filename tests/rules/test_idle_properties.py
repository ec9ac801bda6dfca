"""What holds of every notebook under every policy: nothing is done on unknown, nothing without a warning, and more evidence never hastens a step."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from nbd.idle import history, judge, replay
from nbd.idle.evidence import MEANINGS, WEAK, grained
from nbd.idle.model import ACTS, PERSON, Abilities, Decision, Evidence, Mood, Policy, Sample, Signal, Site, Step, Unknown

from .idle_weeks import Notebook

EVERY = 10.0
WALL = 1_700_000_000.0
ABLE = Abilities(freeze="this box has no CRIU", held=True)


def times(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(least, most).map(lambda periods: periods * EVERY)


policies = st.builds(
    Policy,
    warn_before=times(1, 8),
    park_after=st.none() | times(1, 30),
    stop_after=st.none() | times(1, 40),
    busy_grace=times(2, 20),
    max_session=st.none() | times(5, 60),
    max_running=st.none() | times(20, 200),
    quiet=st.sampled_from([(), ((600, 605),), ((1430, 5), (610, 620))]),
    sample_every=st.just(EVERY),
)
weights = st.sampled_from([0.05, 0.1, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0])


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    signal = draw(st.sampled_from(list(Signal)))
    return Evidence(signal, grained(min(draw(weights), MEANINGS[signal].weight)), str(signal))


unknowns = st.sampled_from([Unknown(source, "") for source in ("gpu", "cgroup", "editor", "door", "probe")])
Kind = tuple[tuple[Evidence, ...], tuple[Unknown, ...], tuple[str, ...]]
quiet_times: st.SearchStrategy[Kind] = st.just(((), (), ()))
BUSY = Evidence(Signal.KERNEL, 1.0, "busy kernel train.ipynb")


@st.composite
def shown(draw: st.DrawFn) -> Kind:
    evidence, unknown = draw(st.lists(evidences(), max_size=3)), draw(st.lists(unknowns, max_size=1))
    busy = draw(st.booleans())
    return (*evidence, *([BUSY] if busy else [])), tuple(unknown), ("train.ipynb",) if busy else ()


kinds = quiet_times | quiet_times | shown()


@st.composite
def lives(draw: st.DrawFn) -> tuple[Sample, ...]:
    """Rows of samples that are alike, some with a gap before."""
    found: list[Sample] = []
    at = 0.0
    for _ in range(draw(st.integers(1, 8))):
        evidence, unknown, busy = draw(kinds)
        at += draw(st.sampled_from([0, 0, 0, 1, 5])) * EVERY
        for _ in range(draw(st.integers(1, 40))):
            at += EVERY
            found.append(Sample(at, EVERY, evidence, unknown, busy))
    return tuple(found)


def notebook(policy: Policy, begun: float = 0.0) -> Notebook:
    return Notebook(policy, Site(), ABLE, begun, judge.begin(begun))


def lived(samples: tuple[Sample, ...], policy: Policy) -> list[tuple[Sample, judge.Standing, Decision, str]]:
    """Each sample with what was decided on it, and in which state."""
    subject, found = notebook(policy), []
    for sample in samples:
        state = subject.state
        decision = subject.take(sample, WALL + sample.at)
        found.append((sample, subject.standing, decision, state))
        if decision.step is Step.STOP:
            break
    return found


@settings(max_examples=150, deadline=None)
@given(lives(), policies)
def test_nothing_is_done_on_unknown(samples: tuple[Sample, ...], policy: Policy) -> None:
    before = 0.0
    for sample, standing, decision, _ in lived(samples, policy):
        if decision.step in ACTS and decision.reason != "max_running":
            session_over = policy.max_session is not None and sample.at - standing.person_at > policy.max_session
            assert not [item for item in sample.unknown if item.source != "probe" or not session_over]
            assert not sample.busy or session_over
            assert sample.at - before <= judge.GAP * EVERY or standing.idle_seconds >= min(policy.park_after or 1e9, policy.stop_after or 1e9)
            assert judge.verdict(standing, policy, sample.at).mood is Mood.IDLE
        before = sample.at


@settings(max_examples=150, deadline=None)
@given(lives(), policies)
def test_nothing_is_done_unannounced(samples: tuple[Sample, ...], policy: Policy) -> None:
    told: dict[tuple[Step, bool], float] = {}
    for sample, standing, decision, _ in lived(samples, policy):
        ending = decision.reason == "max_running"
        if judge.verdict(standing, policy, sample.at).mood is Mood.ACTIVE:
            told = {key: at for key, at in told.items() if key[1]}
        if decision.step is Step.WARN:
            told[decision.next, ending] = sample.at
        if decision.step in ACTS:
            assert sample.at - told[decision.step, ending] >= policy.warn_before


@settings(max_examples=150, deadline=None)
@given(lives(), policies)
def test_nothing_comes_before_the_earliest_moment_that_was_told(samples: tuple[Sample, ...], policy: Policy) -> None:
    earliest, state_of_it = 0.0, "RUNNING"
    for sample, _, decision, state in lived(samples, policy):
        if decision.step in ACTS:
            assert state != state_of_it or sample.at >= earliest - 1e-3
        if decision.step is Step.WARN:
            continue
        due = float("inf") if decision.due is None else decision.due
        earliest = max(earliest, due) if state == state_of_it and decision.step not in ACTS else due
        state_of_it = state


@settings(max_examples=200, deadline=None)
@given(lives(), policies, st.data())
def test_more_evidence_never_hastens_a_step(samples: tuple[Sample, ...], policy: Policy, data: st.DataObject) -> None:
    more = list(samples)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(more) - 1))
        evidence, unknown, busy = data.draw(kinds)
        for number in range(place, min(len(more), place + data.draw(st.integers(1, 40)))):
            one = more[number]
            both = (*one.unknown, *unknown)
            more[number] = replace(one, evidence=(*one.evidence, *evidence), unknown=both, busy=one.busy or busy)
    assert first_act(tuple(more), policy) >= first_act(samples, policy)


def first_act(samples: tuple[Sample, ...], policy: Policy) -> float:
    return next((sample.at for sample, _, decision, _ in lived(samples, policy) if decision.step in ACTS), float("inf"))


@settings(max_examples=150, deadline=None)
@given(lives(), policies)
def test_a_replay_is_what_was(samples: tuple[Sample, ...], policy: Policy) -> None:
    subject, decisions = notebook(policy, samples[0].at - replay.MOMENT), []
    for sample in samples:
        decision = subject.take(sample, WALL + sample.at)
        decisions += [(sample.at, decision.step)] if decision.step is not Step.NOTHING else []
        if decision.step is Step.STOP:
            break
    lines = [*subject.lines, *([history.encode(subject.growing)] if subject.growing else [])]
    again = replay.replay(history.entries(lines), policy, ABLE, lambda wall: wall / 60 % 1440)
    assert [(round(done.at, 2), done.step) for done in again.done] == [(round(at, 2), step) for at, step in decisions]


@settings(max_examples=150, deadline=None)
@given(lives(), policies, st.integers(0, 300))
def test_who_restarts_goes_on_as_before(samples: tuple[Sample, ...], policy: Policy, place: int) -> None:
    """Killed or not, it never knows of more idleness than there was; stopped in order, it knows all."""
    subject = notebook(policy, samples[0].at - replay.MOMENT)
    for sample in samples[: place + 1]:
        subject.take(sample, WALL + sample.at)
    before, warned = subject.standing, subject.warned
    killed = notebook(policy, samples[0].at - replay.MOMENT)
    killed.lines = subject.lines[:]
    killed.restart(killed=True)
    assert killed.standing.idle_seconds <= before.idle_seconds + 1e-6 or killed.standing.at < before.at
    subject.restart()
    after = subject.standing
    assert abs(after.idle_seconds - before.idle_seconds) <= EVERY + 1e-6
    assert abs(after.active_at - before.active_at) <= EVERY
    assert {step: round(at, 2) for step, at in subject.warned.items()} == {step: round(at, 2) for step, at in warned.items()}
    assert (after.silent_since is None) == (before.silent_since is None)


@settings(max_examples=100, deadline=None)
@given(st.lists(evidences(), max_size=6), policies)
def test_weak_signals_are_never_enough(evidence: list[Evidence], policy: Policy) -> None:
    weak = tuple(item for item in evidence if item.signal in WEAK)
    standing = judge.begin(0.0)
    for at in range(1, 100):
        standing = judge.observe(standing, Sample(at * EVERY, EVERY, weak), policy)
    assert judge.verdict(standing, policy, 990.0).mood is Mood.IDLE
    assert all(one <= two for one, two in pairwise([standing.active_at, standing.at]))
    assert PERSON.isdisjoint(WEAK)
