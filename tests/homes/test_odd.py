"""Homes that are odd and real: what programs and file systems do that no table of rules thinks of."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.homes.snapshots.restorer import Restorer
from nbd.homes.snapshots.snapshotter import Request, Snapshotter
from nbd.host.ignores import IgnoreRules

from .test_attack import READ_SEARCH, READER, snapshots, stored
from .world import SOAK, World, different, in_memory, look, opened

ROOT = Path(__file__).resolve().parent.parent.parent
GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount, and be another")


async def test_a_write_through_a_mapping_is_seen(tmp_path: Path) -> None:
    """Into a page that was dirty already when the first snapshot read it: ext4 sets no ctime for that."""
    world = await World.make(tmp_path)
    path = world.home / "mapped"
    path.write_bytes(b"0" * 8192)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:
        mapped[0:3] = b"one"
        await world.snap()
        mapped[0:3] = b"two"
    last = await world.snap()
    await world.restore(last, tmp_path / "back")
    assert (tmp_path / "back/mapped").read_bytes()[:3] == b"two"


async def test_a_large_write_through_a_mapping_is_seen(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    path, size = world.home / "mapped", 6 << 20
    path.write_bytes(b"0" * size)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        mapped[size - 3 :] = b"one"
        await world.snap()
        mapped[size - 3 :] = b"two"
    await world.restore(await world.snap(), tmp_path / "back")
    assert (tmp_path / "back/mapped").read_bytes()[-3:] == b"two"


REWRITE = """
import os, random, sys, time
file, size, number = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2]), 0
while True:
    for _ in range(random.choice((1, 3000))):
        number += 1
        os.pwrite(file, number.to_bytes(8, "big"), size - 8)
        os.pwrite(file, number.to_bytes(8, "big"), 0)
    time.sleep(random.random() * 0.012)
