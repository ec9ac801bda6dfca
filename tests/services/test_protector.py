"""Homes are told of while notebooks run in them, a stop is a snapshot; and nothing about snapshots keeps a notebook from starting or stopping."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from nbd.errors import HostUnfit, Unreachable
from nbd.homemessages import HomeBrief
from nbd.messages import StartRequest
from nbd.notebooks.homecoming import waits
from nbd.notebooks.model import State, Want
from nbd.notebooks.views import say
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


def told(house: Household, notebook: str) -> str:
    """What a person reads of it at this moment."""
    return say(house.roster.get(notebook), house.roster.passing(notebook), ())[0]


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
    assert house.machine.flushed == [("ada", "stop", "main run 1", frozenset())]


async def test_a_delete_is_one_too_and_what_never_ran_is_none(house: Household) -> None:
    row = await house.up()
    await house.manager.delete(row.id)
    await house.manager.settled(row.id)
    house.machine.homes_fit = False
    failed = await house.start("broken")
    await house.manager.settled(failed.id)
    await house.manager.delete(failed.id)
    await house.manager.settled(failed.id)
    assert [(event, name) for _, event, name, _ in house.machine.flushed] == [("delete", "main run 1")]


async def test_an_editor_that_ends_leaves_its_home_at_rest(house: Household) -> None:
    row = await house.up()
    house.machine.end(str(row.container), 0)
    await house.until(lambda: house.roster.get(row.id).state is State.STOPPED)
    await house.manager.settled(row.id)
    assert house.machine.watched == set()
    assert house.machine.flushed == [("ada", "stop", "main run 1", frozenset())]
    row = house.roster.get(row.id)
    assert (row.stop_reason, row.want, row.failure) == ("editor_shutdown", Want.STOPPED, None)


async def test_an_editor_that_crashed_makes_no_snapshot_that_is_kept_for_ever(house: Household) -> None:
    row = await house.up()
    house.machine.end(str(row.container), 3)
    await house.until(lambda: house.roster.get(row.id).run == 2)
    await house.manager.settled(row.id)
    assert house.machine.flushed == []


async def test_another_profile_is_a_snapshot_of_what_was_before_it(house: Household) -> None:
    row = await house.up()
    await stopped(house, row.id)
    await house.up()
    await stopped(house, row.id)
    row = await house.start(profile="alone")
    await house.manager.settled(row.id)
    events = [(event, name) for _, event, name, _ in house.machine.flushed]
    assert events == [("stop", "main run 1"), ("stop", "main run 2"), ("profile", "main run 3")]


async def test_how_far_a_stop_has_saved_the_home_is_seen(house: Household) -> None:
    row = await house.up()
    house.machine.store_seconds = 60.0
    await house.manager.stop(row.id, "user")
    await house.until(lambda: told(house, row.id) == "saving the home: 3.0 MiB of 12.0 MiB")
    assert house.roster.get(row.id).state is State.STOPPING
    await house.manager.settled(row.id)
    assert told(house, row.id) == "stopped by you"


async def test_a_home_comes_back_before_the_notebook_runs_and_how_far_it_is_is_seen(house: Household) -> None:
    house.machine.to_bring = 3
    with house.roster.changes.subscribe() as changes:
        row = await house.start()
        seen = set()
        async for change in changes:
            assert change
            seen.add((change.notebook.state, told(house, row.id)))
            if change.notebook.state is State.RUNNING:
                break
    assert (State.STARTING, "bringing the home back: 1 of 2 files, 0 B of 0 B") in seen
    assert house.machine.to_bring == 0


async def test_a_home_that_cannot_come_back_keeps_the_notebook_from_starting_until_somebody_says_so(house: Household) -> None:
    house.machine.to_bring, house.machine.bring_trouble = 3, Unreachable("the store is away", code="home_not_back")
    row = await house.start()
    await house.manager.settled(row.id)
    row = house.roster.get(row.id)
    assert row.failure
    assert (row.state, row.failure.code) == (State.ERROR, "home_not_back")
    assert "nbctl start main --wait; start on the home as it is: nbctl start main --empty-home" in row.failure.hint
    assert house.machine.boxes == {}
    row, _ = await house.manager.start("ada", StartRequest("main", empty_home=True))
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.RUNNING


async def test_who_waits_waits_for_the_store_too(house: Household) -> None:
    house.machine.to_bring, house.machine.bring_trouble = 1, Unreachable("the store is away", code="home_not_back")
    row = await house.start(wait=True)
    await house.until(lambda: "trying again: the store is away" in told(house, row.id))
    assert house.roster.get(row.id).state is State.STARTING
    assert await stopped(house, row.id) is State.STOPPED
    house.machine.bring_trouble = None
    await house.up()


async def test_a_start_on_the_home_as_it_is_fails_where_sync_cannot_be_told(house: Household) -> None:
    house.machine.to_bring, house.machine.sync_trouble = 1, AWAY
    with pytest.raises(Unreachable):
        await house.manager.start("ada", StartRequest("main", empty_home=True))
    assert house.roster.all() == ()


async def test_a_core_that_dies_while_the_home_comes_back_goes_on(house: Household) -> None:
    house.machine.to_bring = 100
    row = await house.start()
    await house.until(lambda: 0 < house.machine.to_bring < 100)
    await house.crash()
    left = house.machine.to_bring
    await house.calm()
    assert house.roster.get(row.id).state is State.RUNNING
    assert left
    await house.manager.close()


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


async def test_the_parts_of_the_box_say_how_many_homes_are_in_trouble_and_name_nobody(house: Household) -> None:
    assert await house.news.health() == "ok"
    house.machine.briefs = {"ada": HomeBrief("ada", trouble="x", damages=("y",)), "eve": HomeBrief("eve", trouble="x", spooled_bytes=1)}
    await house.manager.reconcile()
    said = await house.news.health()
    assert said == "2 homes not protected; 1 home waiting on this box for the store; 1 home with damage in what is kept (nbctl home verify)"
    house.machine.briefs = {"ada": HomeBrief("ada"), "eve": HomeBrief("eve")}
    await house.manager.reconcile()
    assert await house.news.health() == "ok"


async def test_a_home_in_which_somebody_works_is_left_as_it_is(house: Household) -> None:
    await house.up("main")
    house.machine.to_bring = 3
    await house.up("train")
    assert house.machine.to_bring == 3


async def test_a_stop_asks_again_where_sync_died_in_the_middle_of_its_snapshot(house: Household) -> None:
    row = await house.up()
    house.machine.flush_troubles = [Unreachable("it broke off", code="broken_off")]
    assert await stopped(house, row.id) is State.STOPPED
    assert [(event, name) for _, event, name, _ in house.machine.flushed] == [("stop", "main run 1")] * 2


async def test_who_waits_for_a_store_may_stop_waiting_for_it(house: Household) -> None:
    house.machine.to_bring, house.machine.bring_trouble = 1, Unreachable("the store is away", code="home_not_back")
    row = await house.start(wait=True)
    await house.until(lambda: "trying again" in told(house, row.id))
    await house.manager.start("ada", StartRequest("main", empty_home=True))
    assert house.machine.to_bring == 0
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)


async def test_a_home_in_which_somebody_works_is_not_said_to_be_otherwise(house: Household) -> None:
    await house.up()
    house.machine.to_bring = 5
    await house.manager.start("ada", StartRequest("main", empty_home=True))
    assert house.machine.to_bring == 5


async def test_a_snapshot_that_sync_never_heard_of_is_said_and_asked_for_again(house: Household) -> None:
    row = await house.up()
    house.machine.sync_trouble = AWAY
    assert await stopped(house, row.id) is State.STOPPED
    row = house.roster.get(row.id)
    assert waits(row, house.news.of("ada")) == "its home is not in the store yet: the sync program does not answer"
    house.machine.flushed.clear()
    house.machine.sync_trouble = None
    await house.manager.reconcile()
    await house.until(lambda: waits(row, house.news.of("ada")) == "")
    assert house.machine.flushed == [("ada", "stop", "main run 1", frozenset())]


async def test_what_sync_has_pending_is_not_asked_for_twice(house: Household) -> None:
    row = await house.up()
    house.machine.flush_troubles = [AWAY]
    assert await stopped(house, row.id) is State.STOPPED
    house.machine.briefs["ada"] = HomeBrief("ada", pending=("stop main run 1",))
    asked = len(house.machine.flushed)
    await house.manager.reconcile()
    house.machine.briefs["ada"] = HomeBrief("ada")
    await house.manager.reconcile()
    assert len(house.machine.flushed) == asked
    assert waits(house.roster.get(row.id), house.news.of("ada")) == ""
