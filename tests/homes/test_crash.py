"""Power cuts: at each point of snapshots and prunes, any state the disk may be in has every acknowledged snapshot, and needs no repair."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from nbd.homes.pruner import Pruner
from nbd.homes.repository import Repository
from nbd.homes.retention import DAY, Policy
from nbd.homes.snapshotter import Report
from nbd.homes.verifier import verify
from nbd.host.folderstore import FolderStore
from tests.fakes.crash import Disk, RecordingFiles, Step, materialise

from .world import KEYS, Tree, World, look, restored

STATES = int(os.environ.get("NBD_CRASH_STATES", "300"))
Acked = list[tuple[Report, Tree]]


async def test_power_cuts(tmp_path: Path) -> None:
    files = RecordingFiles()
    (tmp_path / "store").mkdir()
    world = await World.make(tmp_path, FolderStore(tmp_path / "store", files))
    acked: Acked = []
    pruner = Pruner(world.repository)
    for number in range(12):
        (world.home / f"f{number}").write_bytes(os.urandom(20_000))
        (world.home / f"f{number // 2}").write_bytes(b"again%d" % number)
        report = await world.snap()
        acked.append((report, look(world.home)))
        files.note(Step("acked", Path(str(number))))
        if number in (8, 10, 11):
            await pruner.execute(await pruner.plan(Policy(recent=365 * DAY), time.time_ns() + number * DAY))
            files.note(Step("pruned", Path()))
    assert any(step.what == "unlink" and step.path.parent.name == "data" for step in files.steps), "something was really deleted"
    chance = random.Random(11)
    points = [*range(len(files.steps) + 1)]
    for state in range(STATES):
        await one_state(tmp_path, files.steps, points[state % len(points)], (acked, chance))


async def one_state(tmp_path: Path, steps: list[Step], point: int, facts: tuple[Acked, random.Random]) -> None:
    acked, chance = facts
    disk, done = Disk(), -1
    for step in steps[:point]:
        disk.apply(step)
        done = int(str(step.path)) if step.what == "acked" else done
    in_flight = steps[point] if point < len(steps) else None
    folder = tmp_path / "crashed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    materialise(disk.crashed(in_flight, chance), tmp_path / "store", folder)
    store = FolderStore(folder)
    repository = await Repository.open(store, KEYS)
    kept = {listed.id for listed in repository.root.snapshots}
    assert {report.listed.id for report, _ in acked[: done + 1]} <= kept, f"point {point}"
    found = await verify(store, KEYS)
    assert found.good, f"point {point}: {found}"
    if done >= 0 and chance.random() < 0.2:
        report, tree = acked[chance.randrange(done + 1)]
        target = tmp_path / "back"
        await restored(repository, report, target)
        assert look(target) == tree
        shutil.rmtree(target)
        world = World(tmp_path / "home", store, repository)
        assert (await world.snap(confirmed=True)).listed in repository.root.snapshots