"""
"""Counts in a file, at its end and then at its beginning; many times in a row, and then rests a little."""


@contextmanager
def rewritten(path: Path, size: int) -> Iterator[None]:
    path.write_bytes(bytes(size))
    process = subprocess.Popen([sys.executable, "-c", REWRITE, path, str(size)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("size", "count"), [(3 << 20, 60 * SOAK), (5 << 20, 40 * SOAK)], ids=["at once", "piece by piece"])
async def test_no_torn_file_is_stored(tmp_path: Path, size: int, count: int) -> None:
    """A file that does not hold still keeps its last good reading; what is read of it is of one moment."""
    world, deadline = await World.make(tmp_path), time.monotonic() + 120
    moments: set[int] = set()
    taken = 0
    with rewritten(world.home / "written", size):
        while taken < count or len(moments) < 5:
            assert time.monotonic() < deadline, "it never holds still"
            report = await world.snap()
            taken += 1
            (entry,) = await Restorer(world.repository).entries(report.snapshot, b"")
            if entry.size:
                await world.restore(report, tmp_path / "back")
                content = (tmp_path / "back/written").read_bytes()
                head, tail = (int.from_bytes(part, "big") for part in (content[:8], content[-8:]))
                assert tail - head in (0, 1)
                moments.add(tail)
                (tmp_path / "back/written").unlink()


async def test_a_folder_in_whose_place_is_a_link_waits_for_a_person(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    (world.home / "data").mkdir()
    for number in range(60):
        (world.home / f"data/f{number}").write_bytes(b"x")
    await world.snap()
    (world.home / "data").rename(tmp_path / "elsewhere")
    (world.home / "data").symlink_to(tmp_path / "elsewhere")
    report = await world.snap()
    assert report.withheld == "61 of 61 entries are gone at once"
    await world.restore(report, tmp_path / "back")
    assert len(list((tmp_path / "back/data").iterdir())) == 60
    confirmed = await world.snap(confirmed=True)
    await world.restore(confirmed, tmp_path / "again")
    assert different(look(tmp_path / "again"), look(world.home)) == {}


async def test_new_files_with_the_inodes_of_deleted_ones_are_no_rename(tmp_path: Path) -> None:
    """As a program that encrypts everything leaves them. (ext4 gives inodes out again a few seconds later; here the same ones are written anew.)"""
    world = await World.make(tmp_path)
    for number in range(60):
        (world.home / f"f{number}").write_bytes(b"mine %d" % number)
    await world.snap()
    for number in range(60):
        (world.home / f"f{number}").write_bytes(b"give me money for it")
        (world.home / f"f{number}").rename(world.home / f"f{number}.locked")
    report = await world.snap()
    assert report.withheld == "60 of 60 entries are gone at once"
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/f7").read_bytes() == b"mine 7"


@as_root
async def test_what_has_an_old_inode_and_cannot_be_read_is_not_what_was_there(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    (world.home / "one").write_bytes(b"one")
    (world.home / "two").write_bytes(b"two")
    await world.snap()
    (world.home / "one").rename(world.home / "another's")
    (world.home / "two").rename(world.home / "moved")
    (world.home / "another's").write_bytes(b"something else")
    for name in ("another's", "moved"):
        os.chown(world.home / name, 12345, 12345)
    async with opened(world.home, os.getuid()) as home:
        report = await Snapshotter(world.repository, IgnoreRules(), time.time_ns).take(home, Request())
    await world.restore(report, tmp_path / "back")
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == {"moved": b"two"}


async def test_a_hundred_thousand_names_in_one_folder(tmp_path: Path) -> None:
    """A million in a soak."""
    names = 100_000 if SOAK == 1 else 1_000_000
    with in_memory(tmp_path) as memory:
        world = await World.make(memory)
        (world.home / "many").mkdir()
        folder = os.open(world.home / "many", os.O_PATH)
        for number in range(names):
            os.close(os.open(f"{number:x}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder))
        os.close(folder)
        await world.snap()
        (world.home / "many/1234").write_bytes(b"changed")
        (world.home / "many/4321").unlink()
        report = await world.snap(b"many")
        assert report.snapshot.entries == names
        assert report.snapshot.stored < 400_000, "some parts of the folder, not all of it"
        progress = await world.restore(report, memory / "back")
        assert (progress.entries, progress.skipped, progress.damaged) == (names, [], [])
        assert sorted(os.listdir(memory / "back/many")) == sorted(os.listdir(world.home / "many"))  # noqa: PTH208
        assert (memory / "back/many/1234").read_bytes() == b"changed"


@as_root
@pytest.mark.parametrize("case", ["overlayfs", "tmpfs", "mounts"])
def test_elsewhere(tmp_path: Path, case: str) -> None:
    argv: list[str | Path] = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.homes.elsewhere", case, tmp_path]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@as_root
@pytest.mark.parametrize("rights", [(), READ_SEARCH], ids=["root", "CAP_DAC_READ_SEARCH"])
def test_what_its_owner_may_not_even_read_is_kept(tmp_path: Path, rights: tuple[str, ...]) -> None:
    """Mode 000 is a mode like others to who keeps homes; it is the person's file."""
    home = tmp_path / "home"
    (home / "closed").mkdir(parents=True)
    for name in ("none", "closed/inside", "file"):
        (home / name).write_bytes(b"harmless" if name == "file" else name.encode())
        os.chown(home / name, 23456, 23456)
    for path, mode in ((home / "none", 0), (home / "closed", 0), (home, 0o500)):
        os.chown(path, 23456, 23456)
        path.chmod(mode)
    (tmp_path / "store").mkdir()
    os.chown(tmp_path / "store", READER if rights else 0, 0)
    snapshots(tmp_path, 23456, *rights)
    assert {b"none", b"closed/inside"} <= set(stored(tmp_path / "store/of-person"))


@as_root
async def test_an_immutable_file_is_kept_and_left_alone(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    path = world.home / "immutable"
    path.write_bytes(b"for ever")
    report = await world.snap()
    os.utime(path, ns=(1, 1))
    with path.open("rb") as file:
        flags = struct.pack("l", struct.unpack("l", fcntl.ioctl(file, GET_FLAGS, bytes(8)))[0] | IMMUTABLE)
        fcntl.ioctl(file, SET_FLAGS, flags)
        try:
            assert (await world.snap()).snapshot.entries == 1
            progress = await world.restore(report, world.home)
            assert [(one.path, one.reason) for one in progress.skipped] == [("immutable", "Operation not permitted")]
            assert [one.name for one in world.home.iterdir()] == ["immutable"]
        finally:
            fcntl.ioctl(file, SET_FLAGS, bytes(8))


async def test_into_a_folder_that_gives_rights_to_what_is_made_in_it(tmp_path: Path) -> None:
    """What has no access list has none when it is back, whatever the folder's default is."""
    world = await World.make(tmp_path)
    (world.home / "d").mkdir()
    (world.home / "d/f").write_bytes(b"x")
    report = await world.snap()
    target = tmp_path / "back"
    target.mkdir()
    entries = [(1, 7, 0xFFFFFFFF), (2, 7, 12345), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 5, 0xFFFFFFFF)]
    os.setxattr(target, "system.posix_acl_default", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries))
    await world.restore(report, target)
    assert different(look(target), look(world.home)) == {}
