"""A hundred random repositories are read by the program that shares no code with nbd: the newest snapshot, an old one, and without pointer and
indexes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from . import independent_reader
from .life import NAMES, WEIGHTS
from .lived import Lived, expected
from .world import MASTER, SOAK, Tree, different, in_memory, look, without_threads

REPOSITORIES, TOGETHER = 100 * SOAK, 10
MOMENTS, CHANGES = 4, 40


async def moments(lived: Lived, chance: random.Random) -> dict[str, Tree]:
    """What each kept snapshot holds."""
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    for number in range(MOMENTS):
        for _ in range(CHANGES):
            paths = [b"/".join(chance.choices(NAMES, k=chance.choice((1, 1, 2, 3)))) for _ in range(2)]
            await lived.act(chance.choices(names, weights)[0], paths[0], paths[1], chance.randrange(1 << 30))
        await lived.snapshot(4 * number + 2)
        if chance.random() < 0.3:
            await lived.prune(chance.choice((1, 2, 3)))
    return {name: tree for name, (_, tree, _) in lived.acked.items()}


def read(folder: Path, snapshot: str, *, salvage: bool) -> Tree:
    target = folder / "read"
    independent_reader.restore(folder / "store", MASTER, target, snapshot, salvage=salvage)
    found = expected(look(target))
    shutil.rmtree(target)
    return found


@pytest.mark.parametrize("group", range(REPOSITORIES // TOGETHER))
async def test_it_reads_whatever_nbd_writes(tmp_path: Path, group: int) -> None:
    without_threads()
    for seed in range(group * TOGETHER, (group + 1) * TOGETHER):
        with in_memory(tmp_path) as memory:
            chance, lived = random.Random(seed), await Lived.born(memory, memory)
            kept = await moments(lived, chance)
            newest, old = list(kept)[-1], chance.choice(list(kept))
            lived.store.dump(memory / "store")
            assert different(read(memory, "", salvage=False), kept[newest]) == {}, seed
            assert different(read(memory, old, salvage=False), kept[old]) == {}, seed
            (memory / "store/latest").unlink()
            shutil.rmtree(memory / "store/index")
            assert different(read(memory, newest, salvage=True), kept[newest]) == {}, seed
            lived.hand.close()
