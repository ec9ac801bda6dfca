"""The shelf keeps copies: bounded, and whatever happens to its file, it never raises and never gives one blob for another."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nbd.homes.ports import Shelf
from nbd.homes.snapshots.copies import Copies, Memory
from nbd.homes.snapshots.repository import Repository
from nbd.host.shelf import FileShelf
from tests.fakes.object_store import MemoryStore
from tests.homes.world import KEYS, World, look

MANY = {bytes([number]) * 32: os.urandom(20_000) for number in range(200)}


def roomy(_: Path) -> int:
    return 1 << 40


async def test_keeps_and_forgets(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "shelf", 1 << 30, roomy)
    await shelf.keep_blobs(MANY)
    assert await shelf.blobs([*MANY, b"x" * 32]) == MANY
    await shelf.keep_objects("ada", {"config": b"1", "latest": b"2"}, [])
    await shelf.keep_objects("bob", {"config": b"3"}, [])
    await shelf.keep_objects("ada", {"latest": b"4"}, ["other"])
    assert [await shelf.kept("ada", key) for key in ("config", "latest")] == [None, b"4"]
    assert await shelf.kept("bob", "config") == b"3"
    assert not (tmp_path / "shelf-shm").exists(), "nothing is mapped: where the disk is full that is a SIGBUS"
    await shelf.close()
    again: Shelf = FileShelf(tmp_path / "shelf", 1 << 30, roomy)
    assert await again.blobs(list(MANY)) == MANY
    assert (tmp_path / "shelf").stat().st_mode & 0o777 == 0o600


async def test_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "shelf", 1_000_000, roomy)
    parts = list(MANY)
    for part in parts:
        await shelf.keep_blobs({part: MANY[part]})
    left = await shelf.blobs(parts)
    assert 20 <= len(left) < 60
    assert list(left) == parts[-len(left) :] or set(left) == set(parts[-len(left) :])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 12_000_000


async def test_leaves_the_disk_alone_when_it_is_nearly_full(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "shelf", 1 << 30, lambda _: 0)
    await shelf.keep_blobs(MANY)
    assert await shelf.blobs(list(MANY)) == {}


@pytest.mark.parametrize("damage", ["garbage", "cut", "bits", "gone", "empty"])
async def test_a_damaged_one_is_begun_anew(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "shelf"
    shelf = FileShelf(file, 1 << 30, roomy)
    await shelf.keep_blobs(MANY)
    await shelf.close()
    data, chance = bytearray(file.read_bytes()), random.Random(1)
    if damage == "bits":
        for _ in range(3000):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    broken: dict[str, bytes | bytearray] = {"garbage": chance.randbytes(len(data)), "cut": data[: len(data) // 3], "bits": data, "empty": b""}
    file.unlink() if damage == "gone" else file.write_bytes(broken[damage])
    shelf = FileShelf(file, 1 << 30, roomy)
    for _ in range(3):
        await shelf.blobs(list(MANY))
        await shelf.keep_blobs(MANY)
        await shelf.keep_objects("ada", {"latest": b"4"}, [])
    assert await shelf.kept("ada", "latest") == b"4"
    assert (await shelf.blobs(list(MANY))).keys() == MANY.keys()


async def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "no folder/shelf", 1 << 30, roomy)
    await shelf.keep_objects("ada", {"latest": b"4"}, [])
    await shelf.keep_blobs(MANY)
    assert await shelf.kept("ada", "latest") is None


async def test_altered_copies_are_not_believed(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "shelf", 1 << 30, roomy)
    world = await World.make(tmp_path, store := MemoryStore())
    for number in range(20):
        (world.home / f"d{number}").mkdir()
        (world.home / f"d{number}/file").write_text(str(number))
    world.repository = await Repository.open(store, KEYS, copies=Copies("ada", Memory(), shelf))
    await world.snap()
    world.repository = await Repository.open(store, KEYS, copies=Copies("ada", Memory(), shelf))
    store.calls.clear()
    assert not (await world.snap()).changed
    assert store.calls == []
    assert await shelf.kept("ada", "latest") == store.objects["latest"]
    shelf._execute("UPDATE blobs SET content = (SELECT content FROM blobs ORDER BY age LIMIT 1)")
    shelf._execute("UPDATE objects SET content = X'00' WHERE key <> 'config'")
    world.repository = await Repository.open(store, KEYS, copies=Copies("ada", Memory(), shelf))
    assert not (await world.snap()).changed
    (world.home / "d3/file").write_text("new")
    report = await world.snap()
    await world.restore(report, tmp_path / "back")
    assert look(tmp_path / "back") == look(world.home)


KILLED = """
import asyncio, os, sys
from pathlib import Path
from nbd.host.shelf import FileShelf
async def main():
    shelf, number = FileShelf(Path(sys.argv[1]), 3_000_000, lambda _: 1 << 40), 0
    while True:
        await shelf.keep_blobs({number.to_bytes(32, "big"): number.to_bytes(32, "big") * 500})
        await shelf.keep_objects("ada", {f"k{number % 5}": b"x" * number}, [f"k{n}" for n in range(5)])
        number += 1
        print(number, flush=True)
