"""Looks at every running notebook, judges, tells, and does what is due. The only place where something happens because nobody works.

Each pass: look (looker.py), sample, judge, decide (all pure), record, act. A defect in one notebook's turn is its own and ends nobody's; a pass that
finds nothing out touches nobody, for unknown is never idle. What a pass cannot finish the next one sees again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from ..errors import NbdError
from ..idlemessages import IdleBrief, NextView, NoticeKind, NoticeView, TrafficReport
from . import agenda, evidence, judge
from .judge import Standing
from .looker import Looker
from .model import ACTS, Abilities, Decision, Look, Mood, Policy, Sample, Site, Situation, Step, Verdict
from .ports import Acts, Clock, Crier, Diary, Subject
from .preempt import Candidate, chosen, hurried
from .words import key_of, rule

log = logging.getLogger(__name__)
ABILITIES_SECONDS = 60.0
"""What can be done to a notebook is asked again after so long, and before it is done."""
LEAST_PAUSE_SECONDS = 0.5
KEEP_SECONDS = 2 * 3600.0
"""What one click in a notice keeps a notebook for."""


@dataclass(frozen=True, slots=True)
class Means:
    looker: Looker
    acts: Acts
    crier: Crier
    diary: Diary
    clock: Clock
    policy: Callable[[Subject], Policy]
    """What holds for it now: profiles and settings change while notebooks run."""
    tell: Callable[[str, IdleBrief | None], None]
    """Whoever watches the notebook."""
    probes: Callable[[str], bool]
    """Whether a profile has a probe."""
    line: Callable[[], tuple[int, float]]
    """How many wait for a card, and after how much idleness one is parked for them."""


@dataclass(slots=True)
class Case:
    """What is known of one run of one notebook."""

    subject: Subject
    policy: Policy
    standing: Standing
    look: Look | None = None
    sample: Sample | None = None
    warned: Mapping[Step, float] = field(default_factory=dict)
    asked: float | None = None
    end_told: float | None = None
    abilities: tuple[float, Abilities] | None = None
    verdict: Verdict | None = None
    decision: Decision | None = None
    notice: NoticeView | None = None


class Monitor:
    def __init__(self, means: Means) -> None:
        self._means = means
        self.cases: dict[str, Case] = {}
        """By notebook: those that run or are parked, as the last pass saw them."""
        self._hurry = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self, every: Callable[[], float]) -> None:
        """Until it is cancelled. `every`: seconds between two passes."""
        while True:
            began = self._means.clock.steady()
            self._hurry.clear()
            try:
                await self.look()
            except NbdError as error:
                log.warning("idle notebooks could not be looked at: %s", error)
            except Exception:  # its last door: the journal gets the traceback, and the next pass may go well
                log.exception("a look at idle notebooks met a defect")
            await asyncio.sleep(LEAST_PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began + every() - self._means.clock.steady())):
                    await self._hurry.wait()

    async def look(self) -> None:
        """One pass over all."""
        subjects = await self._means.acts.subjects()
        before, cases = self.cases, {}
        for subject in subjects:
            with self._said(subject.notebook):
                cases[subject.notebook] = await self._case(subject, before.get(subject.notebook))
        for notebook in self._yielding() & cases.keys():
            cases[notebook].policy = hurried(cases[notebook].policy, self._means.line()[1])
        self.cases = cases
        for notebook in before.keys() - cases.keys():
            self._means.tell(notebook, None)
        known = [subject for subject in subjects if subject.notebook in cases]
        looks = await self._means.looker.look(known, {one for one, case in cases.items() if self._near(case)})
        for notebook, look in looks.items():
            with self._said(notebook):
                await self._turn(cases[notebook], look)

    async def close(self) -> None:
        """Nobody is called any more."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    @contextmanager
    def _said(self, notebook: str) -> Iterator[None]:
        """What goes wrong with one must not keep the others from their turn."""
        try:
            yield
        except NbdError as error:
            log.warning("%s: %s", notebook, error, extra={"NBD_NOTEBOOK": notebook})
        except Exception:  # its last door: the journal gets the traceback
            log.exception("%s: judging it met a defect", notebook, extra={"NBD_NOTEBOOK": notebook})

    def heard(self, report: TrafficReport) -> None:
        """What the web door counted. One that rests is not kept waiting by its person for the next pass."""
        touched = self._means.looker.heard(report)
        if any(notebook in self.cases and self.cases[notebook].subject.state == agenda.PARKED for notebook in touched):
            self._hurry.set()

    async def look_at_once(self, notebook: str) -> None:
        """Something was said that changes what is due: what is known of it is as it is now, and all are looked at soon."""
        self._hurry.set()
        case = self.cases.get(notebook)
        for subject in await self._means.acts.subjects() if case else ():
            if case and subject.notebook == notebook:
                case.subject, case.policy = subject, self._means.policy(subject)

    def situation(self, case: Case, abilities: Abilities) -> Situation:
        subject, clock = case.subject, self._means.clock
        return Situation(
            state=subject.state,
            abilities=abilities,
            started=subject.began,
            local_minute=clock.minute_of(clock.wall()),
            warned=case.warned,
            end_told=case.end_told,
            asked=case.asked,
            kept_until=subject.kept_until,
        )

    async def _case(self, subject: Subject, before: Case | None) -> Case:
        policy = self._means.policy(subject)
        # One that was thawed has its container still, and is as one that was started.
        if before and before.subject.container == subject.container and before.standing.at >= subject.began:
            before.subject, before.policy = subject, policy
            return before
        known = await self._means.diary.resume(subject, policy)
        if known is None:
            return Case(subject, policy, judge.begin(self._means.clock.steady()))
        return Case(subject, policy, known.standing, warned=known.warned, asked=known.asked, end_told=known.end_told)

    def _yielding(self) -> frozenset[str]:
        """Those that are to give their card back sooner, because somebody waits for one."""
        waiting, after = self._means.line()
        if not waiting or after == math.inf:
            return frozenset()
        idle = [
            Candidate(notebook, case.verdict.idle_seconds)
            for notebook, case in self.cases.items()
            if case.verdict and case.verdict.mood is Mood.IDLE and case.subject.cards and case.policy.park_after is not None
            if case.abilities and not case.abilities[1].park
        ]
        return chosen(idle, waiting)

    def _near(self, case: Case) -> bool:
        """Whether something may be decided about it before its editor would be asked again."""
        moment = case.decision.look_at if case.decision else None
        return moment is not None and moment - self._means.clock.steady() <= 2 * case.policy.sample_every

    async def _turn(self, case: Case, look: Look) -> None:
        subject = case.subject
        site = Site(subject.cards, subject.exclusive, subject.editor, probes=self._means.probes(subject.profile))
        if look.state == agenda.PARKED and (case.look is None or case.look.state != look.state):
            case.standing = replace(case.standing, traces={})  # what it did with its card does not ask for it again
        case.sample, case.look = evidence.sample(case.look, look, site), look
        case.standing = judge.observe(case.standing, case.sample, case.policy)
        case.verdict = judge.verdict(case.standing, case.policy, look.at)
        if case.verdict.mood is Mood.ACTIVE:
            case.warned, case.asked, case.notice = {}, None, None
        decision = await self._decided(case, case.verdict, look.at)
        if decision.step in ACTS and self._overtaken(case, look):
            decision = replace(decision, step=Step.NOTHING, text="it is looked at once more before that", look_at=look.at)
        await self._means.diary.note(subject.notebook, subject.container, case.sample, case.verdict)
        await self._do(case, decision, look.at)
        case.decision = decision
        self._means.tell(subject.notebook, self.brief(case))

    async def _decided(self, case: Case, verdict: Verdict, now: float) -> Decision:
        decision = agenda.decide(verdict, case.policy, self.situation(case, await self.abilities(case, now)), now)
        if decision.step not in ACTS:
            return decision
        # What is about to be done is decided on what can be done now.
        case.abilities = None
        return agenda.decide(verdict, case.policy, self.situation(case, await self.abilities(case, now)), now)

    def _overtaken(self, case: Case, look: Look) -> bool:
        """Whether what an act would rest on is old by now, or somebody has done something since."""
        old = self._means.clock.steady() - look.at > case.policy.sample_every
        return old or self._means.looker.touched_since(look, case.subject.notebook)

    async def abilities(self, case: Case, now: float) -> Abilities:
        if case.abilities is None or now - case.abilities[0] > ABILITIES_SECONDS:
            case.abilities = (now, await self._means.acts.abilities(case.subject.notebook))
        return case.abilities[1]

    async def _do(self, case: Case, decision: Decision, now: float) -> None:
        subject, acts = case.subject, self._means.acts
        match decision.step:
            case Step.NOTHING:
                return
            case Step.WARN if decision.reason == "max_running":
                case.end_told = now
                await self._announce(case, decision, NoticeKind.WARN)
            case Step.WARN:
                case.warned = {**case.warned, decision.next: now}
                await self._announce(case, decision, NoticeKind.WARN)
            case Step.ASK:
                case.asked = now
                await self._announce(case, decision, NoticeKind.ASK)
            case Step.UNPARK:
                await acts.unpark(subject.notebook)
            case Step.PARK:
                await acts.park(subject.notebook)
                case.warned = {step: told for step, told in case.warned.items() if step is not Step.PARK}  # done: another is announced anew
            case Step.FREEZE:
                await acts.freeze(subject.notebook)
            case Step.STOP:
                await acts.stop(subject.notebook, decision.reason, again=decision.reason == "max_running" and case.policy.auto_restart)
        if decision.step in (*ACTS, Step.UNPARK):
            case.notice, case.abilities = None, None
        fields = {"NBD_NOTEBOOK": subject.notebook, "NBD_USER": subject.owner, "NBD_EVENT": f"idle_{decision.step}"}
        log.info("%s/%s: %s: %s", subject.owner, subject.name, decision.step, decision.text, extra=fields)
        await self._means.diary.happened(subject.notebook, subject.container, decision)

    async def _announce(self, case: Case, decision: Decision, kind: NoticeKind) -> None:
        key = key_of(decision.next, decision.reason)
        keep = None if decision.reason == "max_running" else KEEP_SECONDS
        case.notice = NoticeView(kind, decision.text, self.wall(decision.due), rule(case.policy, key) if key else "", keep)
        name, at = case.subject.name, self._means.clock.text(decision.due)
        when, how = f" At {at}." if at else "", f" Keep it: nbctl keep {name} 2h" if keep else ""
        # Beside: a terminal that is held must not keep anybody from their turn.
        text = f"nbd: {name}: {decision.text}.{when}{how}"
        call = asyncio.create_task(self._means.crier.call(case.subject.container, text), name=f"calling into {name}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def brief(self, case: Case) -> IdleBrief | None:
        if case.verdict is None or case.decision is None:
            return None
        return IdleBrief(str(case.verdict.mood), self.next_of(case), case.notice, cannot(case) if case.abilities else {})

    def next_of(self, case: Case) -> NextView | None:
        """What is done next if it goes on like this. Nothing for one that works: that moment would be another one at each look."""
        decision, verdict = case.decision, case.verdict
        if decision is None or verdict is None or decision.next not in ACTS or verdict.mood is Mood.ACTIVE:
            return None
        key, warned = key_of(decision.next, decision.reason), case.warned.get(decision.next)
        return NextView(str(decision.next), decision.text, self.wall(decision.due), self.wall(warned), rule(case.policy, key) if key else "")

    def wall(self, moment: float | None) -> float | None:
        """A moment of the monotonic clock, as the wall's clock has it now; whole seconds, so that it does not tremble."""
        clock = self._means.clock
        return None if moment is None else float(round(moment - clock.steady() + clock.wall()))


def cannot(case: Case) -> Mapping[str, str]:
    """Why what could be done to one with a card, or to any, cannot be done."""
    able = case.abilities[1] if case.abilities else Abilities()
    why = {"park": able.park if case.subject.cards else "", "freeze": able.freeze}
    return {what: text for what, text in why.items() if text}
