"""The daemon dies and comes up again: what runs is adopted, what was lost is rebuilt, what was half made is finished or gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nbd.errors import Unreachable
from nbd.gpus.model import Lease
from nbd.notebooks.model import State, Want
from tests.services.household import Household


@pytest.fixture
async def house() -> AsyncIterator[Household]:
    house = Household()
    await house.manager.reconcile()
    house.machine.calls.clear()
    yield house
    await house.manager.close()


async def test_after_a_crash_what_runs_is_adopted(house: Household) -> None:
    row = await house.up(profile="gpu")
    await house.crash()
    await house.calm()
    assert house.roster.get(row.id) == row
    assert len(house.machine.boxes) == 1
    house.machine.end(row.container or "", 0)
    await house.until(lambda: house.roster.get(row.id).state is State.STOPPED)


async def test_a_lost_state_is_rebuilt_from_labels(house: Household) -> None:
    row = await house.up(profile="gpu")
    house.store.rows.clear()
    house.leases._leases.clear()
    await house.crash()
    await house.calm()
    again = house.roster.get(row.id)
    assert (again.state, again.container, again.owner, again.name, again.want) == (State.RUNNING, row.container, "ada", "main", Want.RUNNING)
    assert [lease.notebook for lease in await house.leases.leases()] == [row.id]
    assert len(house.machine.boxes) == 1


async def test_a_container_that_podman_hides_is_not_given_up(house: Household) -> None:
    row = await house.up()
    house.machine.hidden.add(row.container or "")
    await house.manager.reconcile()
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.RUNNING
    assert house.machine.alive() == [row.container]


async def test_a_container_that_vanished_is_an_interruption(house: Household) -> None:
    row = await house.up(profile="gpu")
    house.machine.boxes.clear()
    await house.calm()
    gone = house.roster.get(row.id)
    assert gone.failure
    assert (gone.state, gone.failure.code) == (State.ERROR, "interrupted")
    await house.nothing_left()


async def stopped_at(house: Household, call: int) -> bool:
    """Let the machine fall silent at its `call`-th call. False when there were fewer calls."""
    before = len(house.machine.calls)
    await house.until(lambda: len(house.machine.calls) - before >= call or not any(house.manager._tasks.busy()))
    return len(house.machine.calls) - before >= call


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
async def test_a_crash_at_every_step_of_a_start(profile: str) -> None:
    """The daemon dies at its k-th call to Podman, for every k: it comes up again, the start is finished, nothing is there twice."""
    for step in range(1, 40):
        house = Household()
        await house.manager.reconcile()
        house.machine.pause = 0.0005
        row = await house.start(profile=profile)
        reached = await stopped_at(house, step)
        await house.crash()
        await house.calm()
        assert house.roster.get(row.id).state is State.RUNNING
        assert len(house.machine.boxes) == 1
        assert len(await house.leases.leases()) == (1 if profile == "gpu" else 0)
        await house.manager.close()
        if not reached:
            return
    raise AssertionError("a start makes more than 40 calls?")


async def test_a_crash_at_every_step_of_a_stop() -> None:
    for step in range(1, 40):
        house = Household()
        await house.manager.reconcile()
        row = await house.up(profile="gpu")
        house.machine.pause = 0.0005
        await house.manager.stop(row.id, "user")
        reached = await stopped_at(house, step)
        await house.crash()
        await house.calm()
        assert house.roster.get(row.id).state is State.STOPPED
        await house.nothing_left()
        await house.manager.close()
        if not reached:
            return
    raise AssertionError("a stop makes more than 40 calls?")


async def test_one_repair_that_fails_does_not_hold_up_the_others(house: Household) -> None:
    row = await house.up()
    house.store.rows["zzz"] = replace(row, id="zzz", name="other", container=None, state=State.STARTING)
    await house.crash()
    house.driver.failure = Unreachable("the driver is silent")
    await house.leases.replace("gone", [Lease("GPU-a", "gone", "ada/gone", 0.0)])
    await house.calm_but_for_leases()
    assert {item.state for item in house.roster.all()} == {State.RUNNING}


async def test_a_lost_lease_comes_back_before_the_card_can_be_given_away(house: Household) -> None:
    row = await house.up(profile="gpu")
    house.leases._leases.clear()
    await house.crash()
    await house.calm()
    assert [lease.notebook for lease in await house.leases.leases()] == [row.id]
