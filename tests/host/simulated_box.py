"""A box with simulated cards and the real door to them: NvmlCards, its helper process, the unmodified nvidia-ml-py, our library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from nbd.gpus.model import Card
from nbd.gpus.ports import CardProcess, Reading
from nbd.host.nvml import Deadlines, NvmlCards
from nbd.host.simulated.simulate import SimulatedCard, SimulatedInstance, compile_library, write_cards

QUICK = Deadlines(open=10.0, call=0.3, backoff=0.01, longest_backoff=0.05)
GPU_IS_LOST, UNKNOWN_ERROR, DRIVER_NOT_LOADED = 15, 999, 9


class SimulatedBox:
    """What the box is made of can be changed at any time; `door` sees it at its next call."""

    def __init__(self, library: Path, file: Path, deadlines: Deadlines = QUICK) -> None:
        self.file = file
        self.present: list[SimulatedCard] = []
        self.door = NvmlCards(library_folder=library.parent, simulated_box=file, deadlines=deadlines)
        self.put()

    def put(self, *cards: SimulatedCard, faults: Iterable[str] = ()) -> None:
        self.present = list(cards)
        write_cards(self.file, *cards, faults=faults)

    def trouble(self, *faults: str) -> None:
        """The same cards, and these faults of the driver as a whole and no others."""
        self.put(*self.present, faults=faults)

    def show(self, cards: Sequence[Card], processes: Iterable[CardProcess] = (), readings: Iterable[Reading] = ()) -> None:
        self.put(*simulated(cards, list(processes), {reading.card: reading for reading in readings}))

    def lose(self, uuid: str) -> None:
        self.put(*(replace(card, faults=(f"error * {GPU_IS_LOST}",)) if card.uuid == uuid else card for card in self.present))

    def silence(self) -> None:
        self.trouble("hang nvmlDeviceGetCount_v2")

    def break_down(self) -> None:
        self.trouble(f"error nvmlDeviceGetCount_v2 {UNKNOWN_ERROR}")

    def unload(self) -> None:
        self.trouble(f"error * {DRIVER_NOT_LOADED}")

    def recover(self) -> None:
        self.trouble()


@asynccontextmanager
async def simulated_box(folder: Path, deadlines: Deadlines = QUICK) -> AsyncIterator[SimulatedBox]:
    box = SimulatedBox(compile_library(folder), folder / "box", deadlines)
    try:
        yield box
    finally:
        await box.door.close()


def simulated(cards: Sequence[Card], processes: Sequence[CardProcess], readings: dict[str, Reading]) -> list[SimulatedCard]:
    whole = [card for card in cards if card.parent is None]
    address = {card.uuid: f"00000000:{0x3B + number:02X}:00.0" for number, card in enumerate(whole)}

    def on(uuid: str) -> dict[int, int | None]:
        return {process.pid: process.memory_bytes for process in processes if process.card == uuid and process.pid is not None}

    def instances(parent: Card) -> tuple[SimulatedInstance, ...]:
        cut = [card for card in cards if card.parent == parent.uuid]
        return tuple(SimulatedInstance(card.uuid, slices_of(card), card.memory_bytes, on(card.uuid)) for card in cut)

    def played(card: Card) -> SimulatedCard:
        reading = readings.get(card.uuid, Reading(card.uuid))
        return SimulatedCard(
            uuid=card.uuid,
            name=card.name,
            memory_bytes=card.memory_bytes if card.memory_known else None,
            used_bytes=reading.used_bytes if reading.used_bytes is not None else 0,
            utilisation_percent=None if reading.utilisation is None else round(reading.utilisation * 100),
            temperature_celsius=reading.temperature_celsius,
            power_watts=reading.power_watts,
            numa_node=card.numa_node if card.numa_node >= 0 else None,
            address=address[card.uuid],
            links=tuple(address[peer] for peer in card.nvlink_peers),
            mig=True if instances(card) else None,
            instances=instances(card),
            processes=on(card.uuid),
        )

    return [played(card) for card in whole]


def slices_of(card: Card) -> int:
    return int((card.mig_profile or "1g").split("g")[0])