asyncio.run(main())
"""


async def test_survives_being_killed(tmp_path: Path) -> None:
    for seed in range(5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "shelf")], stdout=subprocess.PIPE)
        assert process.stdout
        for _ in range(20 + 30 * seed):
            process.stdout.readline()
        time.sleep(random.Random(seed).random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        shelf = FileShelf(tmp_path / "shelf", 3_000_000, roomy)
        found = await shelf.blobs([number.to_bytes(32, "big") for number in range(20 + 30 * seed)])
        assert len(found) >= 20
        assert all(content == part * 500 for part, content in found.items())
        await shelf.close()


async def test_a_disk_that_hangs_is_passed_over_and_nothing_is_closed_under_it(tmp_path: Path) -> None:
    goes_on, done = threading.Event(), threading.Event()

    def room(_: Path) -> int:
        goes_on.wait(60)
        done.set()
        return 1 << 40

    shelf = FileShelf(tmp_path / "shelf", 1 << 30, room, seconds=0.3)
    await shelf.keep_objects("ada", {"latest": b"1"}, [])
    await shelf.keep_blobs(MANY)
    held = shelf._connection
    assert await shelf.kept("ada", "latest") is None
    await shelf.close()
    assert held is shelf._connection is not None
    goes_on.set()
    await asyncio.to_thread(done.wait, 60)
    deadline = time.monotonic() + 20
    while await shelf.blobs(list(MANY)) != MANY and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert await shelf.kept("ada", "latest") == b"1"
    await shelf.close()
    assert shelf._connection is None


async def test_what_another_sync_still_holds_is_left_to_it(tmp_path: Path) -> None:
    first, second = (FileShelf(tmp_path / "shelf", 1 << 30, roomy) for _ in range(2))
    await first.keep_blobs(MANY)
    await second.keep_objects("ada", {"latest": b"5"}, [])
    await first.close()
    assert await second.blobs(list(MANY)) == MANY
    await second.keep_objects("ada", {"latest": b"6"}, [])
    assert await second.kept("ada", "latest") == b"6"
    await second.close()


async def test_a_home_larger_than_the_memory_asks_the_store_for_nothing(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "shelf", 1 << 30, roomy)
    world = await World.make(tmp_path, store := MemoryStore())
    for number in range(100):
        (world.home / f"d{number}").mkdir()
        (world.home / f"d{number}/file").write_text(str(number))
    world.repository = await Repository.open(store, KEYS, copies=Copies("ada", Memory(1000), shelf))
    await world.snap()
    store.calls.clear()
    for _ in range(2):
        assert not (await world.snap()).changed
    assert store.calls == []
