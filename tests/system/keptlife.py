"""A home that is worked in while sync is killed or starved, and the oracle: what was acknowledged, as it was at that moment."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from nbd.errors import NbdError
from nbd.notebooks.model import Occupant
from tests.homes.world import Tree, different, look

from .real_box import until
from .syncbox import SyncBox

KIM = 65021
"""Nobody's uid: a home needs no account to be kept."""
FOLDERS, FILES, LARGE = 6, 40, 1_500_000


@dataclass
class Life:
    box: SyncBox
    folder: Path
    draw: random.Random
    acked: dict[str, Tree] = field(default_factory=dict)
    """By the name of the snapshot."""
    tried: dict[str, Tree] = field(default_factory=dict)
    """Asked for, whether or not that was answered: such a snapshot may be there, and then it is right."""

    @classmethod
    def begin(cls, box: SyncBox, folder: Path, seed: int) -> Life:
        life = cls(box, folder, random.Random(seed))
        life.home.mkdir()
        os.chown(life.home, KIM, KIM)
        for number in range(FILES):
            life.write(f"d{number % FOLDERS}/f{number}", life.draw.randrange(20_000))
        life.write("large", LARGE)
        return life

    @property
    def who(self) -> Occupant:
        return Occupant("kim", KIM, KIM, str(self.folder / "home"))

    @property
    def home(self) -> Path:
        return Path(self.who.home)

    def write(self, name: str, size: int) -> None:
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.draw.randbytes(size))
        for one in (path, path.parent):
            os.chown(one, KIM, KIM)

    def work(self) -> None:
        """As between two saves: some files are new, some other, one gone, one elsewhere."""
        names = sorted(str(path.relative_to(self.home)) for path in self.home.glob("d*/f*"))
        for name in self.draw.sample(names, 6):
            self.write(name, self.draw.randrange(20_000))
        gone, moved = self.draw.sample(names, 2)
        (self.home / gone).unlink()
        (self.home / moved).rename(self.home / f"d0/f{self.draw.randrange(1_000_000)}")
        self.write(f"d{self.draw.randrange(FOLDERS)}/f{self.draw.randrange(1_000_000)}", self.draw.randrange(20_000))
        with open(self.home / "large", "r+b") as file:
            file.seek(self.draw.randrange(LARGE - 4096))
            file.write(self.draw.randbytes(4096))

    async def save(self, name: str) -> None:
        """Work, then a snapshot that is acknowledged. Raises as sync does."""
        self.work()
        await self.flush(name)

    async def flush(self, name: str) -> None:
        self.tried[name] = look(self.home)
        await self.box.flush(self.who, name=name)
        self.acked[name] = self.tried[name]

    async def save_in_passing(self) -> None:
        """One without a name: a prune may drop it."""
        self.work()
        await self.box.flush(self.who, event="save")

    async def save_and_kill(self, name: str, after: float) -> None:
        """The kill comes so long after the question; its moment is what this is about."""
        asked = asyncio.create_task(self.save(name))
        await asyncio.sleep(after)
        self.box.kill()
        asked.cancel()
        with suppress(asyncio.CancelledError, NbdError):
            await asked

    async def again(self) -> None:
        """Sync is started again, and does by itself what the one that was killed left undone."""
        self.box.up()
        async with asyncio.timeout(30):
            while (await self.box.status(self.who)).pending:
                await asyncio.sleep(0.01)

    async def check(self, newest: int = 1) -> None:
        """Every acknowledged snapshot is there; what is in the store is right, bit by bit, read without nbd: of the newest few, or all (0)."""
        found = {one.name for one in await self.box.snapshots(self.who) if one.name}
        assert self.acked.keys() <= found <= self.tried.keys(), f"lost: {self.acked.keys() - found}"
        stored = self.box.stored(self.who)
        if (await self.box.status(self.who)).waiting is None:
            assert stored.keys() == found
        target = self.folder / "independent"
        for name in list(reversed(stored))[: newest or None]:
            self.box.independent(self.who, stored[name], target)
            assert not different(owned_by_nobody(look(target)), owned_by_nobody(self.tried[name])), name
            shutil.rmtree(target)


def owned_by_nobody(tree: Tree) -> Tree:
    """The independent reader gives what it restores to whoever runs it."""
    return {path: (*one[:2], *one[4:]) for path, one in tree.items()}


@contextmanager
def strace(pid: int, *inject: str) -> Iterator[None]:
    """Lets the k-th call of the kernel fail, or kill: "fsync:signal=SIGKILL:when=3". Counted from here, in each thread."""
    calls = ",".join(one.split(":")[0] for one in inject)
    argv = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={calls}", *(word for one in inject for word in ("-e", f"inject={one}"))]
    with tempfile.TemporaryFile() as said:
        tracer = subprocess.Popen(argv, stderr=said)
        try:
            until(lambda: b"attached" in os.pread(said.fileno(), 4096, 0) or tracer.poll() is not None, 20)
            yield
        finally:
            ended(tracer)


def ended(tracer: subprocess.Popen[bytes]) -> None:
    """It may wait for ever for a thread that its own signal has killed; while it does, nobody hears of the end of that process."""
    tracer.terminate()
    try:
        tracer.wait(2)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait(20)


def gone(process: subprocess.Popen[bytes]) -> bool:
    """Also where a tracer has not let go of it yet."""
    return process.poll() is not None or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
