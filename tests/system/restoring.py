"""A home that is restored again and again, and what must be so when one of these restores ends before its time."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from nbd.host.homewriter import ASIDE
from tests.homes.world import Tree, different, look

from .keptlife import KIM, Life
from .syncbox import SyncBox

SEED = 20261123


@dataclass
class Restoring:
    life: Life
    wanted: Tree
    snapshot: str
    to: Path
    """The person's. Each restore is into a new folder in it."""
    count: int = 0
    half: int = 0
    """It ended when something, and not all, was there."""

    @classmethod
    async def begin(cls, box: SyncBox, folder: Path, to: Path) -> Restoring:
        life = Life.begin(box, folder, SEED)
        for number in range(250):
            life.write(f"many{number % 7}/f{number}", life.draw.randrange(30_000))
        life.write("larger", 3 << 20)
        await life.save("whole")
        to.mkdir(exist_ok=True)
        os.chown(to, KIM, KIM)
        return cls(life, life.acked["whole"], (await box.snapshots(life.who))[0].id, to)

    def next(self) -> Path:
        self.count += 1
        return self.to / f"n{self.count}"

    async def moment(self, target: Path, asked: Callable[[], bool]) -> None:
        """Returns when so many names are there, or when it is over: what comes next is the kill."""
        many = self.life.draw.randrange(len(self.wanted))
        async with asyncio.timeout(20):
            while names_in(target) < many and not asked():
                await asyncio.sleep(0.002)

    async def again(self, target: Path) -> None:
        """To its end; then nothing tells that there ever was a kill."""
        done = await self.life.box.restore(self.life.who, target, self.snapshot)
        assert (done.done, done.skipped, done.damaged) == (True, (), ())
        assert not different(look(target), self.wanted)
        shutil.rmtree(target)

    def check(self, target: Path) -> None:
        """After a kill: whatever has a final name is as it was. Folders get their times and modes last."""
        found = look(target) if target.exists() else {}
        named = {path: one for path, one in found.items() if not path.rpartition(b"/")[2].startswith(ASIDE)}
        assert named.keys() <= self.wanted.keys()
        files = {path: one for path, one in named.items() if stat.S_ISREG(one[0])}
        assert not different(files, {path: self.wanted[path] for path in files})
        self.half += 0 < len(files) < sum(stat.S_ISREG(one[0]) for one in self.wanted.values())


def names_in(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def writers() -> list[psutil.Process]:
    """The processes that write for somebody, anywhere below us."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "nbd.host.restore_child" in one.cmdline():
                found.append(one)
    return found
