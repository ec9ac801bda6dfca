"""Altered, cut, emptied, swapped and missing objects: each is found by verify, what it hit is named, the rest comes back, and no wrong byte does."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from nbd.errors import Damaged
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.restorer import Progress
from nbd.homes.snapshots.snapshotter import Report
from nbd.homes.snapshots.verifier import Verification, verify
from tests.fakes.object_store import MemoryStore

from .world import KEYS, SOAK, Tree, World, in_memory, look, restored, without_threads

MUTATIONS = 1000 * SOAK
HOWS = ("bit", "bit", "bit", "bit", "swap", "cut", "empty", "gone", "grown", "zeros")


def mutate(objects: dict[str, bytes], chance: random.Random) -> tuple[str, str, int]:
    """How, which object, and where in it."""
    key, other = chance.sample(sorted(objects), 2)
    data = bytearray(objects[key])
    at, how = chance.randrange(len(data)), chance.choice(HOWS)
    if how == "bit":
        data[at] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[at:]
    elif how == "grown":
        data += b"x"
    elif how == "zeros":
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    objects[key] = b"" if how == "empty" else bytes(data)
    if how == "swap":
        objects[key], objects[other] = (objects[other], objects[key]) if objects[other] != objects[key] else (b"?", objects[other])
    if how == "gone":
        del objects[key]
    return how, key, at


async def lived(memory: Path, store: MemoryStore) -> tuple[World, Report]:
    """Some snapshots, with files that share nothing, some that do, one of many chunks, and a folder in parts."""
    world = await World.make(memory, store)
    (world.home / "many").mkdir()
    for number in range(300):
        (world.home / f"many/{number}").write_bytes(b"same" if number % 2 else b"%d" % number)
    (world.home / "large").write_bytes(os.urandom(1_300_000))
    for number in range(6):
        (world.home / f"d{number}").mkdir()
        for file in range(6):
            (world.home / f"d{number}/f{file}").write_bytes(os.urandom(500) if file % 2 else b"text %d " % file * 200)
        os.setxattr(world.home / f"d{number}", "user.x", b"kept")
        report = await world.snap(name=f"n{number}" if number % 2 else "")
    return world, report


@pytest.mark.parametrize("seed", range(4))
async def test_every_damage_is_found_and_none_restored(tmp_path: Path, seed: int) -> None:
    without_threads()
    with in_memory(tmp_path) as memory:
        world, report = await lived(memory, store := MemoryStore())
        good, tree = dict(store.objects), look(world.home)
        assert (await verify(store, KEYS)).good
        chance, seen = random.Random(seed), Counter[str]()
        for _ in range(MUTATIONS // 4):
            store.objects = dict(good)
            what = mutate(store.objects, chance)
            try:
                seen[await one(store, report, tree, memory / "back")] += 1
            except BaseException as error:
                error.add_note(f"after {what}")
                raise
            shutil.rmtree(memory / "back", ignore_errors=True)
    assert seen.keys() == {"nothing", "some", "all"}


async def one(store: MemoryStore, report: Report, tree: Tree, back: Path) -> str:
    """How much of the last snapshot comes back."""
    found = await verify(store, KEYS)
    assert found.damages
    try:
        repository = await Repository.open(store, KEYS)
        await repository.snapshot(report.listed)
        progress = await restored(repository, report, back)
    except Damaged:
        return "nothing"
    if not progress.damaged:
        assert look(back) == tree
        return "all"
    named(progress, found, look(back), tree)
    return "some"


def named(progress: Progress, found: Verification, back: Tree, tree: Tree) -> None:
    """What came back is right; what did not is named, itself or a folder above it, by the restore and by verify alike."""
    lost = {damage.path.encode() for damage in progress.damaged}
    for path, facts in tree.items():
        if path in back and path not in lost:
            assert back[path][4:7] == facts[4:7], path
        else:
            assert any(one == b"." or path == one or path.startswith(one + b"/") for one in lost), path
    assert back.keys() <= tree.keys()
    assert lost <= {path.encode() for path in found.paths} or len(found.paths) >= 100
