"""From a verdict to what is done now and what comes next. Pure.

The cheapest reversible step first: warn, park, freeze, stop. A step is done only while the notebook is seen to be idle, and only if it was announced
at least `warn_before` ago in this idle stretch. Where the announcement came late (nbd was down, the policy changed), the step comes later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .model import ACTS, DAY, Decision, Mood, Policy, Situation, Step, Verdict
from .words import DAY_SECONDS, HOUR, MINUTE, announcement, ask_text, coming

ENDINGS = (float(DAY_SECONDS), float(HOUR))
"""So long before it the end of a run is announced; that of a shorter run when any other step would be."""
PARKED = "PARKED"
BY_RANK = {step: rank for rank, step in enumerate(ACTS)}


@dataclass(frozen=True, slots=True)
class Plan:
    """One act that is to come."""

    step: Step
    tell: float
    """When it is to be announced; -inf where it was, or need not be."""
    due: float
    """The earliest moment of it; infinite for one that quiet hours never let through."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Of a run that is as long as it may be."""

    due: float
    tell: float
    """When that is announced next; infinite where it was for the last time."""


def decide(verdict: Verdict, policy: Policy, situation: Situation, now: float) -> Decision:
    """What to do now. `next` and `due` tell the earliest that anything can happen, even if all work ended at this moment; of a warning, what it
    announces."""
    wakes = situation.state == PARKED and verdict.mood is Mood.ACTIVE and not verdict.cardless
    if wakes:  # what comes next comes to one that has its card again
        situation = replace(situation, state="RUNNING", abilities=replace(situation.abilities, held=True))
    plans = sorted(plans_of(verdict, policy, situation, now), key=lambda plan: (plan.due, BY_RANK[plan.step]))
    ending = ending_of(policy, situation, now)
    ahead = _ahead(plans, ending, verdict, policy, now)
    if ending and ending.tell <= now:
        text = announcement("max_running", Step.STOP, verdict, policy)
        return replace(ahead, step=Step.WARN, reason="max_running", text=text, next=Step.STOP, due=ending.due)
    if ending and ending.due <= now:
        return _act(Step.STOP, "max_running", policy, now)
    if wakes:
        return replace(ahead, step=Step.UNPARK, text=f"it gets its GPU again: {verdict.reasons[0] if verdict.reasons else 'somebody is there'}")
    if verdict.mood is Mood.IDLE and not _kept(situation, now):
        return _idle(plans, verdict, policy, now) or ahead
    if verdict.ask and not policy.shadow and (situation.asked is None or now - situation.asked >= policy.busy_grace):
        return replace(ahead, step=Step.ASK, text=ask_text(verdict))
    return ahead


def _idle(plans: list[Plan], verdict: Verdict, policy: Policy, now: float) -> Decision | None:
    reason = reason_of(verdict)
    for plan in plans:
        if plan.due <= now and plan.tell == -math.inf:
            return _act(plan.step, reason, policy, now)
    for plan in plans:
        if -math.inf < plan.tell <= now:
            return Decision(Step.WARN, reason, announcement(reason, plan.step, verdict, policy), plan.step, plan.due, plan.due)
    return None


def reason_of(verdict: Verdict) -> str:
    return "max_session" if verdict.expired else "idle"


def _act(step: Step, reason: str, policy: Policy, now: float) -> Decision:
    text = coming(step, reason, policy)
    if policy.shadow:
        return Decision(Step.NOTHING, "", f"only said, not done: {text}", step, now)
    return Decision(step, reason, text)


def _ahead(plans: list[Plan], ending: Ending | None, verdict: Verdict, policy: Policy, now: float) -> Decision:
    """Nothing now; the next act, and when there is something to decide."""
    moments = [moment for plan in plans for moment in (plan.tell, plan.due)] + ([ending.tell, ending.due] if ending else [])
    look_at = min((moment for moment in moments if now < moment < math.inf), default=None)
    first = next((plan for plan in plans if plan.due < math.inf), None)
    if ending and (first is None or ending.due < first.due):
        return Decision(Step.NOTHING, "", coming(Step.STOP, "max_running", policy), Step.STOP, ending.due, look_at)
    if first is None:
        return Decision(Step.NOTHING, "", "nothing will happen", look_at=look_at)
    return Decision(Step.NOTHING, "", coming(first.step, reason_of(verdict), policy), first.step, first.due, look_at)


