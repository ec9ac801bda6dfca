"""The far end of the GPU slice, faked: a driver that can fail and fall silent on demand, and CDI specs that can be missing.

Passes tests/contracts/test_cards.py. Each call gives way to other tasks, as a real one does: races show only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeVar

from nbd.gpus.model import Card
from nbd.gpus.ports import CardProcess, DriverFacts, Reading, SpecProblem

T = TypeVar("T")


class FakeDriver:
    def __init__(self, *cards: Card) -> None:
        self.present = list(cards)
        self.running: list[CardProcess] = []
        self.shown: list[Reading] = []
        self.facts = DriverFacts("550.90.07", simulated=False, reason="" if cards else "no NVIDIA GPU in this box")
        self.failure: Exception | None = None

    async def cards(self) -> Sequence[Card]:
        return await self._answer(self.present)

    async def processes(self) -> Sequence[CardProcess]:
        return await self._answer(self.running)

    async def readings(self) -> Sequence[Reading]:
        return await self._answer(self.shown)

    async def driver(self) -> DriverFacts:
        return replace(self.facts, version=None, reason=str(self.failure)) if self.failure else self.facts

    def lose(self, uuid: str, reason: str = "GPU is lost") -> None:
        """The card falls off the bus: it is shown as unfit, and nobody can say who is on it."""
        self.present = [replace(card, quarantine=reason) if card.uuid == uuid else card for card in self.present]
        self.running = [process for process in self.running if process.card != uuid] + [CardProcess(uuid, pid=None)]
        self.shown = [reading for reading in self.shown if reading.card != uuid]

    async def _answer(self, value: list[T]) -> list[T]:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return list(value)


class FakeSpecs:
    """Every card is in the CDI specs, until a test says what is wrong with them."""

    def __init__(self) -> None:
        self.wrong: SpecProblem | None = None

    async def problem(self, uuids: Collection[str], driver_version: str | None) -> SpecProblem | None:
        await asyncio.sleep(0)
        return self.wrong
