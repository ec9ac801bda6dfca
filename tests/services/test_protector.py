"""Homes are told of while notebooks run in them, a stop is a snapshot; and nothing about snapshots keeps a notebook from starting or stopping."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from nbd.errors import HostUnfit, Unreachable
from nbd.notebooks.model import State
from tests.services.household import Household

AWAY = Unreachable("the sync program does not answer")


@pytest.fixture
async def house() -> AsyncIterator[Household]:
    house = Household()
    await house.manager.reconcile()
    yield house
    await house.manager.close()


async def stopped(house: Household, notebook: str) -> State:
    await house.manager.stop(notebook, "user")
    await house.manager.settled(notebook)
    return house.roster.get(notebook).state


async def test_a_home_is_in_use_from_running_to_the_stop_of_its_last_notebook(house: Household) -> None:
    first, second = await house.up("main"), await house.up("train")
    assert house.machine.watched == {"ada"}
    assert await stopped(house, first.id) is State.STOPPED
    assert house.machine.watched == {"ada"}
    assert await stopped(house, second.id) is State.STOPPED
    assert house.machine.watched == set()


async def test_a_stop_is_a_snapshot_taken_when_the_container_is_gone(house: Household) -> None:
    row = await house.up()
    await stopped(house, row.id)
    assert house.machine.flushed == [("ada", "stop", "main", frozenset())]


async def test_a_delete_is_one_too_and_what_never_ran_is_none(house: Household) -> None:
    row = await house.up()
    await house.manager.delete(row.id)
    await house.manager.settled(row.id)
    house.machine.homes_fit = False
    failed = await house.start("broken")
    await house.manager.settled(failed.id)
    await house.manager.delete(failed.id)
    await house.manager.settled(failed.id)
    assert [name for _, _, name, _ in house.machine.flushed] == ["main"]


async def test_an_editor_that_ends_leaves_its_home_at_rest(house: Household) -> None:
    row = await house.up()
    house.machine.end(str(row.container), 0)
    await house.until(lambda: house.roster.get(row.id).state is State.STOPPED)
    await house.manager.settled(row.id)
    assert house.machine.watched == set()


@pytest.mark.parametrize("trouble", [AWAY, HostUnfit("the store is full", code="store_unfit")])
async def test_trouble_with_sync_or_store_stops_nothing(house: Household, trouble: HostUnfit | Unreachable) -> None:
    house.machine.sync_trouble = trouble
    row = await house.up()
    assert await stopped(house, row.id) is State.STOPPED
    await house.nothing_left()


async def test_a_store_that_hangs_holds_a_stop_up_so_long_and_no_longer(house: Household) -> None:
    row = await house.up()
    house.machine.store_seconds = 60.0
    began = time.monotonic()
    assert await stopped(house, row.id) is State.STOPPED
    assert time.monotonic() - began < 2.0


async def test_what_is_adopted_is_told_of_and_a_sync_that_forgot_is_told_again(house: Household) -> None:
    await house.up()
    house.machine.watched.clear()
    await house.crash()
    await house.calm()
    assert house.machine.watched == {"ada"}
    house.machine.watched.clear()
    await house.manager.reconcile()
    assert house.machine.watched == {"ada"}
    await house.manager.close()