def _kept(situation: Situation, now: float) -> bool:
    return situation.kept_until is not None and situation.kept_until > now


def steps_of(policy: Policy, situation: Situation) -> Iterator[tuple[Step, float]]:
    """What can be done to it, and after how much idleness. What cannot be done is left out, and the next keeps its own time."""
    able = situation.abilities
    if policy.park_after is not None and situation.state != PARKED and able.held and not able.park:
        yield Step.PARK, policy.park_after
    if policy.freeze_after is not None and not able.freeze:
        yield Step.FREEZE, policy.freeze_after
    elif policy.stop_after is not None:
        yield Step.STOP, policy.stop_after


def plans_of(verdict: Verdict, policy: Policy, situation: Situation, now: float) -> Iterator[Plan]:
    """Each act with its earliest moment. A person's keep is work: the idle clock does not begin before its end."""
    kept = -math.inf if situation.kept_until is None else situation.kept_until
    for step, after in steps_of(policy, situation):
        ripe = max(now, now + after - verdict.idle_seconds, kept + after)
        hours = () if step is Step.PARK else policy.quiet
        told = -math.inf if policy.shadow else _told(step, verdict, situation, now)
        if told is not None and any((situation.local_minute - end) % DAY[1] * MINUTE < now - told for _, end in hours):
            told = None  # quiet hours have ended since: who could have read it was not there
        if told is not None:
            due = max(ripe, told + policy.warn_before)
            if waits(due, hours, situation, now) == due:
                yield Plan(step, -math.inf, due)
                continue
        # Announced a sample early, so that the step itself is not late; and never in hours in which nobody reads it.
        tell = waits(max(now, ripe - policy.warn_before - policy.sample_every), hours, situation, now)
        if waits(max(ripe, tell + policy.warn_before), hours, situation, now) > max(ripe, tell + policy.warn_before):
            tell = waits(max(ripe, tell + policy.warn_before), hours, situation, now)
        yield Plan(step, tell, max(ripe, tell + policy.warn_before))


def _told(step: Step, verdict: Verdict, situation: Situation, now: float) -> float | None:
    """When it was announced in this stretch."""
    told = situation.warned.get(step)
    if told is None or verdict.mood is Mood.ACTIVE or told > now:
        return None
    return None if verdict.mood is Mood.IDLE and told < verdict.since else told


def waits(moment: float, hours: tuple[tuple[int, int], ...], situation: Situation, now: float) -> float:
    """The first moment from this one on that is outside quiet hours; infinite where there is none."""
    for _ in range(len(hours) + 1):
        minute = round(situation.local_minute + (moment - now) / MINUTE, 6) % DAY[1]
        end = next((end for start, end in hours if (minute - start) % DAY[1] < (end - start) % DAY[1]), None)
        if end is None:
            return moment
        moment += (end - minute) % DAY[1] * MINUTE
    return math.inf


def ending_of(policy: Policy, situation: Situation, now: float) -> Ending | None:
    """Where its last announcement comes late, it comes as long after that as it would have been announced before."""
    if policy.max_running is None:
        return None
    leads = [lead for lead in ENDINGS if lead < policy.max_running] or [policy.warn_before]
    end = situation.started + policy.max_running
    if policy.shadow:
        return Ending(max(now, end), math.inf)
    told = situation.end_told if situation.end_told is not None and situation.end_told >= situation.started else -math.inf
    end = max(end, (now if told < end - leads[-1] else told) + leads[-1])
    tell = next((end - lead for lead in reversed(leads) if told < end - lead <= now), None)
    return Ending(max(now, end), min((end - lead for lead in leads if end - lead > now), default=math.inf) if tell is None else tell)
