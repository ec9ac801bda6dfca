"""Power cuts while snapshots wait on this box and while they are published: whatever state the spool's disk is in, what was acknowledged gets into
the store, and nothing needs a repair. The copies on this box may be lost, or older than everything else."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from nbd.errors import Unreachable
from nbd.homes.snapshots.snapshotter import Report
from nbd.homes.snapshots.verifier import verify
from tests.fakes.crash import Disk, RecordingFiles, Step, materialise

from .offline import Box, Leaving
from .world import KEYS, Tree, look

STATES = int(os.environ.get("NBD_CRASH_STATES", "150"))


class Recorded(Leaving):
    """What it holds is told to the recorder, in order with what happens on the disk."""

    def __init__(self, files: RecordingFiles) -> None:
        super().__init__()
        self._files = files

    def _set(self, key: str, data: bytes) -> str:
        self._files.note(Step("store", Path(key), bytes(data)))
        return super()._set(key, data)


class Life:
    """A box that is online and offline by turns; each acknowledged snapshot, and what else was on the box at that moment, is noted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, RecordingFiles()
        self.store = Recorded(self.files)
        self.box = Box(folder, self.store, files=self.files)
        self.acked: list[tuple[Report, Tree]] = []

    async def snap(self) -> None:
        number = len(self.acked)
        (self.box.home / f"f{number % 5}").write_bytes(os.urandom(3000))
        (self.box.home / f"d{number % 3}").mkdir(exist_ok=True)
        (self.box.home / f"d{number % 3}/file").write_text(str(number))
        self.acked.append((await self.box.look("stop", f"n{number}"), look(self.box.home)))
        for path in (self.folder / "seen.json", *self.folder.glob("copies*")):
            shutil.copy(path, self.folder / f"at-{number}-{path.name}")
        self.files.note(Step("acked", Path(str(number))))

    async def live(self) -> None:
        for spell in range(3):
            await self.snap()
            await self.snap()
            self.store.leave(spell)
            for _ in range(3):
                await self.snap()
                self.box.start()
            self.store.come_back()
            await self.box.publish()
        await self.snap()


async def test_power_cuts(tmp_path: Path) -> None:
    life = Life(tmp_path)
    await life.live()
    assert len([step for step in life.files.steps if step.what == "store" and str(step.path) == "latest"]) >= 8
    chance = random.Random(5)
    points = list(range(1, len(life.files.steps) + 1))
    chance.shuffle(points)
    for state in range(STATES):
        await one_state(life, points[state % len(points)], tmp_path / "crashed", chance)


async def one_state(life: Life, point: int, folder: Path, chance: random.Random) -> None:
    disk, done, store = Disk(), -1, Leaving()
    for step in life.files.steps[:point]:
        if step.what == "store":
            store._set(str(step.path), step.data)
        disk.apply(step)
        done = int(str(step.path)) if step.what == "acked" else done
    in_flight = life.files.steps[point] if point < len(life.files.steps) else None
    if in_flight and in_flight.what == "store" and chance.random() < 0.5:
        store._set(str(in_flight.path), in_flight.data)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "spool").mkdir(parents=True)
    materialise(disk.crashed(in_flight, chance), life.folder / "spool", folder / "spool")
    copies = chance.choice([done, max(-1, done - 2), -1])
    for number, pattern in ((done, "seen.json"), (copies, "copies*")):
        for path in life.folder.glob(f"at-{number}-{pattern}"):
            shutil.copy(path, folder / path.name.partition("-")[2].partition("-")[2])
    await come_up(life, Box(folder, store), done, chance, copies == done >= 0)


async def come_up(life: Life, box: Box, done: int, chance: random.Random, fresh: bool) -> None:  # noqa: FBT001
    store = box.store
    assert isinstance(store, Leaving)
    shutil.rmtree(box.home)
    shutil.copytree(life.box.home, box.home)
    later: Report | None = None
    if chance.random() < 0.5:
        store.leave()
        try:
            later = await box.look("stop", "after the power cut")
        except Unreachable:
            assert not fresh, "with its copies, a box goes on alone"
        store.come_back()
        box.start()
    await box.publish()
    assert await box.waiting() == 0
    acked = [report for report, _ in life.acked[: done + 1]] + ([later] if later else [])
    assert {report.listed.id for report in acked} <= {listed.id for listed in await box.stored()}
    assert (await verify(store, KEYS)).good
    if done >= 0 and chance.random() < 0.2:
        report, tree = life.acked[chance.randrange(done + 1)]
        assert await box.content(report) == tree
    assert await box.content(await box.look("stop", "online again")) == look(box.home)
