"""Idleness as people ask about it: why, keep, one's own settings, the last day, another policy. Reads what the monitor knows, and changes nothing but
what a person says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..config import IdleSettings
from ..errors import Conflict, Refused
from ..idlemessages import (
    EvidenceView,
    HappenedView,
    HistoryView,
    LaneView,
    NextView,
    PolicyRow,
    ReplayView,
    SpanView,
    TrafficReport,
    UnknownView,
    WhyView,
)
from . import agenda, judge, policy, replay, words
from .diary import RecordedDiary
from .history import Entry, Happened, Stretch
from .model import ACTS, Abilities, Mood, Policy, Signal, Step
from .monitor import Case, Monitor
from .ports import Acts, Clock

UNJUDGED = {"FROZEN": "it is asleep on disk", "STARTING": "it starts", "STOPPING": "it stops"}
DAY_SECONDS = 86400.0
REPLAY_NOTE = "What a notebook would have done after another step is not known: the evidence is of the one that was left alone."
SHOWN = (Step.WARN, Step.ASK, Step.PARK, Step.UNPARK, Step.FREEZE, Step.STOP)


@dataclass(frozen=True, slots=True)
class About:
    """A notebook in any state."""

    notebook: str
    owner: str
    name: str
    state: str
    profile: str
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Files:
    """What desk and monitor read besides."""

    about: Callable[[str], About]
    policy: Callable[[str, Mapping[str, str]], Policy]
    """Of a profile and a person's own settings."""
    admin: Callable[[], IdleSettings]


