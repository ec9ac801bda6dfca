"""What `notebooks.rest.ports.Parker` promises, asked of the fake and of the simulated libcuda through the real helper processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from nbd.errors import Conflict, Deadline, HostUnfit, NoCapacity, NotFound
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.ports import CudaState
from tests.contracts.parkers import OTHER, A, B, ParkWorld, fake_world, simulated_world

S = CudaState
CALLS = ("lock", "checkpoint", "restore", "unlock")


@pytest.fixture(params=[fake_world, simulated_world], ids=["fake", "simulated"])
async def world(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ParkWorld]:
    folder = tmp_path_factory.getbasetemp() / "simulated-cuda"  # one for all tests, so that the library is compiled once
    async with request.param(folder, tmp_path) as made:
        yield made


async def parked(world: ParkWorld, process: Process) -> None:
    await world.parker.lock(process, 1.0)
    await world.parker.checkpoint(process)


def steps_of(world: ParkWorld, process: Process) -> Mapping[str, Callable[[], Awaitable[object]]]:
    parker = world.parker
    return {
        "lock": lambda: parker.lock(process, 0.1),
        "checkpoint": lambda: parker.checkpoint(process),
        "restore": lambda: parker.restore(process, {}),
        "unlock": lambda: parker.unlock(process),
        "states": lambda: parker.states([process]),
    }


async def state(world: ParkWorld, process: Process) -> CudaState | None:
    return (await world.parker.states([process])).get(process.pid)


async def test_a_process_is_parked_and_comes_back_where_it_was(world: ParkWorld) -> None:
    process = world.begin(a=2, b=3)
    assert await state(world, process) is S.RUNNING
    await world.parker.lock(process, 1.0)
    assert await state(world, process) is S.LOCKED
    assert world.on_cards() == {(A, process.pid), (B, process.pid)}
    await world.parker.checkpoint(process, 5 << 30)
    assert await state(world, process) is S.CHECKPOINTED
    assert world.on_cards() == set()
    await world.parker.restore(process, {}, 5 << 30)
    assert await state(world, process) is S.LOCKED
    assert world.on_cards() == {(A, process.pid), (B, process.pid)}
    await world.parker.unlock(process)
    assert await state(world, process) is S.RUNNING
    assert world.calls() == [(call, process.pid) for call in ("lock", "checkpoint", "restore", "unlock")]


async def test_it_comes_back_on_another_card_of_the_kind(world: ParkWorld) -> None:
    process = world.begin(a=2)
    await parked(world, process)
    await world.parker.restore(process, {A: B})
    assert world.on_cards() == {(B, process.pid)}


async def test_all_its_cards_are_in_the_moves_or_none(world: ParkWorld) -> None:
    process = world.begin(a=2, b=1)
    await parked(world, process)
    with pytest.raises(HostUnfit):
        await world.parker.restore(process, {A: OTHER})
    assert await state(world, process) is S.CHECKPOINTED
    await world.parker.restore(process, {A: B, B: A})
    assert world.on_cards() == {(A, process.pid), (B, process.pid)}


async def test_which_cards_it_reaches(world: ParkWorld) -> None:
    process = world.begin(a=2)
    world.reachable(A, B)
    assert await world.parker.reaches(process, [A, B]) == {A, B}


async def test_a_driver_that_moves_nobody_reaches_none(world: ParkWorld) -> None:
    process = world.begin(a=2)
    world.reachable()
    assert await world.parker.reaches(process, [A, B]) == frozenset()


async def test_who_has_no_context_or_is_gone_has_no_state(world: ParkWorld) -> None:
    process, plain, ended = world.begin(a=1), world.plain(), world.begin(a=1)
    world.end(ended)
    assert await world.parker.states([process, plain, ended]) == {process.pid: S.RUNNING}
    assert await world.parker.states([]) == {}


async def test_who_is_gone_is_named_so(world: ParkWorld) -> None:
    process = world.begin(a=1)
    await world.parker.lock(process, 1.0)
    world.end(process)
    with pytest.raises(NotFound) as caught:
        await world.parker.checkpoint(process)
    assert caught.value.code == "process_gone"


async def test_work_that_does_not_end_is_not_stopped(world: ParkWorld) -> None:
    process = world.begin(a=1)
    world.busy(process)
    with pytest.raises(Conflict) as caught:
        await world.parker.lock(process, 0.05)
    assert caught.value.code == "gpu_busy"
    assert await state(world, process) is S.RUNNING


async def test_what_the_driver_does_not_support_leaves_it_locked(world: ParkWorld) -> None:
    process = world.begin(a=1)
    world.refuse("checkpoint", process)
    await world.parker.lock(process, 1.0)
    with pytest.raises(HostUnfit) as caught:
        await world.parker.checkpoint(process)
    assert caught.value.code == "cannot_park"
    assert await state(world, process) is S.LOCKED
    await world.parker.unlock(process)
    assert await state(world, process) is S.RUNNING


async def test_a_restore_without_room_leaves_the_checkpoint(world: ParkWorld) -> None:
    process = world.begin(a=2)
    await parked(world, process)
    world.full(A)
    with pytest.raises(NoCapacity) as caught:
        await world.parker.restore(process, {})
    assert caught.value.code == "gpu_memory"
    assert await state(world, process) is S.CHECKPOINTED
    world.empty(A)
    await world.parker.restore(process, {})
    assert world.on_cards() == {(A, process.pid)}


@pytest.mark.parametrize("call", ["checkpoint", "restore", "unlock"])
async def test_a_call_in_the_wrong_state_changes_nothing(world: ParkWorld, call: str) -> None:
    process = world.begin(a=1)
    with pytest.raises(Conflict) as caught:
        await steps_of(world, process)[call]()
    assert caught.value.code == "cuda_state"
    assert await state(world, process) is S.RUNNING


@pytest.mark.parametrize("call", ["lock", "checkpoint", "restore", "unlock", "states"])
async def test_a_silent_driver_raises_and_is_asked_again(world: ParkWorld, call: str) -> None:
    process = world.begin(a=1)
    steps = steps_of(world, process)
    for before in CALLS[: CALLS.index(call)] if call in CALLS else ():
        await steps[before]()
    world.silence(call)
    with pytest.raises(Deadline) as caught:
        await steps[call]()
    assert caught.value.retryable
    await world.speak()
    await steps[call]()


async def test_one_that_hangs_holds_up_nobody_else(world: ParkWorld) -> None:
    stuck, well = world.begin(a=1), world.begin(b=1)
    world.silence("checkpoint")
    await world.parker.lock(stuck, 1.0)
    waiting = asyncio.create_task(world.parker.checkpoint(stuck))
    await world.parker.lock(well, 1.0)
    assert await state(world, well) is S.LOCKED
    await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(waiting.exception(), Deadline)


async def test_a_driver_that_is_too_old_is_an_obstacle_in_words(world: ParkWorld) -> None:
    world.old()
    assert "too old" in await world.parker.obstacle()


async def test_a_box_that_can_park_has_no_obstacle(world: ParkWorld) -> None:
    assert await world.parker.obstacle() == ""


async def test_many_at_once(world: ParkWorld) -> None:
    processes = [world.begin(a=1) for _ in range(5)]
    await asyncio.gather(*(parked(world, process) for process in processes))
    assert set((await world.parker.states(processes)).values()) == {S.CHECKPOINTED}
    assert world.on_cards() == set()
