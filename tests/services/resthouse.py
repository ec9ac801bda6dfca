"""A household that can also park and freeze: the whole of it over the fake machine, the fake driver and the fake freezer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nbd.coreidle import Household as Notebooks
from nbd.coreidle import around
from nbd.gpus.model import GIB
from nbd.gpus.ports import CardProcess
from nbd.notebooks.model import Notebook
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.freezing import Freezing
from nbd.notebooks.rest.park_survey import ParkParts
from nbd.notebooks.rest.parking import Parking
from nbd.notebooks.rest.service import Resting
from nbd.notebooks.rest.tasks import Crafts
from tests.fakes.cuda import FakeCuda
from tests.fakes.machine import FakeMachine
from tests.services.parkhouse import QUICK, FakeMemory

from .household import Household


@dataclass
class MachinePids:
    machine: FakeMachine

    def of_container(self, container: str) -> Collection[int]:
        box = self.machine.boxes.get(container)
        return frozenset({box.pid}) if box and box.state == "running" else frozenset()

    def of_pid(self, pid: int, container: str) -> Process | None:
        return Process(pid, 1) if pid in self.of_container(container) else None


@dataclass
class RestHouse(Household):
    boot: str = "boot-1"

    def __post_init__(self) -> None:
        self.cuda = FakeCuda(self.driver)
        super().__post_init__()

    def build(self) -> None:
        super().build()
        parts, hands, lives = self.parts, self.hands, self.lives
        self.resting = resting = Resting(parts, self.roster, hands, lives, self.manager)
        park = ParkParts(self.cuda, self.driver, MachinePids(self.machine), FakeMemory(), parts.gpus, parts.leases, parts.clocks)
        surroundings = around(Notebooks(parts, self.roster, hands, lives, self.manager), resting)
        freezing = Freezing(self.roster, parts.containers, self.freezer, surroundings)
        self.parking = Parking(park, self.roster, resting.in_line, QUICK)
        resting.learn(Crafts(self.parking, freezing, self.boot))

    async def at_work(self, name: str = "main") -> Notebook:
        """Up, with a CUDA process on its card."""
        row = await self.up(name, "gpu")
        box = self.machine.boxes[str(row.container)]
        (card,) = [lease.card for lease in await self.leases.leases() if lease.notebook == row.id]
        self.cuda.begin(Process(box.pid, 1), CardProcess(card, box.pid, 4 * GIB))
        return row

    async def held(self) -> list[str]:
        return [lease.notebook for lease in await self.leases.leases()]
