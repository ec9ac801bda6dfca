"""What `idle.ports.GpuWork` promises, asked of the fake and of the simulated NVML through the real helper process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from nbd.errors import Deadline, Unreachable
from nbd.gpus.model import GIB
from nbd.host.gpuwork import NvmlWork
from nbd.host.nvml import NvmlCards
from nbd.host.simulated.simulate import SimulatedCard, SimulatedInstance, put_busy, put_processes
from nbd.idle.model import CardUse, GpuLook, GpuUse
from nbd.idle.ports import GpuWork
from tests.fakes.idle_sources import FakeGpuWork
from tests.host.simulated_box import SimulatedBox, simulated_box

CARD = SimulatedCard("GPU-aaaa", used_bytes=3 * GIB, utilisation_percent=63)
OLD = SimulatedCard("GPU-bbbb", used_bytes=GIB, utilisation_percent=5, busy=None)
SLICE = SimulatedInstance("MIG-1", 1, 10 * GIB, {4713: GIB})
CUT = SimulatedCard("GPU-cccc", utilisation_percent=None, used_bytes=None, busy=None, mig=True, instances=(SLICE,))
LIST = "nvmlDeviceGetComputeRunningProcesses_v3"
NOT_SUPPORTED = 3


class Box(Protocol):
    @property
    def work(self) -> GpuWork: ...

    def show(self, *cards: SimulatedCard) -> None: ...

    def fail(self, kind: str) -> None: ...

    def recover(self) -> None: ...


class FakeBox:
    def __init__(self) -> None:
        self.work = FakeGpuWork()

    def show(self, *cards: SimulatedCard) -> None:
        shown = [look_of(card) for card in cards]
        self.work.shown = GpuLook(
            tuple(use for look in shown for use in look.cards),
            tuple(use for look in shown for use in look.processes),
            {card: why for look in shown for card, why in look.silent.items()},
        )

    def fail(self, kind: str) -> None:
        self.work.failure = {"silent": Deadline("it did not answer"), "broken": Unreachable("it cannot be asked")}[kind]

    def recover(self) -> None:
        self.work.failure = None


class RealBox:
    def __init__(self, box: SimulatedBox) -> None:
        self._box = box
        self.work = NvmlWork(box.door)

    def show(self, *cards: SimulatedCard) -> None:
        self._box.put(*cards)

    def fail(self, kind: str) -> None:
        self._box.silence() if kind == "silent" else self._box.break_down()

    def recover(self) -> None:
        self._box.recover()


def look_of(card: SimulatedCard) -> GpuLook:
    """What must be said of one card."""
    if any("error *" in fault for fault in card.faults):
        return GpuLook(silent={card.uuid: "GPU is lost"})
    if any(LIST in fault for fault in card.faults):
        return GpuLook((CardUse(card.uuid, share(card), card.used_bytes),), silent={card.uuid: "it does not say"})
    on = {pid: GpuUse(card.uuid, pid, used(card.busy, pid), size) for pid, size in card.processes.items()}
    cut = [CardUse(one.uuid, None, sum(size or 0 for size in one.processes.values())) for one in card.instances]
    there = [GpuUse(one.uuid, pid, None, size) for one in card.instances for pid, size in one.processes.items()]
    return GpuLook((CardUse(card.uuid, share(card), card.used_bytes), *cut), (*on.values(), *there))


def share(card: SimulatedCard) -> float | None:
    return None if card.utilisation_percent is None else card.utilisation_percent / 100


def used(busy: Mapping[int, int] | None, pid: int) -> float | None:
    return None if busy is None else busy.get(pid, 0) / 100


@asynccontextmanager
async def fake_box(folder: Path) -> AsyncIterator[Box]:
    yield FakeBox()


@asynccontextmanager
async def driver_box(folder: Path) -> AsyncIterator[Box]:
    async with simulated_box(folder) as box:
        yield RealBox(box)


@pytest.fixture(params=[fake_box, driver_box], ids=["fake", "simulated"])
async def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Box]:
    async with request.param(tmp_path_factory.getbasetemp() / "simulated-gpus") as made:
        yield made


def nameless(look: GpuLook) -> set[GpuUse]:
    return {replace(use, name="") for use in look.processes}


async def test_who_works_and_who_only_holds_memory(box: Box) -> None:
    box.show(replace(CARD, processes={4711: 2 * GIB, 4712: GIB}, busy={4711: 63}))
    look = await box.work.look()
    assert nameless(look) == {GpuUse("GPU-aaaa", 4711, 0.63, 2 * GIB), GpuUse("GPU-aaaa", 4712, 0.0, GIB)}
    assert look.cards == (CardUse("GPU-aaaa", 0.63, 3 * GIB),)
    assert look.silent == {}


async def test_nobody_works(box: Box) -> None:
    box.show(replace(CARD, processes={4711: GIB}))
    assert nameless(await box.work.look()) == {GpuUse("GPU-aaaa", 4711, 0.0, GIB)}


async def test_a_card_without_figures_of_processes_says_unknown_and_never_zero(box: Box) -> None:
    box.show(replace(OLD, processes={4711: GIB}))
    look = await box.work.look()
    assert nameless(look) == {GpuUse("GPU-bbbb", 4711, None, GIB)}
    assert look.cards == (CardUse("GPU-bbbb", 0.05, GIB),)


async def test_of_an_instance_presence_and_memory_are_told(box: Box) -> None:
    box.show(CUT)
    look = await box.work.look()
    assert nameless(look) == {GpuUse("MIG-1", 4713, None, GIB)}
    assert set(look.cards) == {CardUse("GPU-cccc", None, None), CardUse("MIG-1", None, GIB)}


async def test_a_card_that_does_not_say_who_is_on_it_is_named(box: Box) -> None:
    box.show(replace(CARD, faults=(f"error {LIST} {NOT_SUPPORTED}",)), replace(OLD, processes={4711: GIB}))
    look = await box.work.look()
    assert set(look.silent) == {"GPU-aaaa"}
    assert nameless(look) == {GpuUse("GPU-bbbb", 4711, None, GIB)}


async def test_a_lost_card_concerns_no_other(box: Box) -> None:
    box.show(CARD, replace(OLD, processes={4711: GIB}))
    await box.work.look()
    box.show(replace(CARD, faults=("error * 15",)), replace(OLD, processes={4711: GIB}))
    look = await box.work.look()
    assert set(look.silent) == {"GPU-aaaa"}
    assert "lost" in look.silent["GPU-aaaa"]
    assert [use.card for use in look.cards] == ["GPU-bbbb"]
    assert nameless(look) == {GpuUse("GPU-bbbb", 4711, None, GIB)}


async def test_a_box_without_gpus_is_no_error(box: Box) -> None:
    box.show()
    assert await box.work.look() == GpuLook()


@pytest.mark.parametrize(("kind", "error"), [("silent", Deadline), ("broken", Unreachable)])
async def test_a_driver_that_fails_raises_and_is_asked_again(box: Box, kind: str, error: type[Unreachable]) -> None:
    box.show(replace(CARD, processes={4711: GIB}, busy={4711: 63}))
    await box.work.look()
    box.fail(kind)
    with pytest.raises(error):
        await box.work.look()
    box.recover()
    assert nameless(await answered(box)) == {GpuUse("GPU-aaaa", 4711, 0.63, GIB)}


async def answered(box: Box) -> GpuLook:
    """Until the back-off is over, calls may go on failing."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await box.work.look()
            except Unreachable:
                await asyncio.sleep(0.01)


