"""How many requests a saved file costs, counted at the store."""

from __future__ import annotations

import os
import time
from pathlib import Path

from nbd.homes.snapshots.packer import Packer
from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.retention import DAY, Policy
from nbd.homes.snapshots.verifier import verify
from tests.fakes.object_store import MemoryStore

from .world import KEYS, World

MOST = 4


async def test_a_saved_file_costs_four_requests(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    for number in range(50):
        folder = world.home / f"a{number % 7}/b{number}"
        folder.mkdir(parents=True)
        (folder / "file").write_text(str(number))
    await world.snap()
    for number in range(40):
        (world.home / "a3/b3/file").write_text(f"saved {number}")
        store.calls.clear()
        assert (await world.snap(b"a3/b3")).changed
        assert [(what, key.partition("/")[0]) for what, key in store.calls] == [
            ("create", "data"), ("create", "index"), ("create", "snapshots"), ("replace", "latest")
        ]  # fmt: skip
        assert len(store.calls) <= MOST
    store.calls.clear()
    assert not (await world.snap()).changed
    assert store.calls == []


async def test_many_indexes_become_one(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for number in range(60):
        (world.home / "file").write_text(f"saved {number}")
        report = await world.snap()
        assert len(world.repository.root.indexes) <= 20
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/file").read_text() == "saved 59"


async def test_a_long_writing_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    packer, content = Packer(world.repository), os.urandom(200_000)  # Below the shortest chunk: never cut in two.
    await packer.add(b"d", content)
    await packer.flush()
    await packer.name()
    (world.home / "file").write_bytes(content)
    sizes = sum(map(len, store.objects.values()))
    world.repository = await Repository.open(store, KEYS)
    report = await world.snap()
    assert sum(map(len, store.objects.values())) < sizes + 10_000
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/file").read_bytes() == content
    assert (await verify(store, KEYS)).good


async def test_anothers_snapshot_does_not_stop_a_long_writing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    packer, content = Packer(world.repository), os.urandom(300_000)
    part = await packer.add(b"d", content)
    await packer.flush()
    (tmp_path / "other").mkdir()
    other = await World.make(tmp_path / "other", store)
    (other.home / "file").write_text("theirs")
    report = await other.snap()
    await packer.name()
    assert report.listed in world.repository.root.snapshots
    await other.repository.refresh()
    assert await other.repository.blob(part) == content
    assert (await verify(store, KEYS)).good


async def test_what_was_named_and_pruned_meanwhile_is_stored_again(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    packer, content = Packer(world.repository), os.urandom(300_000)
    part = await packer.add(b"d", content)
    await packer.flush()
    await packer.name()
    pruner = Pruner(await Repository.open(store, KEYS))
    for day in (0, 2, 4):
        await pruner.execute(await pruner.plan(Policy(), time.time_ns() + day * DAY))
    await world.repository.refresh()
    packer.again()
    assert await packer.add(b"d", content) == part
    await packer.flush()
    await packer.name()
    assert await world.repository.blob(part) == content
    assert (await verify(store, KEYS)).good
