"""Parking and freezing as notebooks' tasks: what people and the engine ask for, what fails, and what a crash of core leaves."""

from __future__ import annotations

import asyncio

import pytest

from nbd.errors import Conflict, HostUnfit
from nbd.messages import StartRequest
from nbd.notebooks.model import Notebook, State
from tests.fakes.freezer import Frozen

from .resthouse import RestHouse


@pytest.fixture
async def house() -> RestHouse:
    made = RestHouse()
    await made.manager.reconcile()
    return made


async def settled(house: RestHouse, row: Notebook) -> Notebook:
    await house.manager.settled(row.id)
    return house.roster.get(row.id)


async def test_park_gives_the_card_to_the_next_and_unpark_stands_in_line(house: RestHouse) -> None:
    one, two = await house.at_work("one"), await house.at_work("two")
    await house.resting.park(one.id)
    assert (await settled(house, one)).state is State.PARKED
    assert await house.held() == [two.id]
    three = await house.at_work("three")
    await house.resting.unpark(one.id, "ada")
    await house.until(lambda: house.roster.passing(one.id).waiting is not None)
    assert house.roster.get(one.id).state is State.PARKED
    house.cuda.end(house.machine.boxes[str(three.container)].pid)
    await house.manager.stop(three.id, "user")
    assert (await settled(house, one)).state is State.RUNNING
    assert sorted(await house.held()) == sorted([one.id, two.id])


async def test_what_a_parked_one_shows_is_looked_at_and_nothing_is_done_to_it(house: RestHouse) -> None:
    row = await house.at_work()
    await house.resting.park(row.id)
    await settled(house, row)
    await house.calm()
    assert house.roster.get(row.id).state is State.PARKED
    assert await house.held() == []


@pytest.mark.parametrize("parked", [False, True])
async def test_freeze_and_thaw(house: RestHouse, parked: bool) -> None:  # noqa: FBT001
    row = await house.at_work() if parked else await house.up()
    if parked:
        await house.resting.park(row.id)
        await settled(house, row)
    await house.resting.freeze(row.id)
    assert (await settled(house, row)).state is State.FROZEN
    await house.calm()
    assert house.roster.get(row.id).state is State.FROZEN
    assert house.roster.reachable(row.id)
    await house.resting.thaw(row.id, "ada")
    after = await settled(house, row)
    assert after.state is (State.PARKED if parked else State.RUNNING)
    assert (after.container, after.run) == (row.container, row.run)
    assert await house.freezer.images() == []
    assert house.roster.reachable(row.id)


async def test_who_starts_what_is_frozen_thaws_it(house: RestHouse) -> None:
    row = await house.up()
    await house.resting.freeze(row.id)
    await settled(house, row)
    same, began = await house.manager.start("ada", StartRequest("main"))
    assert (same.id, began) == (row.id, False)
    assert (await settled(house, row)).state is State.RUNNING


async def test_a_freeze_that_fails_leaves_it_running_and_watched(house: RestHouse) -> None:
    row = await house.up()
    house.freezer.refusals = [HostUnfit("CRIU refuses", code="criu_refused")]
    await house.resting.freeze(row.id)
    after = await settled(house, row)
    assert (after.state, "CRIU refuses" in after.trouble) == (State.RUNNING, True)
    assert house.roster.reachable(row.id)
    await house.calm()
    assert house.lives.watches.containers() == {row.id: row.container}
    assert "failed just now" in (await house.resting.abilities(row.id)).freeze
    await house.resting.freeze(row.id, "ada")
    assert (await settled(house, row)).state is State.FROZEN, "a person may try at once"


async def test_a_thaw_that_fails_leaves_it_frozen_with_the_reason(house: RestHouse) -> None:
    row = await house.up()
    await house.resting.freeze(row.id)
    await settled(house, row)
    house.freezer.refusals = [HostUnfit("no memory", code="criu_refused")]
    await house.resting.thaw(row.id, "ada")
    after = await settled(house, row)
    assert (after.state, "no memory" in after.trouble) == (State.FROZEN, True)
    await house.resting.thaw(row.id, "ada")
    after = await settled(house, row)
    assert (after.state, after.trouble) == (State.RUNNING, "")


