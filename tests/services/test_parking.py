"""Parking over a driver that refuses, falls silent and loses processes: whatever fails, everything is whole afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from nbd.errors import Conflict, Deadline, HostUnfit, NbdError, NoCapacity, NotFound, Unreachable
from nbd.gpus.model import GIB, Grant, Lease, Request, Sharing
from nbd.gpus.ports import CardProcess
from nbd.notebooks.model import State
from nbd.notebooks.rest.ports import CudaState, Headroom
from tests.services.parkhouse import A, B, C, Killed, ParkHouse

S = CudaState
Work = Callable[[ParkHouse], Awaitable[None]]
SIZES = (4, 2, 3)
"""GiB of the notebook that most tests park: two processes on A and B."""


@pytest.fixture
async def house() -> ParkHouse:
    made = ParkHouse()
    await made.notebook("nb", {A: 4, B: 2}, {B: 3})
    return made


async def parked(house: ParkHouse) -> ParkHouse:
    await house.parking.park("nb")
    assert house.state("nb") is State.PARKED
    return house


async def test_a_parked_notebook_has_given_its_cards_back(house: ParkHouse) -> None:
    assert await house.parking.obstacle("nb") == ""
    await house.parking.park("nb")
    await house.is_whole("nb", SIZES)
    assert house.state("nb") is State.PARKED
    assert isinstance(await house.pool.lease("other", "bob/other", Request(count=3)), Grant)


async def test_all_are_locked_before_any_is_copied_and_back_before_any_goes_on(house: ParkHouse) -> None:
    await house.parking.park("nb")
    await house.parking.unpark("nb")
    assert [call for call, _ in house.cuda.calls] == ["lock"] * 2 + ["checkpoint"] * 2 + ["restore"] * 2 + ["unlock"] * 2
    await house.is_whole("nb", SIZES)
    assert house.state("nb") is State.RUNNING
    assert await house.cards("nb") == {A, B}


async def test_one_without_a_cuda_process_gives_its_cards_back_too(house: ParkHouse) -> None:
    for pid in house.cuda_pids("nb"):
        house.cuda.end(pid)
    await parked(house)
    assert await house.cards("nb") == set()
    await house.parking.unpark("nb")
    assert (house.state("nb"), await house.cards("nb")) == (State.RUNNING, {A, B})


async def test_nothing_is_done_to_one_that_does_not_run(house: ParkHouse) -> None:
    await house.roster.change("nb", State.STOPPING)
    await house.parking.park("nb")
    await house.parking.unpark("nb")
    assert house.cuda.calls == []


# --- what stands in the way ---------------------------------------------------------------------------------------------------------------------


def too_old(house: ParkHouse) -> None:
    house.cuda.unfit = "the NVIDIA driver is too old to park a process"


def little_memory(house: ParkHouse) -> None:
    house.memory.room = Headroom(5 * GIB, None)


def tight_limit(house: ParkHouse) -> None:
    house.memory.room = Headroom(100 * GIB, 8 * GIB)


def mig(house: ParkHouse) -> None:
    house.driver.present = [replace(card, mig_profile="1g.5gb", parent="GPU-x") for card in house.driver.present]


def nameless(house: ParkHouse) -> None:
    house.driver.running.append(CardProcess(A, None))


def lost_one(house: ParkHouse) -> None:
    house.cuda.known[house.cuda_pids("nb")[0]] = S.FAILED


def silent(house: ParkHouse) -> None:
    house.driver.failure = Unreachable("the driver is away")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (too_old, "too old"),
        (little_memory, "the box has 5 GiB of memory free"),
        (tight_limit, "its own memory limit leaves 8 GiB"),
        (mig, "MIG"),
        (nameless, "does not say who uses it"),
        (lost_one, "the CUDA driver lost pid"),
        (silent, "the driver is away"),
    ],
)
async def test_what_cannot_be_parked_is_said_beforehand_and_not_touched(house: ParkHouse, make: Callable[[ParkHouse], None], word: str) -> None:
    make(house)
    assert word in await house.parking.obstacle("nb")
    with pytest.raises(NbdError, match=word):
        await house.parking.park("nb")
    assert house.cuda.calls == []
    assert (house.state("nb"), await house.cards("nb"), house.parked("nb")) == (State.RUNNING, {A, B}, None)


async def test_a_shared_card_is_not_given_back(house: ParkHouse) -> None:
    await house.leases.replace("nb", [Lease(A, "nb", "ada/nb", 1.0, Sharing.SHARED, GIB)])
    assert "is shared" in await house.parking.obstacle("nb")


async def test_two_parks_at_once_do_not_count_on_the_same_memory(house: ParkHouse) -> None:
    await house.notebook("second", {C: 9})
    house.memory.room = Headroom(15 * GIB, None)
    first = asyncio.create_task(house.parking.park("nb"))
    house.cuda.answers.clear()
    while not house.cuda.calls:
        await asyncio.sleep(0)
    assert "memory free" in await house.parking.obstacle("second")
    house.cuda.answers.set()
    await first
    assert await house.parking.obstacle("second") == ""


async def test_what_the_driver_cannot_do_is_remembered_as_long_as_it_is_these_processes(house: ParkHouse) -> None:
    pid = house.cuda_pids("nb")[0]
    house.cuda.refusals["checkpoint", pid] = HostUnfit("managed memory", code="cannot_park")
    with pytest.raises(HostUnfit):
        await house.parking.park("nb")
    await house.is_whole("nb", SIZES)
    assert "managed memory" in await house.parking.obstacle("nb")
    house.cuda.end(pid)
    del house.pids.containers["box-nb"][pid]
    assert await house.parking.obstacle("nb") == ""


# --- a park that fails --------------------------------------------------------------------------------------------------------------------------


async def test_who_works_on_the_gpu_after_all_is_left_alone(house: ParkHouse) -> None:
    house.cuda.busy.add(house.cuda_pids("nb")[1])
    with pytest.raises(Conflict) as caught:
        await house.parking.park("nb")
    assert caught.value.code == "gpu_busy"
    assert house.state("nb") is State.RUNNING
    await house.is_whole("nb", SIZES)


async def test_a_process_that_begins_meanwhile_undoes_the_park(house: ParkHouse) -> None:
    def hook(moment: str, call: str, pid: int) -> None:
        if (moment, call) == ("after", "checkpoint") and not any(state is S.LOCKED for state in house.cuda.known.values()):
            house.cuda.hook = lambda moment, call, pid: None
            house.cuda.busy.add(house.process("nb", {A: 1}).pid)

    house.cuda.hook = hook
    with pytest.raises(Conflict):
        await house.parking.park("nb")
    assert house.state("nb") is State.RUNNING
    await house.is_whole("nb", (*SIZES, 1))


async def test_a_card_that_goes_on_showing_it_undoes_the_park(house: ParkHouse) -> None:
    ghost = house.plain("nb")
    house.driver.running.append(CardProcess(A, ghost.pid, 0))
    with pytest.raises(Conflict, match=f"pid {ghost.pid}"):
        await house.parking.park("nb")
    assert house.states("nb") == {S.RUNNING}
    assert await house.cards("nb") == {A, B}


async def test_one_that_only_asked_what_cards_there_are_stops_nobody(house: ParkHouse) -> None:
    looker = house.plain("nb")
    house.cuda.known[looker.pid] = S.RUNNING
    house.cuda.refusals["lock", looker.pid] = NotFound("it has no CUDA context", code="no_context")

    with pytest.raises(Conflict):  # the driver goes on calling it running: it could begin at any moment
        await house.parking.park("nb")
    assert house.states("nb") == {S.RUNNING}


@pytest.mark.parametrize("call", ["lock", "checkpoint"])
async def test_a_process_that_ends_half_way_stops_nobody(house: ParkHouse, call: str) -> None:
    first = house.cuda_pids("nb")[0]

    def hook(moment: str, what: str, pid: int) -> None:
        if (moment, what) == ("before", call) and pid != first:
            house.cuda.hook = lambda moment, call, pid: None
            house.cuda.end(first)
            house.cuda.kept.pop(first, None)
            del house.pids.containers["box-nb"][first]

    house.cuda.hook = hook
    await house.parking.park("nb")
    await house.is_whole("nb", (3,))
    assert house.state("nb") is State.PARKED


# --- any call may fail --------------------------------------------------------------------------------------------------------------------------

FAILURES: dict[str, NbdError] = {
    "refused": HostUnfit("not supported", code="cannot_park"),
    "silent": Deadline("the driver did not answer"),
    "away": Unreachable("its helper ended"),
    "odd state": Conflict("illegal state", code="cuda_state", retryable=True),
    "no memory": NoCapacity("no memory", code="gpu_memory", retryable=True),
    "broken": HostUnfit("OS call failed", code="driver_failed", retryable=True),
}


class Failing:
    """The nth passage raises, and so do the next `times` - 1."""

    def __init__(self, at: int, failure: NbdError, times: int = 1) -> None:
        self.at, self.failure, self.times, self.passed = at, failure, times, 0

    def __call__(self, moment: str, call: str, pid: int) -> None:
        self.passed += 1
        if self.at <= self.passed < self.at + self.times:
            raise self.failure


async def passages(work: Work, *, prepared: bool) -> int:
    house = await fresh(prepared=prepared)
    counter = house.cuda.hook = Failing(10_000, Deadline(""))
    await work(house)
    return counter.passed


async def fresh(*, prepared: bool) -> ParkHouse:
    house = ParkHouse()
    await house.notebook("nb", {A: 4, B: 2}, {B: 3})
    return await parked(house) if prepared else house


def parks(house: ParkHouse) -> Awaitable[None]:
    return house.parking.park("nb")


def unparks(house: ParkHouse) -> Awaitable[None]:
    return house.parking.unpark("nb")


@pytest.mark.parametrize(("work", "prepared"), [(parks, False), (unparks, True)], ids=["park", "unpark"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("times", [1, 2, 5])
async def test_whichever_call_fails_all_is_whole(work: Work, *, prepared: bool, failure: NbdError, times: int) -> None:
    for at in range(1, await passages(work, prepared=prepared) + 1):
        house = await fresh(prepared=prepared)
        house.cuda.hook = Failing(at, failure, times)
        await asyncio.gather(work(house), return_exceptions=True)
        house.cuda.hook = lambda moment, call, pid: None
        if not due_later(house):
            await house.is_whole("nb", SIZES)
        await house.mended()
        await house.is_whole("nb", SIZES)


def due_later(house: ParkHouse) -> bool:
    """Whether it is said that something is left to do, when its back-off is over."""
    house.later += 3600
    return bool(house.parking.due())


@pytest.mark.parametrize("call", ["lock", "checkpoint", "restore", "unlock"])
@pytest.mark.parametrize(("work", "prepared"), [(parks, False), (unparks, True)], ids=["park", "unpark"])
async def test_a_process_that_the_driver_loses_is_told_and_holds_up_nobody(work: Work, *, prepared: bool, call: str) -> None:
    if (call in ("restore", "unlock")) is not prepared:
        return
    house = await fresh(prepared=prepared)
    house.cuda.lose(call)
    with pytest.raises(HostUnfit, match="the CUDA driver lost pid"):
        await work(house)
    assert house.state("nb") is State.RUNNING
    assert house.states("nb") == {S.RUNNING, S.FAILED}
    assert await house.cards("nb") == {A, B}
    assert "lost pid" in await house.parking.obstacle("nb")


async def test_a_park_that_cannot_be_undone_is_carried_on(house: ParkHouse) -> None:
    """On neither side may anything stay locked; from there it is wanted back."""
    last = house.cuda_pids("nb")[1]

    def hook(moment: str, call: str, pid: int) -> None:
        if (moment, call, pid) == ("after", "checkpoint", last):
            house.cuda.hook = lambda moment, call, pid: None
            raise HostUnfit("OS call failed", code="driver_failed")

    house.cuda.hook = hook
    house.cuda.refusals["restore", last] = HostUnfit("OS call failed", code="driver_failed")
    with pytest.raises(HostUnfit):
        await house.parking.park("nb")
    await house.is_whole("nb", SIZES)
    plan = house.parked("nb")
    assert (house.state("nb"), plan is not None and plan.wanted) == (State.PARKED, True)
    house.cuda.refusals.clear()
    await house.mended()
    assert house.state("nb") is State.RUNNING
    await house.is_whole("nb", SIZES)


async def test_a_driver_that_shows_no_change_is_not_asked_without_end(house: ParkHouse) -> None:
    house.cuda.refusals["lock", house.cuda_pids("nb")[0]] = NotFound("it has ended", code="process_gone")
    with pytest.raises(Deadline, match="shows no change"):
        await house.parking.park("nb")
    await house.is_whole("nb", SIZES)
    assert len(house.cuda.calls) < 100


async def test_a_repair_that_fails_is_due_again(house: ParkHouse) -> None:
    await parked(house)
    house.driver.failure = Unreachable("the driver is away")
    stray = house.process("nb", {A: 1})
    house.cuda.refusals["lock", stray.pid] = HostUnfit("not supported", code="cannot_park")
    with pytest.raises(HostUnfit):
        await house.parking.recover("nb")
    house.driver.failure = None
    house.cuda.refusals.clear()
    assert house.parking.due() == ()
    assert due_later(house)
    await house.mended()
    await house.is_whole("nb", (*SIZES, 1))


# --- killed at any moment -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("work", "prepared"), [(parks, False), (unparks, True)], ids=["park", "unpark"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_it_is_whole_again_after_a_restart(work: Work, *, prepared: bool, after: bool) -> None:
    kills = 0
    for at in range(1, 200):
        house = await fresh(prepared=prepared)
        house.trip(at, after=after)
        was_killed = await killed(work(house))
        if house.wire.passed < at:
            break
        kills += was_killed
        await house.restarted()
        await house.is_whole("nb", SIZES)
    assert kills >= 7


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_again_in_the_repair(*, after: bool) -> None:
    for first in range(3, 14, 2):
        for second in range(1, 12, 2):
            house = await fresh(prepared=False)
            house.trip(first, after=after)
            await killed(parks(house))
            house.build()
            await house.roster.load()
            house.trip(second, after=after)
            await killed(house.parking.recover("nb"))
            await house.restarted()
            await house.is_whole("nb", SIZES)


async def test_killed_after_the_last_copy_it_is_parked_after_all(house: ParkHouse) -> None:
    def hook(moment: str, call: str, pid: int) -> None:
        if (moment, call, pid) == ("after", "checkpoint", house.cuda_pids("nb")[1]):
            raise Killed

    house.cuda.hook = hook
    assert await killed(house.parking.park("nb"))
    await house.restarted()
    assert house.state("nb") is State.PARKED
    await house.is_whole("nb", SIZES)


async def killed(work: Awaitable[object]) -> bool:
    try:
        await work
    except Killed:
        return True
    return False
