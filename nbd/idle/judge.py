"""From samples to a verdict: what is remembered between two looks, and what follows from it now. Pure.

The idle clock counts time that was seen, and seen to be idle, since the end of the last work. What could not be seen is neither idle nor work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .evidence import GRAIN, MEANINGS, WEAK, WEAK_MOST
from .model import MEASURED, PERSON, Evidence, Mood, Policy, Sample, Signal, Unknown, Verdict
from .words import span

ENOUGH = 1.0
FRESH = 1.5
"""Sample periods after which what was seen is old."""
GAP = 3.0
"""Sample periods between two samples after which the time between them was not seen: the box was suspended, nbd was down."""
ASK_FOR_CARDS = frozenset({Signal.GPU, Signal.CPU, Signal.KERNEL, Signal.TERMINAL, Signal.TYPING, Signal.CLICK})
"""What of a parked notebook may be about to use its card, or wait for it already. A disk that is read is not."""
NEGLIGIBLE = 0.5 / GRAIN
FULL_WINDOW = 1800.0
"""Half-lives are for policies whose first step comes after so long or longer; a shorter one shortens them in proportion, or it would come late."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The observation of one signal of which most is left."""

    at: float
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """All samples of a run, folded."""

    at: float
    """Of the last one."""
    active_at: float
    """The end of the last work."""
    person_at: float
    """When a person was last there."""
    idle_seconds: float = 0.0
    traces: Mapping[Signal, Trace] = field(default_factory=dict)
    busy: tuple[tuple[str, float], ...] = ()
    """Kernels that say they are busy, and since when."""
    silent_since: float | None = None
    """Since when one has been busy and nothing measured."""
    unknown: tuple[Unknown, ...] = ()
    blind_since: float | None = None
    """Since when nothing can be said."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of an observation."""

    evidence: Evidence
    """With the weight that is left of it."""
    age: float
    counts: bool
    """False for what is only claimed, and for too long."""


def begin(at: float, person_at: float | None = None) -> Standing:
    """Of a run that begins to be watched at `at`: starting it is work of a person's, that goes on for as long as nobody looks."""
    return Standing(at, at, at if person_at is None else min(at, person_at))


def observe(standing: Standing, sample: Sample, policy: Policy) -> Standing:
    """The same with one more sample. One that is not newer than the last changes nothing."""
    span_of_it = sample.at - standing.at
    if span_of_it <= 0:
        return standing
    unseen = span_of_it > GAP * policy.sample_every
    person_at = sample.at if any(item.signal in PERSON for item in sample.evidence) else standing.person_at
    busy, silent_since = _claims(standing, sample, span_of_it, seen=not unseen)
    traces, idle = _traces(standing.traces, sample, pace(policy)), standing.idle_seconds
    then = Standing(sample.at, standing.active_at, person_at, idle, traces, busy, silent_since, sample.unknown, standing.blind_since)
    worked = any(item.signal not in WEAK and counts(then, item.signal, policy, sample.at) for item in sample.evidence)
    if worked and score(then, policy, sample.at) >= ENOUGH:
        return replace(then, active_at=sample.at, idle_seconds=0.0, blind_since=None)
    if blind(then, policy, sample.at):
        return then if then.blind_since is not None else replace(then, blind_since=standing.at)
    return replace(then, idle_seconds=idle + (0.0 if unseen else span_of_it), blind_since=None)


def _traces(old: Mapping[Signal, Trace], sample: Sample, speed: float) -> Mapping[Signal, Trace]:
    """Of each signal the one of which most is left: as all fade alike, that one stays ahead. What is as good as gone is forgotten."""
    traces = {signal: trace for signal, trace in old.items() if faded(signal, trace, sample.at, speed) >= NEGLIGIBLE}
    for item in sample.evidence:
        known = traces.get(item.signal)
        if known is None or faded(item.signal, known, sample.at, speed) <= item.weight:
            traces[item.signal] = Trace(sample.at, item.weight, item.text)
    return traces


def _claims(standing: Standing, sample: Sample, passed: float, *, seen: bool) -> tuple[tuple[tuple[str, float], ...], float | None]:
    """Who is busy since when, and since when without any support. Time that was not seen is not held against a kernel."""
    later = None if standing.silent_since is None else min(sample.at, standing.silent_since + passed)
    if any(item.source == "editor" for item in sample.unknown):
        return standing.busy, later
    busy = tuple((name, _since(standing, name, sample.at)) for name in dict.fromkeys(sample.busy))
    if not busy or any(item.signal in MEASURED for item in sample.evidence):
        return busy, None
    since = standing.silent_since if seen else later
    return busy, sample.at if since is None else since


def _since(standing: Standing, name: str, now: float) -> float:
    """After a restart only the beginning of a long name is known."""
    return next((since for known, since in standing.busy if name.startswith(known)), now)


def pace(policy: Policy) -> float:
    """What half-lives are multiplied with."""
    windows = (FULL_WINDOW, policy.park_after, policy.freeze_after, policy.stop_after)
    return min(window for window in windows if window is not None) / FULL_WINDOW


def faded(signal: Signal, trace: Trace, now: float, speed: float) -> float:
    return trace.weight * math.exp2(-max(0.0, now - trace.at) / (MEANINGS[signal].half_life * speed))


