"""Two at once: looks, starts, stops and deletions that meet at every step. The machine and the store take their time here, as real ones do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from nbd.errors import NbdError
from nbd.gpus.model import Lease
from nbd.messages import StartRequest
from nbd.notebooks.model import LIVE, State, Want
from nbd.notebooks.reconcile import Begin, Finish
from tests.services.household import IMAGE, Household


@pytest.fixture
async def house() -> AsyncIterator[Household]:
    house = Household()
    await house.manager.reconcile()
    house.machine.calls.clear()
    yield house
    await house.manager.close()


async def test_a_start_during_a_sweep_keeps_its_folder_and_network(house: Household) -> None:
    house.machine.slow["networks"] = 0.05
    look = asyncio.create_task(house.manager.reconcile())
    await house.until(lambda: "networks" in house.machine.calls)
    row = await house.up()
    await look
    await house.manager.settled(row.id)
    assert house.machine.folders == house.machine.networks == {row.id}


async def test_a_look_in_the_middle_of_a_start_begins_nothing_twice(house: Household) -> None:
    row = await house.up()
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    house.store.pause = 0.02
    starting = asyncio.create_task(house.start())
    for _ in range(8):
        await house.manager.reconcile()
        await asyncio.sleep(0.005)
    await starting
    await house.manager.settled(row.id)
    again = house.roster.get(row.id)
    assert (again.state, again.run, len(house.machine.boxes)) == (State.RUNNING, 2, 1)


@pytest.mark.parametrize("action", [Finish, Begin])
async def test_an_old_plan_does_nothing_to_a_notebook_that_runs(house: Household, action: type[Finish | Begin]) -> None:
    row = await house.up()
    async with house.manager._deciding:
        await house.manager._carry_out(action(row.id, "it was so when the plan was made"))
    await house.manager.settled(row.id)
    assert house.machine.alive() == [row.container]


@pytest.mark.parametrize("end", ["stop", "delete"])
async def test_a_container_that_does_not_go_keeps_its_card_and_its_row(house: Household, end: str) -> None:
    row = await house.up(profile="gpu")
    container = row.container or ""
    house.machine.stuck.add(container)
    if end == "stop":
        await house.manager.stop(row.id, "user")
    else:
        await house.manager.delete(row.id)
    await house.manager.settled(row.id)
    for _ in range(2):
        await house.manager.reconcile()
        await house.manager.settled(row.id)
        still = house.roster.get(row.id)
        assert (still.state, still.container) == (State.STOPPING, container)
        assert [lease.notebook for lease in await house.leases.leases()] == [row.id]
    house.machine.stuck.clear()
    await house.calm()
    await house.nothing_left()
    assert [item.state for item in house.roster.all()] == ([State.STOPPED] if end == "stop" else [])


async def test_a_start_after_a_stop_that_failed(house: Household) -> None:
    row = await house.up()
    house.machine.stuck.add(row.container or "")
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    wanted, began = await house.manager.start("ada", StartRequest())
    assert (wanted.state, wanted.want, began) == (State.STOPPING, Want.RUNNING, True)
    house.machine.stuck.clear()
    await house.calm()
    again = house.roster.get(row.id)
    assert (again.state, again.run) == (State.RUNNING, 2)


async def test_a_start_right_after_a_deletion_makes_a_new_one(house: Household) -> None:
    old = await house.up()
    house.machine.pause = 0.002
    await house.manager.delete(old.id)
    new = await house.start()
    assert new.id != old.id
    await house.manager.settled(new.id)
    assert [(row.id, row.state) for row in house.roster.all()] == [(new.id, State.RUNNING)]


async def test_who_leaves_the_line_while_another_lets_go_of_a_card(house: Household) -> None:
    holder = await house.up("a", "gpu")
    other = await house.up("b", "gpu")
    first, second = await house.start("c", "gpu", wait=True), await house.start("d", "gpu", wait=True)
    await house.until(lambda: all(house.roster.passing(row.id).waiting for row in (first, second)))
    await asyncio.gather(house.manager.stop(first.id, "user"), house.manager.stop(holder.id, "user"))
    await house.until(lambda: house.roster.get(second.id).state is State.RUNNING)
    for row in (first, holder, second):
        await house.manager.settled(row.id)
    assert {lease.notebook for lease in await house.leases.leases()} == {other.id, second.id}


@pytest.mark.parametrize("seed", range(12))
async def test_anything_at_once_ends_in_order(seed: int) -> None:
    """Starts, stops, deletions, crashes of editors and of the daemon, looks, all at random and at once; then peace: everything is as it is wanted."""
    dice, house = random.Random(seed), Household()
    await house.manager.reconcile()
    house.machine.pause, house.store.pause = 0.001, 0.0005
    for _ in range(60):
        await one_thing(house, dice)
        await asyncio.sleep(dice.random() * 0.004)
    house.machine.images[IMAGE].ends_at_once = None
    await house.calm()
    await at_peace(house)
    await house.manager.close()


async def one_thing(house: Household, dice: random.Random) -> None:
    rows = house.roster.all()
    row = dice.choice(rows) if rows else None
    what = dice.choice(["start", "start", "stop", "delete", "look", "end", "crash"])
    try:
        if what == "start":
            await house.start(dice.choice("abcd"), dice.choice(["cpu", "gpu", "shared"]), wait=dice.random() < 0.5)
        elif what == "look":
            await house.manager.reconcile()
        elif what == "crash" and dice.random() < 0.2:
            await house.crash()
            await house.manager.reconcile()
        elif row and what in ("stop", "delete"):
            await (house.manager.stop(row.id, "user") if what == "stop" else house.manager.delete(row.id))
        elif what == "end" and (alive := house.machine.alive()):
            house.machine.end(dice.choice(alive), dice.choice([0, 1, 137]))
    except NbdError:
        return  # Refused, for want of a card or because it is being deleted: that is an answer.


async def at_peace(house: Household) -> None:
    rows = {row.id: row for row in house.roster.all()}
    living = {row.id for row in rows.values() if row.state in LIVE}
    assert all((row.state is State.RUNNING) == (row.want is Want.RUNNING) or house.roster.passing(row.id).waiting for row in rows.values())
    boxes = [box.spec.labels["io.nbd.id"] for box in house.machine.boxes.values()]
    assert sorted(boxes) == sorted(id for id in living if rows[id].state is State.RUNNING)
    assert house.machine.folders | house.machine.networks <= living
    leases: list[Lease] = list(await house.leases.leases())
    assert {lease.notebook for lease in leases} <= living
    held = [lease.card for lease in leases if lease.memory_bytes == 0]
    assert len(held) == len(set(held))