@pytest.fixture
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SimulatedBox]:
    async with simulated_box(tmp_path_factory.getbasetemp() / "simulated-gpus") as made:
        yield made


async def shares(cards: NvmlCards) -> dict[int | None, float | None]:
    return {use.pid: use.share for use in (await cards.work()).processes}


async def test_work_is_told_once(driver: SimulatedBox) -> None:
    """It was done before the last look: at this one nobody works any more."""
    moment = round(time.time() * 1e6) - 5_000_000
    driver.put(replace(CARD, processes={4711: GIB}, busy=None, faults=("samples", f"busy 4711 63 {moment}")))
    assert await shares(driver.door) == {4711: 0.63}
    assert await shares(driver.door) == {4711: 0.0}
    driver.put(replace(CARD, processes={4711: GIB}, busy=None, faults=("samples", f"busy 4711 40 {moment + 1}")))
    assert await shares(driver.door) == {4711: 0.4}


async def test_after_the_clock_was_set_back_work_is_still_found(driver: SimulatedBox) -> None:
    """What was seen last lies an hour ahead of the clock now."""
    ahead = round(time.time() * 1e6) + 3_600_000_000
    driver.put(replace(CARD, processes={4711: GIB}, busy=None, faults=("samples", f"busy 4711 63 {ahead}")))
    assert await shares(driver.door) == {4711: 0.63}
    driver.put(replace(CARD, processes={4711: GIB}, busy={4711: 20}))
    for _ in range(3):
        assert await shares(driver.door) == {4711: 0.2}


