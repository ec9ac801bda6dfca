"""Random lives of a home: whatever is done to it, a restored snapshot is what it was, also with nothing but a hint of what was dirty.

Two drivers lead them: seeds, for long lives, and Hypothesis, which finds the shortest life that goes wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from .life import NAMES, WEIGHTS
from .lived import KEEPING, Lived
from .world import SOAK, in_memory, without_threads

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent.parent
OPERATIONS, SEEDS, TOGETHER = 2000, 30 * SOAK, 3
RUNS, STEPS = 10 * SOAK, 40
ALL = {name: 2 * weight for name, weight in WEIGHTS.items()} | KEEPING


async def lead(folders: tuple[Path, Path], seed: int, operations: int) -> Counter[str]:
    """A life of so many operations that took effect; which they were. The folders are for the home, and for what comes back."""
    chance, done = random.Random(seed), Counter[str]()
    lived = await Lived.born(*folders)
    names, weights = list(ALL), list(ALL.values())

    def path() -> bytes:
        some = chance.choices(NAMES, k=chance.choice((1, 1, 2, 2, 3)))
        return chance.choice(lived.paths) if chance.random() < 0.5 else b"/".join(some)

    while done.total() < operations:
        name = chance.choices(names, weights)[0]
        done[name] += await lived.act(name, path(), path(), chance.randrange(1 << 30))
        if len(lived.paths) > 70:
            done["remove"] += await lived.act("remove", chance.choice(lived.paths).split(b"/")[0], b"", 0)
    await lived.end()
    assert lived.restored > operations / 100
    return done


async def long_life(seed: int, operations: int) -> Counter[str]:
    """Every other one on a disk, where inodes are used again and pages are written back; the rest in memory, where it is quick."""
    try:
        with tempfile.TemporaryDirectory(prefix="nbd-life-") as disk, in_memory(Path(disk)) as memory:
            return await lead((Path(disk) if seed % 2 else memory, memory), seed, operations)
    except BaseException as error:
        error.add_note(f"in the life of seed {seed}")
        raise


async def long_lives(seeds: Sequence[int], operations: int) -> Counter[str]:
    """Some at a time: each waits now and then for the kernel's clock to tick."""
    without_threads()
    done = Counter[str]()
    for start in range(0, len(seeds), TOGETHER):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(long_life(seed, operations)) for seed in seeds[start : start + TOGETHER]]
        done.update(name for task in tasks for name in task.result().elements())
    return done


def test_long_lives() -> None:
    """In as many processes as there are cores."""
    argv = [sys.executable, "-m", "tests.homes.test_model", str(OPERATIONS)]
    workers = min(os.cpu_count() or 1, 8)
    shares = [[str(seed) for seed in range(SEEDS)[worker::workers]] for worker in range(workers)]
    processes = [subprocess.Popen([*argv, *share], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for share in shares]
    with ThreadPoolExecutor(workers) as pool:
        answers = list(pool.map(lambda process: process.communicate(), processes))
    assert [process.returncode for process in processes] == [0] * workers, "\n".join(errors for _, errors in answers)
    done = sum((Counter(json.loads(found)) for found, _ in answers), Counter())
    assert done.total() >= OPERATIONS * SEEDS
    assert done.keys() == ALL.keys(), "each of them took effect"


PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)


class Short(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="nbd-life-"))
        self.lived = self.run(Lived.born(self.folder, self.folder))

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    @rule(name=st.sampled_from(sorted(WEIGHTS)), path=PATHS, other=PATHS, number=st.integers(0, 1 << 30))
    def do(self, name: str, path: bytes, other: bytes, number: int) -> None:
        self.run(self.lived.act(name, path, other, number))

    @rule(name=st.sampled_from(sorted(KEEPING)), number=st.integers(0, 1000))
    def keep(self, name: str, number: int) -> None:
        self.run(self.lived.act(name, b"", b"", number))

    def teardown(self) -> None:
        self.run(self.lived.end())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)


Short.TestCase.settings = settings(max_examples=RUNS, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck))
TestShort = Short.TestCase


if __name__ == "__main__":
    print(json.dumps(+asyncio.run(long_lives([int(seed) for seed in sys.argv[2:]], int(sys.argv[1])))))