class IdleDesk:
    def __init__(self, monitor: Monitor, acts: Acts, diary: RecordedDiary, clock: Clock, files: Files) -> None:
        self._monitor, self._acts, self._diary, self._clock, self._files = monitor, acts, diary, clock, files
        self._replaying = asyncio.Lock()

    async def why(self, notebook: str) -> WhyView:
        about, case = self._files.about(notebook), self._monitor.cases.get(notebook)
        holds = self._files.policy(about.profile, about.own)
        common = WhyView(
            about.notebook, about.name, about.owner, about.state, self._clock.wall(), "", str(Mood.UNKNOWN), policy=shown(holds), own=about.own,
            shadow=holds.shadow,
        )  # fmt: skip
        if case is None or case.decision is None:
            why = UNJUDGED.get(about.state, "it has not been looked at yet" if about.state in ("RUNNING", "PARKED") else "it does not run")
            return replace(common, sentence=f"{about.state} · {why}, so nothing is done about it")
        return await self._judged(common, case, holds)

    async def keep(self, notebook: str, seconds: float, by: str) -> WhyView:
        about = self._files.about(notebook)
        longest = self._files.policy(about.profile, about.own).max_session
        if about.state not in ("RUNNING", "PARKED"):
            raise Conflict(f"{about.name} is {about.state}: there is nothing to keep", hint=f"see: nbctl show {about.name}")
        if longest is not None and seconds > longest:
            hint = f"keep it again before that is over; the longest is max_session: {words.setting_text(longest)}"
            raise Refused(f"{about.name} can be kept for {words.span(longest)} at most", hint=hint, code="kept_too_long")
        await self._acts.keep(notebook, seconds)
        await self._monitor.look_at_once(notebook)
        return await self.why(notebook)

    async def set(self, notebook: str, settings: Mapping[str, str]) -> WhyView:
        about = self._files.about(notebook)
        policy.checked(settings)
        own = {key: value for key, value in {**about.own, **settings}.items() if value}
        without = self._files.policy(about.profile, {})
        wanted = self._files.policy(about.profile, own)
        for key in settings.keys() & own.keys():
            if wanted.origins.get(key) != policy.YOU and getattr(wanted, key) == getattr(without, key):
                held, whose = words.setting_text(getattr(without, key)), without.origins.get(key, "")
                raise Refused(f"{key} can only be shorter than {held} ({whose})", hint="ask an admin for another profile", code="looser_policy")
        await self._acts.settle(notebook, own)
        await self._monitor.look_at_once(notebook)
        return await self.why(notebook)

    async def history(self, notebook: str) -> HistoryView:
        entries = await self._diary.entries(notebook)
        rows = [entry for entry in entries if isinstance(entry, Stretch)]
        now = self._clock.wall()
        lanes = [LaneView(str(signal), tuple(merged(lane_of(rows, signal)))) for signal in Signal]
        moods = merged(SpanView(begin_of(row), row.wall, str(row.mood)) for row in rows)
        told = tuple(HappenedView(entry.wall, str(entry.step), entry.text) for entry in entries if isinstance(entry, Happened))
        return HistoryView(now - DAY_SECONDS, now, tuple(moods), tuple(lane for lane in lanes if lane.spans), told)

    async def replay(self, notebook: str, source: str) -> ReplayView:
        about = self._files.about(notebook)
        other = policy.parsed(source, "the policy", self._files.admin())
        holds = self._files.policy(about.profile, about.own)
        entries = await self._diary.entries(notebook)
        case = self._monitor.cases.get(notebook)
        able = await self._monitor.abilities(case, self._clock.steady()) if case else Abilities(held=False)
        able = replace(able, held=able.held or bool(case and case.subject.cards) or any(signal is Signal.GPU for signal in signals(entries)))
        async with self._replaying:  # A day takes a second of the processor: one at a time, and not in the way of all others.
            first, second = [await asyncio.to_thread(replay.replay, entries, one, able, self._clock.minute_of) for one in (other, holds)]
        walls = [moment for entry in entries for moment in (begin_of(entry), entry.wall)]
        return ReplayView(
            min(walls, default=self._clock.wall()), max(walls, default=self._clock.wall()), steps(first), steps(second),
            first.free_seconds, second.free_seconds, shown(other), REPLAY_NOTE,
        )  # fmt: skip

    def heard(self, report: TrafficReport) -> None:
        self._monitor.heard(report)

    async def _judged(self, common: WhyView, case: Case, holds: Policy) -> WhyView:
        now = self._clock.steady()
        verdict, able = judge.verdict(case.standing, holds, now), await self._monitor.abilities(case, now)
        decision = agenda.decide(verdict, holds, self._monitor.situation(case, able), now)
        due = self._monitor.wall(decision.due)
        key = words.key_of(decision.next, decision.reason)
        following = None
        if decision.next in ACTS:
            rule = words.rule(holds, key) if key else ""
            following = NextView(str(decision.next), decision.text, due, self._monitor.wall(case.warned.get(decision.next)), rule)
        left = judge.remaining(case.standing, holds, now)
        without = "" if case.subject.state == agenda.PARKED else "it holds no GPU"
        cannot = {"park": able.park if case.subject.cards else without, "freeze": able.freeze}
        return replace(
            common,
            sentence=words.why(common.state, verdict, decision, self._clock.text(decision.due)),
            verdict=str(verdict.mood),
            since=self._monitor.wall(verdict.since),
            idle_seconds=verdict.idle_seconds,
            reasons=verdict.reasons,
            evidence=tuple(EvidenceView(str(one.evidence.signal), one.evidence.text, one.age, one.evidence.weight) for one in left),
            unknown=tuple(UnknownView(one.source, one.why) for one in case.standing.unknown),
            next=following,
            not_before=due,
            kept_until=self._monitor.wall(case.subject.kept_until),
            cannot={what: why for what, why in cannot.items() if why},
            notice=case.notice,
        )


def shown(holds: Policy) -> tuple[PolicyRow, ...]:
    return tuple(PolicyRow(*row) for row in policy.rows(holds))


def begin_of(entry: Entry) -> float:
    """By the wall's clock. A sample stands for the time since the one before."""
    return entry.wall - (entry.last - entry.first) - entry.spacing if isinstance(entry, Stretch) else entry.wall


def lane_of(rows: Sequence[Stretch], signal: Signal) -> Iterator[SpanView]:
    for row in rows:
        weight = dict(row.evidence).get(signal)
        if weight:
            yield SpanView(begin_of(row), row.wall, str(signal), weight)


def merged(spans: Iterator[SpanView]) -> Iterator[SpanView]:
    """Those that follow each other and say the same are one."""
    held: SpanView | None = None
    for span in spans:
        if held and held.what == span.what and span.begin - held.end < 15.0:
            held = replace(held, end=span.end, weight=max(held.weight, span.weight))
            continue
        if held:
            yield held
        held = span
    if held:
        yield held


def signals(entries: Sequence[Entry]) -> Iterator[Signal]:
    for entry in entries:
        if isinstance(entry, Stretch):
            yield from (signal for signal, _ in entry.evidence)


def steps(replayed: replay.Replayed) -> tuple[HappenedView, ...]:
    return tuple(HappenedView(one.wall, str(one.step), one.text) for one in replayed.done if one.step in SHOWN)
