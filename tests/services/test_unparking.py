"""The way back of a parked notebook: in line, on its own cards or others like them, and again after what failed."""

from __future__ import annotations

import asyncio

import pytest

from nbd.errors import Deadline, HostUnfit, NoCapacity
from nbd.gpus.model import GIB, Card, Lease, Request
from nbd.gpus.ports import Reading
from nbd.notebooks.model import State
from tests.fakes.cuda import quiet
from tests.services.parkhouse import A, B, C, ParkHouse
from tests.services.test_parking import SIZES, Failing, killed, parked


@pytest.fixture
async def house() -> ParkHouse:
    made = ParkHouse()
    await made.notebook("nb", {A: 4, B: 2}, {B: 3})
    return made


async def test_it_stands_in_line_for_its_own_cards(house: ParkHouse) -> None:
    await parked(house)
    await house.pool.lease("other", "bob/other", Request(count=3))
    waiting = asyncio.create_task(house.parking.unpark("nb"))
    while not house.positions:
        await asyncio.sleep(0.001)
    (notebook, position, reason), *_ = house.positions
    assert (notebook, position) == ("nb", 1)
    assert "leased by bob/other" in reason
    await house.pool.release("other", ())
    await waiting
    assert await house.cards("nb") == {A, B}
    await house.is_whole("nb", SIZES)


async def test_who_stops_waiting_is_parked_as_before(house: ParkHouse) -> None:
    await parked(house)
    await house.pool.lease("other", "bob/other", Request(count=3))
    waiting = asyncio.create_task(house.parking.unpark("nb"))
    while not house.positions:
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await house.is_whole("nb", SIZES)
    assert house.state("nb") is State.PARKED


async def test_other_cards_of_the_kind_do_where_its_processes_reach_them() -> None:
    house = ParkHouse()
    await house.notebook("nb", {A: 4})
    await parked(house)
    await house.leases.replace("other", [Lease(A, "other", "bob/other", 1.0)])
    house.cuda.moves_to = frozenset({A, B, C})
    await house.parking.unpark("nb")
    assert await house.cards("nb") == {B}
    await house.is_whole("nb", (4,))


async def test_its_own_card_is_taken_first() -> None:
    house = ParkHouse()
    await house.notebook("nb", {C: 4})
    await parked(house)
    house.cuda.moves_to = frozenset({A, B, C})
    await house.parking.unpark("nb")
    assert await house.cards("nb") == {C}


async def test_after_a_move_that_was_refused_it_waits_for_its_own() -> None:
    house = ParkHouse()
    await house.notebook("nb", {A: 4})
    await parked(house)
    await house.leases.replace("other", [Lease(A, "other", "bob/other", 1.0)])
    house.cuda.moves_to = frozenset({A, B, C})
    house.cuda.refusals["restore", house.cuda_pids("nb")[0]] = HostUnfit("invalid value", code="cannot_move")
    with pytest.raises(HostUnfit):
        await house.parking.unpark("nb")
    await house.is_whole("nb", (4,))
    house.cuda.refusals.clear()
    again = asyncio.create_task(house.parking.unpark("nb"))
    while not house.positions and not again.done():
        await asyncio.sleep(0.001)
    assert await house.cards("nb") == set()
    await house.pool.release("other", ())
    await again
    assert await house.cards("nb") == {A}
    assert house.state("nb") is State.RUNNING


async def test_a_card_without_room_is_not_tried(house: ParkHouse) -> None:
    await parked(house)
    house.driver.shown = [Reading(A, used_bytes=14 * GIB), Reading(B, used_bytes=0)]
    with pytest.raises(NoCapacity, match="2 GiB free"):
        await house.parking.unpark("nb")
    assert "restore" not in {call for call, _ in house.cuda.calls}
    await house.is_whole("nb", SIZES)
    house.driver.shown = []
    assert house.parking.due() == ()
    await house.mended()
    assert house.state("nb") is State.RUNNING


