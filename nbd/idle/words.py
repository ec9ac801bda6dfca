"""Times as a person reads them, and the sentences of idleness. Pure."""

from __future__ import annotations

from .model import ACTS, Decision, Mood, Policy, Step, Verdict

MINUTE, HOUR, DAY_SECONDS = 60, 3600, 86400
DONE = {
    Step.PARK: "its GPU is given back and its kernel kept",
    Step.FREEZE: "it goes to the disk, kernel and all, and gives GPU and memory back",
    Step.STOP: "it is stopped: its files stay, its kernel does not",
}
"""What each step means, as the end of a sentence."""
KEYS = {Step.PARK: "park_after", Step.FREEZE: "freeze_after", Step.STOP: "stop_after"}
"""The setting that each step comes from."""


def span(seconds: float) -> str:
    """ "4 s", "25 min", "2 h 10 min", "3 d 4 h"; never more than was."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    large, small, words = (HOUR, MINUTE, ("h", "min")) if whole < DAY_SECONDS else (DAY_SECONDS, HOUR, ("d", "h"))
    rest = whole % large // small
    return f"{whole // large} {words[0]}" + (f" {rest} {words[1]}" if rest else "")


def setting_text(seconds: float | None) -> str:
    """A time as it is written in a settings file."""
    if seconds is None:
        return "none"
    for unit, size in (("d", DAY_SECONDS), ("h", HOUR), ("min", MINUTE)):
        if seconds >= size and not seconds % size:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"


def rule(policy: Policy, key: str) -> str:
    """Whose word a setting is."""
    return policy.origins.get(key, "nbd's default")


def key_of(step: Step, reason: str) -> str:
    """The setting that makes a decision's step come."""
    return "max_running" if reason == "max_running" else KEYS.get(step, "")


def coming(step: Step, reason: str, policy: Policy) -> str:
    """ "after 30 min of idleness its GPU is given back and its kernel kept (profile gpu-small)"."""
    key = key_of(step, reason)
    time = span(getattr(policy, key) or 0.0)
    when = f"after {time}, the longest that it may run," if reason == "max_running" else f"after {time} of idleness"
    return f"{when} {DONE[step]} ({rule(policy, key)})"


def announcement(reason: str, step: Step, verdict: Verdict, policy: Policy) -> str:
    """What a warning says; when it is due, its reader's clock tells."""
    if reason == "max_running":
        return coming(step, reason, policy)
    alone = f"; nobody was there for {span(policy.max_session or 0.0)} ({rule(policy, 'max_session')})" if reason == "max_session" else ""
    return f"nothing works in it{alone}; {coming(step, reason, policy)}"


def ask_text(verdict: Verdict) -> str:
    return f"{verdict.reasons[-1] if verdict.reasons else 'it says that it works'}: is it still needed? Nothing is done without an answer"


def why(state: str, verdict: Verdict, decision: Decision, clock: str) -> str:
    """All of it in one sentence. `clock`: the moment of `decision.due` as its reader's clock says it; empty where there is none."""
    mood = f"{state} · {verdict.mood}"
    return " · ".join([f"{mood}: {verdict.reasons[0]}" if verdict.reasons else mood, *verdict.reasons[1:], _then(verdict, decision, clock)])


def _then(verdict: Verdict, decision: Decision, clock: str) -> str:
    if not clock or decision.next not in ACTS:
        return decision.text or "nothing will happen"
    if verdict.mood is Mood.IDLE:
        return f"at {clock}: {decision.text}"
    return f"nothing will happen before {clock} at the earliest"
