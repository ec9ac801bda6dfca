"""What `gpus.ports.Cards` promises, asked of the fake driver and of the simulated NVML through the real helper process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from nbd.errors import Deadline, Unreachable
from nbd.gpus.model import GIB, MIB, Card
from nbd.gpus.ports import CardProcess, Cards, DriverFacts, Reading
from tests.fakes.driver import FakeDriver
from tests.host.simulated_box import simulated_box

A = Card("GPU-aaaaaaaa", "NVIDIA RTX A4000", 16376 * MIB, numa_node=0)
B = Card("GPU-bbbbbbbb", "NVIDIA GeForce RTX 4090", 24564 * MIB, numa_node=1)
LINKED = (replace(A, nvlink_peers=(B.uuid,)), replace(B, nvlink_peers=(A.uuid,)))
CUT = Card("GPU-cccccccc", "NVIDIA A100-SXM4-80GB", 81920 * MIB)
SLICES = (
    Card("MIG-1", f"{CUT.name} MIG 1g.10gb", 9728 * MIB, mig_profile="1g.10gb", parent=CUT.uuid),
    Card("MIG-2", f"{CUT.name} MIG 3g.40gb", 40192 * MIB, mig_profile="3g.40gb", parent=CUT.uuid),
)


class Box(Protocol):
    """A machine whose cards a test can change while they are being asked."""

    @property
    def door(self) -> Cards: ...

    def show(self, cards: Sequence[Card], processes: Iterable[CardProcess] = (), readings: Iterable[Reading] = ()) -> None: ...

    def lose(self, uuid: str) -> None: ...

    def silence(self) -> None: ...

    def break_down(self) -> None: ...

    def unload(self) -> None: ...

    def recover(self) -> None: ...


class FakeBox:
    def __init__(self) -> None:
        self.door = FakeDriver()

    def show(self, cards: Sequence[Card], processes: Iterable[CardProcess] = (), readings: Iterable[Reading] = ()) -> None:
        self.door.present, self.door.running, self.door.shown = list(cards), list(processes), list(readings)
        self.door.facts = DriverFacts("550.90.07", simulated=False, reason="" if cards else "no NVIDIA GPU in this box")

    def lose(self, uuid: str) -> None:
        self.door.lose(uuid)

    def silence(self) -> None:
        self.door.failure = Deadline("the NVIDIA driver did not answer")

    def break_down(self) -> None:
        self.door.failure = Unreachable("the NVIDIA driver cannot be asked")

    def unload(self) -> None:
        self.show([])
        self.door.facts = DriverFacts(None, simulated=False, reason="the NVIDIA driver is not loaded")

    def recover(self) -> None:
        self.door.failure = None


@asynccontextmanager
async def fake_box(folder: Path) -> AsyncIterator[Box]:
    yield FakeBox()


@pytest.fixture(params=[fake_box, simulated_box], ids=["fake", "simulated"])
async def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Box]:
    folder = tmp_path_factory.getbasetemp() / "simulated-gpus"  # one for all tests, so that the library is compiled once
    async with request.param(folder) as made:
        yield made


@pytest.mark.parametrize("cards", [(A, B), LINKED, (CUT, *SLICES), (replace(A, numa_node=-1),)], ids=["two", "linked", "mig", "no numa"])
async def test_the_cards_as_they_are(box: Box, cards: Sequence[Card]) -> None:
    box.show(cards)
    assert tuple(await box.door.cards()) == tuple(cards)
    assert (await box.door.driver()).reason == ""
    assert (await box.door.driver()).version == "550.90.07"


async def test_memory_that_the_driver_cannot_tell_is_unknown(box: Box) -> None:
    box.show([replace(A, memory_bytes=0, memory_known=False)])
    (card,) = await box.door.cards()
    assert not card.memory_known
    assert card.quarantine is None


async def test_who_is_on_the_cards(box: Box) -> None:
    running = {CardProcess(A.uuid, 4711, GIB), CardProcess(A.uuid, 4712, None), CardProcess("MIG-2", 4713, None)}
    box.show([A, CUT, *SLICES], running)
    assert set(await box.door.processes()) == running


async def test_what_the_cards_are_doing(box: Box) -> None:
    busy = Reading(A.uuid, used_bytes=9 * GIB, utilisation=0.97, temperature_celsius=81, power_watts=139.5)
    box.show([A, B], readings=[busy, Reading(B.uuid, used_bytes=0)])
    assert set(await box.door.readings()) == {busy, Reading(B.uuid, used_bytes=0)}


async def test_a_change_is_seen_at_the_next_call(box: Box) -> None:
    box.show([A])
    assert tuple(await box.door.cards()) == (A,)
    box.show([B, A], [CardProcess(B.uuid, 1, 0)])
    assert tuple(await box.door.cards()) == (B, A)
    assert tuple(await box.door.processes()) == (CardProcess(B.uuid, 1, 0),)


async def test_a_box_without_gpus_is_no_error(box: Box) -> None:
    box.show([])
    assert tuple(await box.door.cards()) == ()
    assert tuple(await box.door.processes()) == ()
    assert tuple(await box.door.readings()) == ()
    assert "no NVIDIA GPU" in (await box.door.driver()).reason


async def test_a_box_whose_driver_is_not_loaded_is_one_without_gpus(box: Box) -> None:
    box.unload()
    assert tuple(await box.door.cards()) == ()
    facts = await box.door.driver()
    assert facts.version is None
    assert "not loaded" in facts.reason


async def test_a_lost_card_concerns_no_other(box: Box) -> None:
    box.show([A, B], [CardProcess(A.uuid, 4711, GIB), CardProcess(B.uuid, 4712, GIB)], [Reading(A.uuid, 0), Reading(B.uuid, 0)])
    assert tuple(await box.door.cards()) == (A, B)
    box.lose(A.uuid)
    lost, well = await box.door.cards()
    assert lost == replace(A, quarantine=lost.quarantine)
    assert "GPU is lost" in (lost.quarantine or "")
    assert well == B
    assert set(await box.door.processes()) == {CardProcess(A.uuid, None), CardProcess(B.uuid, 4712, GIB)}
    assert [reading.card for reading in await box.door.readings()] == [B.uuid]
    assert (await box.door.driver()).reason == ""


@pytest.mark.parametrize("ask", ["cards", "processes", "readings"])
async def test_a_silent_driver_raises_and_is_asked_again(box: Box, ask: str) -> None:
    box.show([A])
    call: Callable[[], Awaitable[object]] = getattr(box.door, ask)
    box.silence()
    with pytest.raises(Deadline) as caught:
        await call()
    assert caught.value.retryable
    facts = await box.door.driver()
    assert facts.version is None
    assert "did not answer" in facts.reason
    box.recover()
    await answers(box)


async def test_a_driver_that_cannot_be_asked_raises_and_is_asked_again(box: Box) -> None:
    box.show([A])
    assert tuple(await box.door.cards()) == (A,)
    box.break_down()
    with pytest.raises(Unreachable):
        await box.door.processes()
    assert "cannot be asked" in (await box.door.driver()).reason
    box.recover()
    await answers(box)


async def test_many_ask_at_once(box: Box) -> None:
    box.show([A, B], [CardProcess(A.uuid, 4711, GIB)])
    cards, processes = await asyncio.gather(
        asyncio.gather(*(box.door.cards() for _ in range(20))), asyncio.gather(*(box.door.processes() for _ in range(20)))
    )
    assert {tuple(seen) for seen in cards} == {(A, B)}
    assert {tuple(seen) for seen in processes} == {(CardProcess(A.uuid, 4711, GIB),)}


async def answers(box: Box) -> None:
    """Until the back-off is over, calls may go on failing."""
    async with asyncio.timeout(10):
        while (await box.door.driver()).reason:
            await asyncio.sleep(0.01)
    assert tuple(await box.door.cards()) == (A,)