async def test_a_stop_ends_what_rests(house: RestHouse) -> None:
    parked, frozen = await house.at_work("parked"), await house.up("frozen")
    await house.resting.park(parked.id)
    await house.resting.freeze(frozen.id)
    for row in (parked, frozen):
        await settled(house, row)
        await house.manager.stop(row.id, "user")
        assert (await settled(house, row)).state is State.STOPPED
    assert await house.freezer.images() == []
    await house.calm()
    await house.nothing_left()


async def test_what_is_started_again_after_its_longest_run_has_the_cards_it_had(house: RestHouse) -> None:
    row = await house.start(profile="gpu", gpus=0)
    assert (await settled(house, row)).gpus == 0
    await house.resting.stop(row.id, "max_running", again=True)
    again = await settled(house, row)
    assert (again.state, again.run, again.gpus, await house.held()) == (State.RUNNING, 2, 0, [])


async def test_what_is_not_there_is_refused(house: RestHouse) -> None:
    row = await house.up()
    with pytest.raises(Conflict):
        await house.resting.thaw((await stopped(house, row)).id, "ada")
    house.cuda.unfit = "the driver is too old"
    gpu = await house.at_work("gpu")
    with pytest.raises(HostUnfit, match="too old"):
        await house.resting.park(gpu.id, "ada")
    assert house.roster.get(gpu.id).state is State.RUNNING


async def stopped(house: RestHouse, row: Notebook) -> Notebook:
    await house.manager.stop(row.id, "user")
    return await settled(house, row)


@pytest.mark.parametrize("moment", ["lock", "checkpoint", "restore", "unlock"])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_core_dies_while_it_parks_or_comes_back(house: RestHouse, moment: str, side: str) -> None:
    row = await house.at_work()
    if moment in ("restore", "unlock"):
        await house.resting.park(row.id)
        await settled(house, row)
    reached = asyncio.Event()

    def hook(now: str, what: str, pid: int) -> None:
        if (now, what) == (side, moment):
            reached.set()
            house.cuda.hook = lambda *_: None
            raise asyncio.CancelledError

    house.cuda.hook = hook
    await (house.resting.unpark if moment in ("restore", "unlock") else house.resting.park)(row.id, "ada")
    await asyncio.wait_for(reached.wait(), 5)
    await house.crash()
    await house.calm()
    for _ in range(3):
        await house.resting.look()
        await settled(house, row)
    after, states = house.roster.get(row.id), set(house.cuda.known.values())
    assert (after.state, {str(state) for state in states}) in ((State.RUNNING, {"running"}), (State.PARKED, {"checkpointed"}))
    assert await house.held() == ([row.id] if after.state is State.RUNNING else [])


@pytest.mark.parametrize(("cut", "state"), [("before", State.RUNNING), ("after", State.FROZEN)])
async def test_core_dies_while_it_freezes(house: RestHouse, cut: str, state: State) -> None:
    row = await house.up()
    house.freezer.cut = cut
    await house.resting.freeze(row.id)
    await house.manager.settled(row.id)
    await house.crash()
    house.freezer.cut = ""
    await house.calm()
    assert house.roster.get(row.id).state is state
    if state is State.FROZEN:
        await house.resting.thaw(row.id, "ada")
        assert (await settled(house, row)).state is State.RUNNING


@pytest.mark.parametrize(("whole", "state"), [(True, State.FROZEN), (False, State.ERROR)])
async def test_podman_ends_a_freeze_after_core_came_up_again(house: RestHouse, whole: bool, state: State) -> None:  # noqa: FBT001
    """Core died in the middle, adopted what still ran, and the end of the processes is no crash."""
    row = await house.up()
    await house.crash()
    await house.calm()
    house.freezer.frozen[row.id] = Frozen(str(row.container), whole=whole)
    house.machine.end(str(row.container), 137)
    await house.until(lambda: house.lives.watches.containers() == {})
    await house.calm()
    assert house.roster.get(row.id).state is state
    assert house.roster.get(row.id).run == row.run, "it was not started anew over its image"


async def test_kept_is_durable_and_outlives_a_boot(house: RestHouse) -> None:
    row = await house.up()
    await house.resting.keep(row.id, 3600)
    (subject,) = await house.resting.subjects()
    assert subject.kept_until is not None
    left = subject.kept_until - house.parts.clocks.steady()
    assert 3590 < left <= 3600
    house.boot = "boot-2"
    house.now += 600
    await house.crash()
    await house.calm()
    (subject,) = await house.resting.subjects()
    assert subject.kept_until is not None
    assert 2980 < subject.kept_until - house.parts.clocks.steady() <= 3000
