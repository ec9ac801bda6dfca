"""The same evidence again: to go on after a restart, and to see what another policy would have done. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import agenda, judge
from .history import NAME, Entry, Happened, Stretch, samples
from .judge import Standing
from .model import ACTS, MEASURED, PERSON, Abilities, Decision, Mood, Policy, Sample, Signal, Situation, Step, Verdict
from .ports import Resumed

MOMENT = 0.001
"""Seconds from when a run begins to be watched to the first look at it."""
LINGERS = 800.0
"""Seconds after which nothing is left of any observation."""
AWAY = "AWAY"
"""Frozen or stopped, had it gone by the other policy."""


@dataclass(frozen=True, slots=True)
class Done:
    at: float
    """By the monotonic clock of its boot."""
    wall: float
    step: Step
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Replayed:
    done: tuple[Done, ...]
    free_seconds: float
    """So long others could have had its card."""


def resume(entries: Sequence[Entry], run: str, boot: str, policy: Policy, began: float = -math.inf) -> Resumed | None:
    """What is known of a run that went on while nbd did not; None where nothing is. `began`: when its processes did; what was before it was frozen
    says nothing of one that was thawed."""
    mine = [entry for entry in entries if (entry.run, entry.boot) == (run[:NAME], boot[:NAME]) and last_of(entry) >= began]
    rows = [entry for entry in mine if isinstance(entry, Stretch)]
    if not rows:
        return None
    persons = [row.last for row in rows if any(signal in PERSON for signal, _ in row.evidence)]
    # Measured work that is enough by itself ends all that was before it, but for what still lingers: the rest need not be judged again.
    decisive = [row.last for row in rows if any(signal in MEASURED and weight >= judge.ENOUGH for signal, weight in row.evidence)]
    since = max([rows[0].first - MOMENT, *(moment - LINGERS for moment in decisive[-1:])])
    life = _Life(policy, judge.begin(since, (persons or [rows[0].first])[-1]))
    for entry in mine:
        if isinstance(entry, Happened):
            life.told(entry.step, entry.reason, entry.next, entry.at)
        elif entry.last >= since:
            for sample in samples(entry):
                life.seen(sample)
    ended = [entry.at for entry in mine if isinstance(entry, Happened) and entry.step is Step.WARN and entry.reason == "max_running"]
    busy = tuple((name, _busy_since(rows, name, since)) for name, since in life.standing.busy)
    return Resumed(replace(life.standing, busy=busy), life.warned, life.asked, ended[-1] if ended else None)


def last_of(entry: Entry) -> float:
    return entry.last if isinstance(entry, Stretch) else entry.at


def _busy_since(rows: Sequence[Stretch], name: str, since: float) -> float:
    for row in reversed(rows):
        if row.name != name and "editor" not in row.unknown:
            break
        since = min(since, row.first) if row.name == name else since
    return since


@dataclass(slots=True)
class _Life:
    """What the monitor keeps of one run; here so that a replay keeps the same."""

    policy: Policy
    standing: Standing
    state: str = "RUNNING"
    warned: Mapping[Step, float] = field(default_factory=dict)
    asked: float | None = None
    end_told: float | None = None

    def seen(self, sample: Sample) -> Verdict:
        self.standing = judge.observe(self.standing, sample, self.policy)
        verdict = judge.verdict(self.standing, self.policy, sample.at)
        if verdict.mood is Mood.ACTIVE:
            self.warned, self.asked = {}, None
        return verdict

    def told(self, step: Step, reason: str, following: Step, at: float) -> None:
        if step is Step.ASK:
            self.asked = at
        elif step is Step.WARN and reason == "max_running":
            self.end_told = at
        elif step is Step.WARN:
            self.warned = {**self.warned, following: at}
        elif step is Step.PARK:
            self.warned = {other: told for other, told in self.warned.items() if other is not step}

    def do(self, decision: Decision, at: float) -> None:
        self.told(decision.step, decision.reason, decision.next, at)
        if decision.step is Step.PARK:
            self.state = agenda.PARKED
        elif decision.step is Step.UNPARK:
            self.state = "RUNNING"
        elif decision.step in ACTS:
            self.state = AWAY


def replay(entries: Sequence[Entry], policy: Policy, abilities: Abilities, minute: Callable[[float], float]) -> Replayed:
    """What `policy` would have done. `abilities.held`: whether the notebook has cards at all; `minute`: from the wall's clock to the local minute of
    the day. A run is as old as what is known of it. One that is away comes back when a person is there, or when it works."""
    policy = replace(policy, shadow=False)
    done: list[Done] = []
    life: _Life | None = None
    run, free, started = ("", ""), 0.0, 0.0
    for row in (entry for entry in entries if isinstance(entry, Stretch)):
        if life is None or run != (row.run, row.boot):
            run, started, life = (row.run, row.boot), row.first, _Life(policy, judge.begin(row.first - MOMENT))
        for sample in samples(row):
            passed = sample.at - life.standing.at
            free += passed if abilities.held and life.state != "RUNNING" else 0.0
            wall = row.wall - (row.last - sample.at)
            decision = _turn(life, sample, abilities, (started, minute(wall)))
            if decision.step is not Step.NOTHING:
                done.append(Done(sample.at, wall, decision.step, decision.reason, decision.text))
    return Replayed(tuple(done), free)


def _turn(life: _Life, sample: Sample, abilities: Abilities, times: tuple[float, float]) -> Decision:
    verdict = life.seen(sample)
    if life.state == AWAY:
        if verdict.mood is not Mood.ACTIVE or not _back(sample):
            return Decision(Step.NOTHING, "", "")
        life.state = "RUNNING"
    able = replace(abilities, held=abilities.held and life.state == "RUNNING")
    situation = Situation(life.state, able, times[0], times[1], life.warned, life.end_told, life.asked)
    decision = agenda.decide(verdict, life.policy, situation, sample.at)
    life.do(decision, sample.at)
    return decision


def _back(sample: Sample) -> bool:
    return any(item.signal in MEASURED or (item.signal in PERSON and item.signal is not Signal.KEEP) for item in sample.evidence)