async def test_who_worked_and_ended_is_told(driver: SimulatedBox) -> None:
    driver.put(replace(CARD, busy={4711: 63}))
    assert await shares(driver.door) == {4711: 0.63}


async def test_a_figure_that_cannot_be_is_none(driver: SimulatedBox) -> None:
    """Seen of real drivers: a hundred samples of processes that are not there, each with a random share."""
    driver.put(replace(CARD, processes={4711: GIB}, busy={4711: 4294967295, 0: 50, 99: 12345}))
    assert await shares(driver.door) == {4711: None}


async def test_more_processes_between_two_questions_are_no_failure(driver: SimulatedBox) -> None:
    driver.put(replace(CARD, processes={4711: GIB}, faults=("error nvmlDeviceGetProcessUtilization 7",)))
    assert await shares(driver.door) == {4711: None}


async def test_accounting_proves_work_and_never_idleness(driver: SimulatedBox) -> None:
    started = round(time.time() * 1e6) - 3_600_000_000
    driver.put(replace(OLD, processes={4711: GIB}, accounts={4711: (40, started)}))
    assert await shares(driver.door) == {4711: None}
    assert await shares(driver.door) == {4711: None}
    driver.put(replace(OLD, processes={4711: GIB}, accounts={4711: (41, started)}))
    risen = (await shares(driver.door))[4711]
    assert risen is not None
    assert risen >= 0.4


async def test_processes_are_named_as_they_call_themselves(driver: SimulatedBox, tmp_path: Path) -> None:
    for pid, name in ((4711, "python\n"), (4712, "a\x1b[2Jb\r\nc")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "comm").write_text(name, newline="")
    driver.put(replace(CARD, processes=dict.fromkeys((4711, 4712, 4713), GIB)))
    named = {use.pid: use.name for use in (await NvmlWork(driver.door, tmp_path).look()).processes}
    assert named == {4711: "python", 4712: "a[2Jbc", 4713: ""}


async def test_real_pids_can_be_put_to_work(driver: SimulatedBox) -> None:
    """What tests of the whole use: the box's file is rewritten while nbd runs."""
    driver.put(CARD, CUT)
    put_processes(driver.file, "GPU-aaaa", {4711: GIB})
    put_busy(driver.file, "GPU-aaaa", {4711: 63})
    assert await shares(driver.door) == {4711: 0.63, 4713: None}
    put_busy(driver.file, "GPU-aaaa", {})
    assert await shares(driver.door) == {4711: 0.0, 4713: None}


async def test_a_driver_that_goes_away_under_the_cards_is_not_nobody(driver: SimulatedBox) -> None:
    driver.put(CARD)
    await driver.door.work()
    driver.unload()
    with pytest.raises(Unreachable):
        await driver.door.work()
