"""A person swaps files and folders with links while nbd, with more rights, reads and restores: nothing leaks, nothing is written outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.homes.model import Entry, Kind
from nbd.homes.ports import OpenHome, Piece, Writing
from nbd.host.beneath import open_beneath
from nbd.host.homewriter import DescriptorTarget

from .world import World, look, opened

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root has more rights than the person")

SECONDS = float(os.environ.get("NBD_ATTACK_SECONDS", "1.5"))
PERSON = 23456
SECRET = b"root's secret " * 50
ATTACKER = Path(__file__).with_name("attacker.py")


@contextmanager
def attacked(tmp_path: Path) -> Iterator[Path]:
    """The outside, with a secret; the home is being attacked meanwhile."""
    outside, home = tmp_path / "outside", tmp_path / "home"
    for folder in (outside, home, home / "folder", outside / "deep", home / "folder/deep"):
        folder.mkdir(exist_ok=True)
    (outside / "f").write_bytes(SECRET)
    (outside / "deep/f").write_bytes(SECRET)
    for name in ("file", "folder/f", "folder/deep/f"):
        (home / name).write_bytes(b"harmless")
    for path in (home, *home.rglob("*")):
        os.chown(path, PERSON, PERSON)
    outside.chmod(0o700)
    process = subprocess.Popen([sys.executable, ATTACKER, home, outside, str(PERSON)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield outside
    finally:
        process.kill()
        process.communicate()


async def harmless_reads(home: OpenHome) -> int:
    """One look at everything and one reading of all that was seen, each name as if it were a file."""
    reads = 0
    for folder in (b"", b"folder", b"folder/deep"):
        (listing,) = await home.look([(folder, True)])
        readings = await home.read(folder, [seen._replace(kind=Kind.FILE) for seen in listing.entries] * 20)
        assert all(SECRET[:10] not in reading.data for reading in readings)
        reads += sum(reading.data == b"harmless" for reading in readings)
    return reads


async def test_reading_leaks_nothing(tmp_path: Path) -> None:
    end, reads = time.monotonic() + SECONDS, 0
    with attacked(tmp_path):
        async with opened(tmp_path / "home") as home:
            while time.monotonic() < end:
                reads += await harmless_reads(home)
    assert reads, "it did read in between"


def content_at(root: int, path: bytes) -> bytes | None:
    try:
        file = open_beneath(root, path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def test_opening_never_leaves_the_home(tmp_path: Path) -> None:
    paths, contents = (b"file", b"folder/f", b"folder/deep/f", b"folder/deep/folder/f"), Counter[bytes | None]()
    with attacked(tmp_path):
        root = os.open(tmp_path / "home", os.O_PATH)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            contents.update(content_at(root, path) for path in paths)
        os.close(root)
    assert contents.keys() == {None, b"harmless"}
    assert contents[b"harmless"] > 1000


async def test_snapshots_leak_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    with attacked(tmp_path):
        end, reports = time.monotonic() + SECONDS, []
        while time.monotonic() < end:
            reports.append(await world.snap(confirmed=True))
    for report in reports[:: max(1, len(reports) // 10)]:
        await world.restore(report, tmp_path / "back")
        for path, facts in look(tmp_path / "back").items():
            assert SECRET not in facts, path


async def test_restoring_writes_nothing_outside(tmp_path: Path) -> None:
    with attacked(tmp_path) as outside:
        before, writer = look(outside), DescriptorTarget(tmp_path / "home")
        entry = Entry(b"f", Kind.FILE, 0, 0o777, 0, 0, 8, 1, 1, 1, b"D")
        folder = entry._replace(name=b"deep", kind=Kind.FOLDER)
        end, written = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            for path in (b"folder", b"folder/deep"):
                results = await writer.write([(path, Writing(entry, (Piece(0, b"restored"),))), (path, Writing(entry._replace(name=b"new")))] * 10)
                written += results.count("")
                await writer.make([path, path + b"/made"])
                await writer.link(path + b"/f", b"folder/linked")
            await writer.dress([(b"folder/deep", folder), (b"folder", folder)])
        writer.close()
        assert look(outside) == before
        assert written > 20, "it did write in between"