async def test_a_restore_that_fails_again_and_again_is_left_to_a_person(house: ParkHouse) -> None:
    await parked(house)
    house.cuda.refusals["restore", house.cuda_pids("nb")[0]] = HostUnfit("OS call failed", code="driver_failed", retryable=True)
    tries = 0
    while tries < 10:
        with pytest.raises(HostUnfit):
            await house.parking.unpark("nb")
        tries += 1
        await house.is_whole("nb", SIZES)
        house.later += 7200
        if not house.parking.due():
            break
    assert tries == 3
    house.cuda.refusals.clear()
    await house.parking.unpark("nb")
    assert house.state("nb") is State.RUNNING
    await house.is_whole("nb", SIZES)


async def test_a_wish_to_be_back_outlives_the_daemon(house: ParkHouse) -> None:
    await parked(house)
    await house.leases.replace("other", [Lease(A, "other", "bob/other", 1.0)])
    waiting = asyncio.create_task(house.parking.unpark("nb"))
    while not house.positions:
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    house.build()
    await house.roster.load()
    await house.leases.replace("other", [])
    assert house.parking.due() == ("nb",)
    await house.parking.mend("nb")
    assert house.state("nb") is State.RUNNING


async def test_a_program_started_while_it_is_parked_waits_for_its_cards(house: ParkHouse) -> None:
    await parked(house)
    await house.leases.replace("other", [Lease(A, "other", "bob/other", 1.0)])
    assert await house.parking.strays() == ()
    house.process("nb", {A: 1})
    assert await house.parking.strays() == ("nb",)
    assert await house.parking.recover("nb")
    await house.is_whole("nb", (*SIZES, 1))
    assert {process.pid for process in house.driver.running} == set()
    await house.leases.replace("other", [])
    assert house.parking.due() == ("nb",)
    await house.parking.mend("nb")
    await house.is_whole("nb", (*SIZES, 1))
    assert house.state("nb") is State.RUNNING


@pytest.mark.parametrize("call", ["restore", "unlock", "states"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_one_silence_is_looked_into_and_no_failure(house: ParkHouse, call: str, moment: str) -> None:
    await parked(house)
    house.cuda.silence(moment, call)
    await asyncio.gather(house.parking.unpark("nb"), return_exceptions=call == "states")
    await house.is_whole("nb", SIZES)
    assert house.state("nb") is (State.PARKED if (call, moment) == ("states", "before") else State.RUNNING)


async def test_a_park_that_was_cut_off_is_due_after_a_restart(house: ParkHouse) -> None:
    house.trip(6, after=False)
    assert await killed(house.parking.park("nb"))
    house.cuda.hook = quiet
    house.build()
    await house.roster.load()
    assert house.parking.due() == ("nb",)
    await house.parking.mend("nb")
    await house.is_whole("nb", SIZES)


async def test_what_was_parked_ends_with_its_run(house: ParkHouse) -> None:
    await parked(house)
    for state in (State.STOPPING, State.STOPPED, State.STARTING, State.RUNNING):
        await house.roster.change("nb", state)
    assert house.parked("nb") is None
    assert house.parking.due() == ()
    assert not await house.parking.recover("nb")


async def test_a_silent_driver_shows_no_strays(house: ParkHouse) -> None:
    await parked(house)
    house.process("nb", {A: 1})
    house.driver.failure = Deadline("silent")
    assert await house.parking.strays() == ()


async def test_nothing_is_asked_of_the_driver_for_one_without_cards() -> None:
    house = ParkHouse()
    await house.notebook("nb")
    house.cuda.hook = Failing(1, Deadline("asked"))
    assert not await house.parking.recover("nb")


async def test_cards_of_another_kind_are_no_way_back() -> None:
    house = ParkHouse()
    house.driver.present[1:] = [Card(B, "RTX 4090", 24 * GIB), Card(C, "A4000", 16 * GIB)]
    await house.notebook("nb", {A: 4})
    await parked(house)
    await house.leases.replace("other", [Lease(A, "other", "bob/other", 1.0)])
    house.cuda.moves_to = frozenset({A, B, C})
    await house.parking.unpark("nb")
    assert await house.cards("nb") == {C}
