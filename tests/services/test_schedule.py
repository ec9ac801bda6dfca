"""Notebooks that come up by themselves: which, when, and never twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from nbd.notebooks.model import State
from nbd.notebooks.schedule import LATE_SECONDS, Schedule, due
from nbd.profiles import Profile, parse_profile
from nbd.values import times

from .household import Household

MONDAY = datetime(2026, 11, 16, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "after", "until", "expected"),
    [
        ("mon-fri 08:30", MONDAY, MONDAY + timedelta(minutes=29), False),
        ("mon-fri 08:30", MONDAY, MONDAY + timedelta(minutes=30), True),
        ("mon-fri 08:30", MONDAY + timedelta(minutes=30), MONDAY + timedelta(hours=3), False),
        ("sat 10:00, mon 08:30", MONDAY, MONDAY + timedelta(hours=1), True),
        ("tue 08:30", MONDAY, MONDAY + timedelta(hours=1), False),
        ("sun-mon 00:05", MONDAY - timedelta(hours=8, minutes=5), MONDAY - timedelta(hours=7), True),
        ("00:05", MONDAY + timedelta(hours=15), MONDAY + timedelta(hours=16, minutes=6), True),
        ("", MONDAY, MONDAY + timedelta(hours=23), False),
    ],
)
def test_due(written: str, after: datetime, until: datetime, expected: bool) -> None:  # noqa: FBT001
    assert due(times(written), after, until) is expected


@pytest.mark.parametrize("wrong", ["mo 08:30", "mon-fri", "25:00", "mon_fri 08:30", "08:30-09:00"])
def test_what_is_no_time(wrong: str) -> None:
    with pytest.raises(ValueError, match="mon-fri 08:30"):
        times(wrong)


class Morning(Household):
    clock = MONDAY

    def build(self) -> None:
        super().build()
        self.schedule = Schedule(self.roster, self.manager, self.offers, lambda: self.clock)

    def offers(self) -> Mapping[str, Profile]:
        return {"cpu": parse_profile('title = "cpu"\nstart_at = "mon-fri 08:30"\n', "cpu", "cpu")}

    async def away(self, reason: str) -> str:
        await self.manager.reconcile()
        row = await self.up()
        await self.manager.stop(row.id, reason)
        await self.manager.settled(row.id)
        await self.schedule.tick()
        return row.id

    async def state_at(self, notebook: str, minutes: float) -> State:
        self.clock = MONDAY + timedelta(minutes=minutes)
        await self.schedule.tick()
        await self.manager.settled(notebook)
        return self.roster.get(notebook).state


async def test_what_nbd_stopped_is_there_in_the_morning_once() -> None:
    house = Morning()
    notebook = await house.away("idle")
    assert await house.state_at(notebook, 29) is State.STOPPED
    assert await house.state_at(notebook, 31) is State.RUNNING
    await house.manager.stop(notebook, "idle")
    await house.manager.settled(notebook)
    assert await house.state_at(notebook, 32) is State.STOPPED
    assert await house.state_at(notebook, 0) is State.STOPPED, "the clock is set back"
    assert await house.state_at(notebook, 31) is State.STOPPED, "and goes on"
    assert await house.state_at(notebook, 24 * 60 + 30) is State.RUNNING


async def test_what_its_person_stopped_stays_so() -> None:
    house = Morning()
    assert await house.state_at(await house.away("user"), 31) is State.STOPPED


@pytest.mark.parametrize(("late", "state"), [(LATE_SECONDS / 60 - 1, State.RUNNING), (LATE_SECONDS / 60 + 1, State.STOPPED)])
async def test_what_was_slept_through_is_made_up_for_in_a_while(late: float, state: State) -> None:
    house = Morning()
    notebook = await house.away("max_running")
    await house.crash()
    house.schedule._seen = None
    await house.manager.reconcile()
    assert await house.state_at(notebook, 30 + late) is state

