"""The sentences of idleness."""

from __future__ import annotations

import pytest

from nbd.idle.agenda import decide
from nbd.idle.model import Abilities, Mood, Policy, Situation, Step, Verdict
from nbd.idle.words import key_of, setting_text, span, why

WORK = "pid 4711 python used 63 % of GPU-1a2b 4 s ago"
POLICY = Policy(origins={"park_after": "profile gpu-small"})
SITE = Situation("RUNNING", Abilities(held=True), 0.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (7800, "2 h 10 min"), (86400, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_time_is_never_more_than_it_was(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "none"), (1800.0, "30min"), (5400.0, "90min"), (7200.0, "2h"), (604800.0, "7d"), (0.5, "0.5s"), (90.0, "90s")],
)
def test_a_setting_is_written_as_in_a_file(seconds: float | None, text: str) -> None:
    assert setting_text(seconds) == text


def test_why_is_the_sentence_of_the_issue() -> None:
    verdict = Verdict(Mood.ACTIVE, 0.0, 0.0, (WORK, "busy kernel train.ipynb for 2 h 10 min"))
    decision = decide(verdict, POLICY, SITE, 10.0)
    assert why("RUNNING", verdict, decision, "14:32") == (
        f"RUNNING · active: {WORK} · busy kernel train.ipynb for 2 h 10 min · nothing will happen before 14:32 at the earliest"
    )


def test_why_of_an_idle_one_says_what_comes_and_whose_rule_it_is() -> None:
    verdict = Verdict(Mood.IDLE, 0.0, 600.0, ("nothing has worked for 10 min",))
    assert why("RUNNING", verdict, decide(verdict, POLICY, SITE, 600.0), "14:32") == (
        "RUNNING · idle: nothing has worked for 10 min · "
        "at 14:32: after 30 min of idleness its GPU is given back and its kernel kept (profile gpu-small)"
    )  # fmt: skip


def test_why_where_nothing_will_happen() -> None:
    verdict = Verdict(Mood.UNKNOWN, 0.0, 0.0, ("gpu: no answer",))
    policy = Policy(park_after=None, freeze_after=None, stop_after=None, max_running=None)
    assert why("PARKED", verdict, decide(verdict, policy, SITE, 600.0), "") == "PARKED · unknown: gpu: no answer · nothing will happen"


@pytest.mark.parametrize(
    ("step", "reason", "key"),
    [(Step.PARK, "idle", "park_after"), (Step.STOP, "max_session", "stop_after"), (Step.STOP, "max_running", "max_running"), (Step.NOTHING, "", "")],
)
def test_each_step_comes_from_a_setting(step: Step, reason: str, key: str) -> None:
    assert key_of(step, reason) == key
