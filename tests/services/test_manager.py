"""The manager over a fake machine: starts and stops, bad days, and a crash at every step of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nbd.errors import HostUnfit, InvalidInput, NoCapacity, Unreachable
from nbd.gpus.model import Card
from nbd.gpus.ports import CardProcess
from nbd.messages import StartRequest
from nbd.notebooks.model import Phase, State, Want
from tests.fakes.machine import Image
from tests.services.household import IMAGE, Household


@pytest.fixture
async def house() -> AsyncIterator[Household]:
    house = Household()
    await house.manager.reconcile()
    house.machine.calls.clear()
    yield house
    await house.manager.close()


async def test_a_start_goes_through_its_phases(house: Household) -> None:
    row = await house.up()
    assert set(row.phases) == set(Phase) - {Phase.DATA}
    assert house.machine.boxes[row.container or ""].spec.name == f"nbd-{row.id}"
    assert house.store.rows[row.id] == row


async def test_starting_what_runs_changes_nothing(house: Household) -> None:
    row = await house.up()
    again, began = await house.manager.start("ada", StartRequest("main", "cpu"))
    assert (again, began) == (row, False)
    assert len(house.machine.boxes) == 1


async def test_ten_starts_at_once_make_one_container(house: Household) -> None:
    house.machine.pause = 0.001
    rows = await asyncio.gather(*(house.start() for _ in range(10)))
    await house.manager.settled(rows[0].id)
    assert len({row.id for row in rows}) == 1
    assert len(house.machine.boxes) == 1
    assert house.machine.calls.count("create") == 1


async def test_the_same_name_of_two_people_is_two_notebooks(house: Household) -> None:
    first, second = await house.start(), await house.start(owner="bob")
    await house.manager.settled(first.id)
    await house.manager.settled(second.id)
    assert len(house.machine.alive()) == 2


async def test_a_stop_leaves_nothing(house: Household) -> None:
    row = await house.up(profile="gpu")
    assert len(await house.leases.leases()) == 1
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    stopped = house.roster.get(row.id)
    assert (stopped.state, stopped.stop_reason) == (State.STOPPED, "user")
    await house.nothing_left()
    assert [run.stop_reason for run in await house.roster.runs(row.id)] == ["user"]


async def test_an_editor_that_ignores_sigterm_is_killed_in_the_end(house: Household) -> None:
    house.machine.images[IMAGE].ignores_term = True
    row = await house.up()
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    assert [call for call in house.machine.calls if call.startswith("kill")] == ["kill SIGTERM", "kill SIGKILL"]
    await house.nothing_left()


async def test_a_stop_in_the_middle_of_a_start(house: Household) -> None:
    house.machine.images[IMAGE].answers = False
    row = await house.start(profile="gpu")
    await house.until(lambda: bool(house.machine.alive()))
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.STOPPED
    await house.nothing_left()


async def test_a_start_in_the_middle_of_a_stop(house: Household) -> None:
    house.machine.images[IMAGE].ignores_term = True
    row = await house.up()
    await house.manager.stop(row.id, "user")
    await house.start()
    await house.manager.settled(row.id)
    again = house.roster.get(row.id)
    assert (again.state, again.run) == (State.RUNNING, 2)
    assert len(house.machine.alive()) == 1


async def test_a_deleted_notebook_is_gone(house: Household) -> None:
    row = await house.up()
    await house.manager.delete(row.id)
    await house.manager.settled(row.id)
    assert house.roster.all() == ()
    assert house.store.rows == {}
    await house.nothing_left()


@pytest.mark.parametrize(
    ("change", "state", "code"),
    [
        pytest.param(lambda house: house.machine.images.clear(), State.ERROR, "image_missing", id="no image"),
        pytest.param(lambda house: setattr(house.machine.images[IMAGE], "ends_at_once", 1), State.FAILED, "editor_exited", id="ends at once"),
        pytest.param(lambda house: setattr(house.machine.images[IMAGE], "has_editor", False), State.FAILED, "editor_missing", id="no editor"),
        pytest.param(lambda house: setattr(house.machine.images[IMAGE], "answers", False), State.FAILED, "never_answered", id="never answers"),
        pytest.param(lambda house: setattr(house.machine, "homes_fit", False), State.ERROR, "home_unfit", id="no home"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(house: Household, change: object, state: State, code: str) -> None:
    change(house)  # type: ignore[operator]
    row = await house.start(profile="gpu")
    await house.manager.settled(row.id)
    failed = house.roster.get(row.id)
    assert failed.failure
    assert (failed.state, failed.failure.code, failed.want) == (state, code, Want.STOPPED)
    await house.nothing_left()


async def test_podman_gone_in_the_middle_is_an_error_and_is_cleaned_up_later(house: Household) -> None:
    house.machine.images[IMAGE].answers = False
    row = await house.start(profile="gpu")
    await house.until(lambda: bool(house.machine.alive()))
    house.machine.trouble = Unreachable("Podman cannot be reached")
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    with pytest.raises(Unreachable):
        await house.manager.reconcile()
    assert house.machine.alive()
    house.machine.trouble = None
    await house.calm()
    await house.nothing_left()


@pytest.mark.parametrize(
    ("name", "profile", "gpus", "error"),
    [("../x", "cpu", None, "bad_name"), ("x" * 300, "cpu", None, "bad_name"), ("main", "nope", None, "unknown_profile"),
     ("main", "cpu", 1, "no_gpu_profile"), ("main", "gpu", -1, "bad_gpus")],
)  # fmt: skip
async def test_bad_input_makes_nothing(house: Household, name: str, profile: str, gpus: int | None, error: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await house.start(name, profile, gpus=gpus)
    assert caught.value.code == error
    assert house.roster.all() == ()
    assert house.machine.calls == []


async def test_no_capacity_is_said_before_anything_is_made(house: Household) -> None:
    await house.up("a", "gpu")
    await house.up("b", "gpu")
    with pytest.raises(NoCapacity, match="leased by ada/a"):
        await house.start("c", "gpu")
    with pytest.raises(NoCapacity):
        await house.start("c", "gpu", gpus=3, wait=True)
    assert house.roster.find("ada", "c") is None


async def test_who_waits_is_told_the_place_and_gets_the_card(house: Household) -> None:
    first = await house.up("a", "gpu")
    await house.up("b", "gpu")
    waiting = await house.start("c", "gpu", wait=True)
    await house.until(lambda: house.roster.passing(waiting.id).waiting is not None)
    told = house.roster.passing(waiting.id).waiting
    assert told
    assert told.position == 1
    await house.manager.stop(first.id, "user")
    await house.until(lambda: house.roster.get(waiting.id).state is State.RUNNING)
    await house.manager.settled(waiting.id)
    assert {lease.holder for lease in await house.leases.leases()} == {"ada/b", "ada/c"}


async def test_who_leaves_the_line_leaves_nothing(house: Household) -> None:
    rows = [await house.up("a", "gpu"), await house.up("b", "gpu")]
    waiting = await house.start("c", "gpu", wait=True)
    await house.until(lambda: house.roster.passing(waiting.id).waiting is not None)
    await house.manager.stop(waiting.id, "user")
    await house.manager.settled(waiting.id)
    for row in rows:
        await house.manager.stop(row.id, "user")
        await house.manager.settled(row.id)
    await house.nothing_left()


async def test_a_card_that_is_not_let_go_is_quarantined_and_freed_when_it_is(house: Household) -> None:
    row = await house.up(profile="gpu")
    (lease,) = await house.leases.leases()
    pid = house.machine.boxes[row.container or ""].pid
    house.driver.running = [CardProcess(lease.card, pid)]
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.STOPPED
    assert lease.card in await house.leases.quarantines()
    assert len(await house.leases.leases()) == 1
    house.driver.running = []
    await house.calm()
    assert list(await house.leases.leases()) == []


async def test_a_silent_driver_keeps_the_lease_and_stops_the_notebook(house: Household) -> None:
    row = await house.up(profile="gpu")
    house.driver.failure = Unreachable("the driver is silent")
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.STOPPED
    assert len(await house.leases.leases()) == 1
    house.driver.failure = None
    await house.calm()
    assert list(await house.leases.leases()) == []


async def test_a_crashed_editor_comes_back_and_a_crash_loop_ends(house: Household) -> None:
    row = await house.up(profile="gpu")
    for run in (2, 3):
        house.machine.end(house.roster.get(row.id).container or "", 1)
        await house.until(lambda run=run: (house.roster.get(row.id).run, house.roster.get(row.id).state) == (run, State.RUNNING))  # type: ignore[misc]
        await house.manager.settled(row.id)
    assert len(await house.leases.leases()) == 1
    house.machine.end(house.roster.get(row.id).container or "", 1)
    await house.until(lambda: house.roster.get(row.id).state is State.FAILED)
    await house.manager.settled(row.id)
    failure = house.roster.get(row.id).failure
    assert failure
    assert (failure.code, failure.log) == ("crash_loop", ("its last words",))
    await house.nothing_left()


async def test_an_editor_shut_down_from_inside_is_a_stop(house: Household) -> None:
    row = await house.up()
    house.machine.end(row.container or "", 0)
    await house.until(lambda: house.roster.get(row.id).state is State.STOPPED)
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).stop_reason == "editor_shutdown"
    await house.nothing_left()


async def test_out_of_memory_is_told_apart(house: Household) -> None:
    row = await house.up()
    for _ in range(3):
        container = house.roster.get(row.id).container or ""
        house.machine.end(container, 137, oom=True)
        await house.until(lambda gone=container: gone not in house.machine.boxes)  # type: ignore[misc]
        await house.manager.settled(row.id)
    failure = house.roster.get(row.id).failure
    assert failure
    assert failure.code == "out_of_memory"
    assert "4 GiB" in failure.message


async def test_a_full_disk_while_starting_loses_nothing(house: Household) -> None:
    house.store.trouble = HostUnfit("no space is left for the state", code="disk_full")
    with pytest.raises(HostUnfit):
        await house.start()
    assert house.roster.all() == ()
    house.store.trouble = None
    await house.up()


async def test_one_bad_card_harms_nobody_else(house: Household) -> None:
    house.driver.lose("GPU-a")
    row = await house.up(profile="gpu")
    assert [lease.card for lease in await house.leases.leases()] == ["GPU-b"]
    house.driver.present.append(Card("GPU-c", "A4000", 1 << 34))
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    await house.nothing_left()


async def test_an_image_without_network_gets_none(house: Household) -> None:
    house.machine.images["localhost/nbd/odd:latest"] = Image()
    row = await house.up(profile="alone")
    assert house.machine.networks == set()
    assert house.machine.boxes[row.container or ""].spec.network is None


async def test_a_foreign_image_is_fetched_once_for_two_who_start(house: Household) -> None:
    first, second = await house.start("a", "foreign"), await house.start("b", "foreign")
    await house.manager.settled(first.id)
    await house.manager.settled(second.id)
    assert [house.roster.get(row.id).state for row in (first, second)] == [State.RUNNING, State.RUNNING]
    assert house.machine.calls.count("pull") == 1


async def test_an_image_that_its_registry_lacks_is_an_error(house: Household) -> None:
    row = await house.start("a", "unknown")
    await house.manager.settled(row.id)
    failure = house.roster.get(row.id).failure
    assert failure
    assert (failure.code, failure.message) == ("image_missing", "its registry has no image example.org/lab/none:1")


async def test_a_start_before_the_first_look_waits_for_it() -> None:
    house = Household()
    starting = asyncio.create_task(house.start())
    await asyncio.sleep(0)
    assert not starting.done()
    assert house.roster.all() == ()
    await house.manager.reconcile()
    row = await starting
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.RUNNING
    await house.manager.close()


async def test_a_profile_that_is_no_longer_offered_starts_nothing(house: Household) -> None:
    row = await house.up(profile="gpu")
    again, began = await house.manager.start("ada", StartRequest(), lambda profile: profile.name != "gpu")
    assert (again.id, began) == (row.id, False)
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    with pytest.raises(InvalidInput, match="there is no profile 'gpu'") as caught:
        await house.manager.start("ada", StartRequest(), lambda profile: profile.name != "gpu")
    assert "gpu" not in caught.value.hint.split(", ")
