"""Altered, cut, emptied, swapped and missing objects: each is found by verify, and no wrong byte is restored."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from nbd.errors import Damaged
from nbd.homes.repository import Repository
from nbd.homes.verifier import verify
from tests.fakes.object_store import MemoryStore

from .world import KEYS, World, restored

MUTATIONS = int(os.environ.get("NBD_MUTATIONS", "300"))


def mutate(objects: dict[str, bytes], chance: random.Random) -> str:
    key, other = chance.sample(sorted(objects), 2)
    data = bytearray(objects[key])
    at = chance.randrange(len(data))
    how = chance.choice(["bit", "bit", "bit", "swap", "cut", "empty", "gone", "grown"])
    if how == "bit":
        data[at] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[at:]
    elif how == "grown":
        data += b"x"
    objects[key] = b"" if how == "empty" else bytes(data)
    if how == "swap":
        objects[key], objects[other] = (objects[other], objects[key]) if objects[other] != objects[key] else (b"?", objects[other])
    if how == "gone":
        del objects[key]
    return f"{how} {key} {other} {at}"


async def test_every_damage_is_found_and_none_restored(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    for number in range(6):
        (world.home / f"d{number}").mkdir()
        for file in range(6):
            (world.home / f"d{number}/f{file}").write_bytes(os.urandom(500) if file % 2 else b"text %d " % file * 200)
        report = await world.snap(name=f"n{number}" if number % 2 else "")
    good = dict(store.objects)
    assert (await verify(store, KEYS)).good
    chance = random.Random(5)
    for _ in range(MUTATIONS):
        store.objects = dict(good)
        what = mutate(store.objects, chance)
        found = await verify(store, KEYS)
        assert not found.good, what
        if chance.random() < 0.2:
            try:
                repository = await Repository.open(store, KEYS)
                await repository.snapshot(report.listed)
                progress = await restored(repository, report, tmp_path / "back")
            except Damaged:
                continue
            files = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
            assert all(path.read_bytes() == (world.home / path.relative_to(tmp_path / "back")).read_bytes() for path in files), what
            assert len(files) + len(progress.damaged) >= 36 or progress.damaged, what
            shutil.rmtree(tmp_path / "back", ignore_errors=True)
