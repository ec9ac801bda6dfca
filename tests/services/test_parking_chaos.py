"""Parks and unparks in any order while the driver fails at random and core is killed at random: in the end everything is whole."""

from __future__ import annotations

import os
import random

import pytest

from nbd.errors import NbdError
from nbd.gpus.model import Request
from nbd.notebooks.model import State
from tests.services.parkhouse import A, B, C, Killed, ParkHouse
from tests.services.test_parking import FAILURES

SIZES = {"nb": (4, 2, 3), "second": (5,)}
SEEDS = int(os.environ.get("NBD_SOAK", "0")) * 1000 or 60


class Chaos:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.failed = 0

    def __call__(self, moment: str, call: str, pid: int) -> None:
        roll = self._chance.random()
        if roll < 0.02:
            self.failed += 1
            raise Killed
        if roll < 0.12:
            self.failed += 1
            raise self._chance.choice(list(FAILURES.values()))


async def deed(house: ParkHouse, chance: random.Random) -> None:
    name = chance.choice(list(SIZES))
    if name == "nb" and house.state("nb") is State.PARKED and chance.random() < 0.2:
        await house.pool.lease("guest", "bob/guest", Request(only=(A,)))
    if house.waits_for_another(name):
        await house.pool.release("guest", ())
    await chance.choice([house.parking.park, house.parking.unpark, house.parking.recover, house.parking.mend])(name)


@pytest.mark.parametrize("block", range(0, SEEDS, 20))
async def test_whatever_happens_in_whatever_order_all_is_whole_in_the_end(block: int) -> None:
    failed = 0
    for seed in range(block, block + 20):
        chance = random.Random(seed)
        house = ParkHouse()
        await house.notebook("nb", {A: 4, B: 2}, {B: 3})
        await house.notebook("second", {C: 5})
        chaos = Chaos(chance)
        for _ in range(8):
            house.cuda.hook = chaos
            try:
                await deed(house, chance)
            except NbdError:
                house.later += chance.choice([0.0, 60.0])
            except Killed:
                house.build()
                await house.roster.load()
        failed += chaos.failed
        house.cuda.hook = lambda moment, call, pid: None
        await house.pool.release("guest", ())
        await house.restarted()
        for name, sizes in SIZES.items():
            await house.is_whole(name, sizes)
    assert failed > 30
