"""Snapshot and restore on the real file system, one promise a test."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from nbd.errors import Conflict, Damaged, HostUnfit, Refused
from nbd.homes.model import Flag
from nbd.homes.snapshots.comparer import compare
from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository, rotate
from nbd.homes.snapshots.restorer import Restorer
from nbd.homes.snapshots.retention import DAY, Policy
from nbd.homes.snapshots.snapshotter import Request, Snapshotter
from nbd.homes.snapshots.verifier import verify
from nbd.host.codec import MasterKeys
from nbd.host.ignores import IgnoreRules
from nbd.host.masterkeys import make_master, read_master
from tests.fakes.object_store import MemoryStore

from . import independent_reader
from .world import KEYS, MASTER, World, look, opened

NOTHING = Policy(recent=0, hourly=0, daily=0, weekly=0, monthly=0)


def fill(home: Path) -> None:
    (home / "a/b/c").mkdir(parents=True)
    (home / "a/b/c/deep").write_bytes(b"deep")
    (home / "empty").write_bytes(b"")
    (home / "big").write_bytes(os.urandom(6 << 20))
    (home / "a/link").symlink_to("../big")
    (home / "dangling").symlink_to("/nowhere/at/all")
    os.link(home / "a/b/c/deep", home / "twin")
    os.mkfifo(home / "pipe")
    (home / os.fsdecode(b"odd\n\xff name")).write_bytes(b"odd")
    os.setxattr(home / "big", "user.note", b"\0binary")
    with (home / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"middle" * 1000)
        file.truncate(20 << 20)
    (home / "a").chmod(0o2750)
    (home / "twin").chmod(0o400)
    os.utime(home / "a/b", ns=(1, -5_000_000_001))
    os.utime(home / "empty", ns=(1, 5_000_000_000_123_456_789))


async def test_everything_comes_back(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    fill(world.home)
    before = look(world.home)
    report = await world.snap()
    progress = await world.restore(report, tmp_path / "back")
    assert (progress.skipped, progress.damaged) == ([], [])
    assert look(tmp_path / "back") == before
    assert (tmp_path / "back/sparse").stat().st_blocks < 200
    again = await world.restore(report, tmp_path / "back")
    assert (again.bytes, again.already) == (0, 8)
    assert look(tmp_path / "back") == before
    independent_reader.restore(tmp_path / "store", MASTER, tmp_path / "stranger")
    assert look(tmp_path / "stranger") == before
    independent_reader.restore(tmp_path / "store", MASTER, tmp_path / "salvaged", salvage=True)
    assert look(tmp_path / "salvaged") == before
    assert (await verify(world.store, KEYS)).good


async def test_nothing_changed_costs_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    fill(world.home)
    first = await world.snap()
    store.calls.clear()
    assert not (await world.snap()).changed
    assert [call for call in store.calls if call[0] != "fetch"] == []
    assert (await world.snap(event="stop", name="before the stop")).snapshot.tree == first.snapshot.tree


async def test_a_saved_file_is_four_requests_and_no_walk(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    fill(world.home)
    await world.snap()
    (world.home / "unseen").mkdir()
    (world.home / "a/b/c/saved").write_bytes(b"x" * 5000)
    os.utime(world.home, ns=(5, 5))
    await world.snap()
    (world.home / "a/b/c/saved").write_bytes(b"y" * 5000)
    (world.home / "twin").chmod(0o600)
    store.calls.clear()
    report = await world.snap(b"a/b/c")
    assert report.prove, "deep has a second name, and changed with it"
    assert [call[0] for call in store.calls if call[0] != "fetch"] == ["create", "create", "create", "replace"]
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/a/b/c/saved").read_bytes() == b"y" * 5000
    assert (tmp_path / "back/twin").stat().st_mode & 0o777 == 0o400, "not dirty: not looked at"


async def test_a_changed_kilobyte_costs_a_chunk(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    data = bytearray(os.urandom(64 << 20))
    (world.home / "big").write_bytes(data)
    await world.snap()
    data[30 << 20 : (30 << 20) + 1024] = os.urandom(1024)
    data[40 << 20 : 40 << 20] = b"inserted"
    (world.home / "big").write_bytes(data)
    report = await world.snap(b"")
    assert report.snapshot.stored < 4 << 20
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/big").read_bytes() == data


async def test_dirty_folders_that_moved_or_went(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    fill(world.home)
    await world.snap()
    (world.home / "a/b").rename(world.home / "moved")
    (world.home / "new/deep").mkdir(parents=True)
    (world.home / "new/deep/file").write_bytes(b"new")
    report = await world.snap(b"a/b/c", b"a", b"", b"gone/for/ever")
    await world.restore(report, tmp_path / "back")
    assert look(tmp_path / "back") == look(world.home)
    (world.home / "moved").rename(world.home / "a/b")
    report = await world.snap(b"moved/c")
    await world.restore(report, tmp_path / "again")
    assert look(tmp_path / "again") == look(world.home)


async def test_mtime_set_back_is_seen(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    path = world.home / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(7, 7))
    await world.snap()
    path.write_bytes(b"two")
    os.utime(path, ns=(7, 7))
    await world.restore(await world.snap(), tmp_path / "back")
    assert (tmp_path / "back/file").read_bytes() == b"two"


async def test_what_cannot_be_read_keeps_its_last_reading(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    (world.home / "mine").write_bytes(b"good")
    await world.snap()
    (world.home / "mine").chmod(0o644)
    os.chown(world.home / "mine", 12345, 12345)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(world.home / "sock"))
    server.close()
    async with opened(world.home, os.getuid()) as home:
        report = await Snapshotter(world.repository, IgnoreRules(), time.time_ns).take(home, Request())
    assert [skipped.path for skipped in report.snapshot.skipped] == ["mine"]
    assert report.snapshot.skipped_count == 1
    progress = await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/mine").read_bytes() == b"good"
    assert [skipped.path for skipped in progress.skipped] == ["sock"]
    entries = await Restorer(world.repository).entries(report.snapshot, b"")
    assert entries[0].flags & Flag.STALE


async def test_ignored_and_large_folders(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    (world.home / ".cache").mkdir()
    (world.home / ".cache/big").write_bytes(b"x" * 1000)
    (world.home / "many").mkdir()
    for number in range(3000):
        (world.home / f"many/{number}.tmp").touch()
    first = await world.snap()
    assert first.snapshot.entries == 3001
    (world.home / "many/new").write_bytes(b"new")
    second = await world.snap(b"many")
    assert second.snapshot.stored < 60_000, "one part of the folder, not all"
    await world.restore(second, tmp_path / "back")
    assert len(list((tmp_path / "back/many").iterdir())) == 3001
    third = await world.snap(ignore="*.tmp\n")
    assert (third.snapshot.entries, third.withheld) == (2, "")


async def test_one_path_to_another_folder(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    fill(world.home)
    report = await world.snap()
    await world.restore(report, tmp_path / "back", b"a/b/c/deep")
    assert sorted(look(tmp_path / "back")) == [b".", b"a", b"a/b", b"a/b/c", b"a/b/c/deep"]
    assert (tmp_path / "back/a/b/c/deep").read_bytes() == b"deep"


async def test_a_file_that_is_named_is_written_in_any_case(tmp_path: Path) -> None:
    """A disk that lost a bit changes no size and no time."""
    world = await World.make(tmp_path)
    path = world.home / "rotten"
    path.write_bytes(b"good")
    report, before = await world.snap(), path.stat()
    path.write_bytes(b"g0od")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    progress = await world.restore(report, world.home, b"rotten")
    assert (path.read_bytes(), progress.entries, progress.already) == (b"good", 1, 0)


async def test_differences(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    fill(world.home)
    first = await world.snap()
    (world.home / "a/b").rename(world.home / "moved")
    (world.home / "empty").unlink()
    (world.home / "new").write_bytes(b"new")
    (world.home / "big").write_bytes(b"small")
    second = await world.snap()
    found = await compare(world.repository, first.snapshot, second.snapshot)
    assert [(str(one.change), one.path) for one in found] == [
        ("changed", b""), ("changed", b"a"), ("changed", b"big"), ("deleted", b"empty"), ("renamed", b"moved"), ("added", b"new"),
    ]  # fmt: skip
    assert await compare(world.repository, second.snapshot, second.snapshot) == []


async def test_a_great_loss_waits_for_a_person(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.repository.box = "here"
    for number in range(60):
        (world.home / f"f{number}").write_bytes(b"x")
    first = await world.snap()
    (world.home / "d").mkdir()
    for number in range(30):
        (world.home / f"f{number}").rename(world.home / f"d/g{number}")
    assert (await world.snap()).withheld == "", "moved is not gone"
    (world.home / "new").write_bytes(b"new")
    for number in range(30):
        (world.home / f"d/g{number}").unlink()
    report = await world.snap()
    assert report.withheld == "30 of 61 entries are gone at once"
    await world.restore(report, tmp_path / "back")
    assert len(list((tmp_path / "back/d").iterdir())) == 30
    assert (tmp_path / "back/new").exists()
    assert (await world.snap(confirmed=True)).snapshot.entries == 32
    # Not deleted: the next folder would have its inode.
    world.home.rename(tmp_path / "aside")
    with pytest.raises(Refused, match="cannot be opened"):
        await world.snap()
    world.home.mkdir()
    with pytest.raises(Refused, match="the home is empty"):
        await world.snap()
    for number in range(30, 59):
        (world.home / f"f{number}").write_bytes(b"x")
    with pytest.raises(Refused, match="another folder than before, and 3 of 32"):
        await world.snap()
    assert first.listed in world.repository.root.snapshots


async def test_prune_keeps_what_is_kept(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    fill(world.home)
    named = await world.snap(name="keep me")
    for number in range(20):
        (world.home / "empty").write_bytes(b"%d" % number * 1000)
        (world.home / f"noise{number}").write_bytes(os.urandom(100_000))
        last = await world.snap()
        (world.home / f"noise{number}").unlink()
    await world.snap()
    before, now = set(store.objects), time.time_ns()
    pruner = Pruner(world.repository)
    plan = await pruner.plan(NOTHING, now)
    assert [kept.reasons for kept in plan.keep] == [("the newest",), ("named keep me",)]
    await pruner.execute(plan)
    assert before - set(store.objects) == set(), "the first generation deletes nothing"
    await pruner.execute(await pruner.plan(NOTHING, now + DAY // 2))
    assert before <= set(store.objects)
    await pruner.execute(await pruner.plan(NOTHING, now + 3 * DAY))
    assert len(set(store.objects) & before) < 10
    assert sum(map(len, store.objects.values())) < 9 << 20
    assert (await verify(store, KEYS)).good
    await world.restore(named, tmp_path / "back")
    assert (tmp_path / "back/empty").read_bytes() == b""
    assert last.listed not in world.repository.root.snapshots


async def test_prune_beside_a_running_snapshot(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    (world.home / "comes back").write_bytes(data := os.urandom(300_000))
    await world.snap()
    (world.home / "comes back").unlink()
    await world.snap(confirmed=True)
    (world.home / "comes back").write_bytes(data)

    other = await Repository.open(store, KEYS)
    pruned = []

    async def prune() -> None:
        for days in (0, 2, 4):
            pruner = Pruner(other)
            await pruner.execute(await pruner.plan(NOTHING, time.time_ns() + days * DAY))
            pruned.append(days)

    class Slow(MemoryStore):
        """Prunes, four days of it, just before the running snapshot moves the pointer."""

        async def replace(self, key: str, data: bytes, expected: str | None) -> str:
            if not pruned:
                await prune()
            return await store.replace(key, data, expected)

    slow = Slow()
    slow.objects = store.objects
    slow._versions = store._versions
    world.repository.store = slow
    report = await world.snap()
    assert pruned == [0, 2, 4]
    assert (await verify(store, KEYS)).good
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/comes back").read_bytes() == data


async def test_two_boxes_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    store = MemoryStore()
    one, two = await World.make(tmp_path / "x", store), await World.make(tmp_path / "y", store)
    (one.home / "from one").write_bytes(b"1")
    (two.home / "from two").write_bytes(b"2")
    await one.snap()
    await two.snap()
    await one.repository.refresh()
    assert len(one.repository.root.snapshots) == 2
    stale = one.repository.root
    await two.snap(name="again")
    with pytest.raises(Conflict):
        await one.repository.move(stale)


async def test_keys(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    (world.home / "secret name").write_bytes(b"canary" * 100)
    await world.snap(name="a named one")
    everything = b"".join(store.objects.values())
    for canary in (b"canary", b"secret", b"named", MASTER):
        assert canary not in everything
    with pytest.raises(Refused, match="master key"):
        await Repository.open(store, MasterKeys(b"wrong" * 6 + b"!!"))
    await rotate(store, MasterKeys(b"n" * 32, MASTER))
    with pytest.raises(Refused, match="master key"):
        await Repository.open(store, KEYS)
    new = MasterKeys(b"n" * 32)
    assert (await Repository.open(store, new)).root.snapshots
    store.objects["config"] = store.objects["config"][:-7]
    assert (await Repository.open(store, new)).root.snapshots
    with pytest.raises(Damaged, match="has seen 99"):
        await Repository.open(store, new, at_least=99)
    del store.objects["latest"]
    with pytest.raises(Damaged, match="pointer"):
        await Repository.open(store, new)


def test_the_master_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = make_master(path)
    assert read_master(path) == made
    path.chmod(0o640)
    with pytest.raises(HostUnfit, match="others may read"):
        read_master(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(HostUnfit, match="64 hex digits"):
        read_master(path)