def alone(standing: Standing, policy: Policy, now: float) -> bool:
    """Whether nobody was there for so long that claims count no more."""
    return policy.max_session is not None and now - standing.person_at > policy.max_session


def silent(standing: Standing, policy: Policy, now: float) -> bool:
    """Whether a kernel says it is busy, and nothing has shown it for longer than its word alone counts."""
    return bool(standing.busy) and standing.silent_since is not None and now - standing.silent_since > policy.busy_grace


def counts(standing: Standing, signal: Signal, policy: Policy, now: float) -> bool:
    if signal in MEASURED or signal in PERSON:
        return True
    return not alone(standing, policy, now) and not (signal is Signal.KERNEL and silent(standing, policy, now))


def score(standing: Standing, policy: Policy, now: float, of: frozenset[Signal] = frozenset(Signal)) -> float:
    """Of all that counts, as far as it is among these."""
    counted = {signal: trace for signal, trace in standing.traces.items() if signal in of and counts(standing, signal, policy, now)}
    return _sum(counted, now, pace(policy))


def _sum(traces: Mapping[Signal, Trace], now: float, speed: float) -> float:
    weak = sum(faded(signal, trace, now, speed) for signal, trace in traces.items() if signal in WEAK)
    return min(weak, WEAK_MOST) + sum(faded(signal, trace, now, speed) for signal, trace in traces.items() if signal not in WEAK)


def blind(standing: Standing, policy: Policy, now: float) -> bool:
    """Whether a source that matters did not tell, or a kernel claims what nobody can check. A probe that fails when its word would not
    count any more hides nothing."""
    session_over = alone(standing, policy, now)
    failing = any(not (item.source == "probe" and session_over) for item in standing.unknown)
    return failing or (silent(standing, policy, now) and not session_over)


def verdict(standing: Standing, policy: Policy, now: float) -> Verdict:
    """What holds now. Between two samples nothing fades: the next one has not come yet."""
    as_of = max(standing.at, now - FRESH * policy.sample_every)
    left = remaining(standing, policy, now)
    shown = tuple(_said(standing, item, now) for item in left)
    old = now - standing.at > FRESH * policy.sample_every
    if score(standing, policy, as_of) >= ENOUGH:
        heaviest = next(item for item in left if item.counts)
        counted = tuple(text for text, item in zip(shown, left, strict=True) if item.counts)
        cardless = score(standing, policy, as_of, ASK_FOR_CARDS) < ENOUGH
        return Verdict(Mood.ACTIVE, now - heaviest.age, standing.idle_seconds, counted, cardless=cardless)
    if old:
        return Verdict(Mood.UNKNOWN, standing.at, standing.idle_seconds, (f"nothing was seen for {span(now - standing.at)}",))
    asks = silent(standing, policy, now) and not alone(standing, policy, now)
    if blind(standing, policy, now):
        reasons = [f"{item.source}: {item.why}" for item in standing.unknown]
        reasons += [f"{_busy(standing, now)}, and nothing measures any work of it"] if asks else []
        return Verdict(Mood.UNKNOWN, standing.blind_since or standing.at, standing.idle_seconds, tuple(reasons), ask=asks)
    idle = standing.idle_seconds + max(0.0, now - standing.at)
    claimed = alone(standing, policy, now) and (bool(standing.busy) or _sum(standing.traces, as_of, pace(policy)) >= ENOUGH)
    return Verdict(Mood.IDLE, standing.active_at, idle, _idle_reasons(standing, policy, idle, now), expired=claimed)


def remaining(standing: Standing, policy: Policy, now: float) -> tuple[Left, ...]:
    """What is left of what was seen, the heaviest first."""
    as_of = max(standing.at, now - FRESH * policy.sample_every)
    speed = pace(policy)
    left = [
        Left(Evidence(signal, faded(signal, trace, as_of, speed), trace.text), now - trace.at, counts(standing, signal, policy, now))
        for signal, trace in standing.traces.items()
    ]
    return tuple(sorted((item for item in left if item.evidence.weight >= NEGLIGIBLE), key=lambda item: (-item.evidence.weight, item.age)))


def _said(standing: Standing, left: Left, now: float) -> str:
    if left.evidence.signal is Signal.KERNEL and standing.busy:
        return _busy(standing, now)
    if left.evidence.signal is Signal.KEEP:
        return left.evidence.text
    return f"{left.evidence.text} {span(left.age)} ago" if left.age >= 1 else f"{left.evidence.text} just now"


def _busy(standing: Standing, now: float) -> str:
    return ", ".join(f"busy kernel {name} for {span(now - since)}" for name, since in standing.busy)


def _idle_reasons(standing: Standing, policy: Policy, idle: float, now: float) -> tuple[str, ...]:
    reasons = [f"nothing has worked for {span(idle)}"]
    if alone(standing, policy, now):
        claims = f"{_busy(standing, now)}: " if standing.busy else ""
        reasons.append(f"{claims}nobody was there for {span(now - standing.person_at)}, so only what is measured counts")
    weak = [_said(standing, item, now) for item in remaining(standing, policy, now) if item.counts and item.age <= FRESH * policy.sample_every]
    return (*reasons, *(f"{text} is not enough" for text in weak))
