"""A person swaps files and folders with links while nbd, with more rights, reads and restores: nothing leaks, nothing is written outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.homes.model import Entry, Kind
from nbd.homes.ports import OpenHome, Piece, Writing
from nbd.host.beneath import open_beneath
from nbd.host.homewriter import DescriptorTarget

from .attack_reader import HARMLESS
from .independent_reader import Reader
from .world import MASTER, SOAK, World, look, opened, restored

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root has more rights than the person")

SECONDS = 1.5 if SOAK == 1 else 60.0
"""At least; what has not got a word in by then goes on until it has."""
LONGEST_SECONDS = SECONDS + 60.0
PERSON, READER = 23456, 23457
SECRET, SECRET_NAME = b"root's secret " * 50, b"name-of-a-secret"
ATTACKER = Path(__file__).with_name("attacker.py")
ROOT = Path(__file__).resolve().parent.parent.parent
READ_SEARCH = (
    "setpriv", f"--reuid={READER}", f"--regid={READER}", "--clear-groups", "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


def laid_out(tmp_path: Path, *, hard: bool) -> Path:
    """The outside, with a secret, beside a home that is full of ways to it; `hard`: one of them is a hard link."""
    outside, home = tmp_path / "outside", tmp_path / "home"
    for folder in (outside, home, home / "folder", outside / "deep", home / "folder/deep", home / "folder/deep/folder", home / "mounted"):
        folder.mkdir(exist_ok=True)
    for name in ("f", "deep/f", f"deep/{SECRET_NAME.decode()}"):
        (outside / name).write_bytes(SECRET)
        (outside / name).chmod(0o600)
    for name in ("file", "folder/f", "folder/deep/f", "mounted-file"):
        (home / name).write_bytes(HARMLESS)
    os.mkfifo(home / "pipe")
    for path in (home, *home.rglob("*")):
        os.chown(path, PERSON, PERSON)
    if hard:
        os.link(outside / "f", home / "hard")
    outside.chmod(0o700)
    return outside


@contextmanager
def attacker(tmp_path: Path, uid: int = PERSON, *around: str) -> Iterator[int]:
    process = subprocess.Popen([*around, sys.executable, ATTACKER, tmp_path / "home", tmp_path / "outside", str(uid)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def contents_of(outside: Path) -> dict[bytes, tuple[object, ...]]:
    """All but how many names they have: the one in the home may go."""
    return {path: facts[:7] for path, facts in look(outside).items()}


@contextmanager
def attacked(tmp_path: Path, *, hard: bool = True) -> Iterator[Path]:
    outside = laid_out(tmp_path, hard=hard)
    with attacker(tmp_path):
        yield outside


def enough(began: float, count: int, wanted: int) -> bool:
    """So long as was asked, and until it has got a word in so often."""
    assert time.monotonic() < began + LONGEST_SECONDS, f"only {count} times in between"
    return time.monotonic() > began + SECONDS and count >= wanted


async def harmless_reads(home: OpenHome) -> int:
    """One look at everything and one reading of all that was seen, each name as if it were a file."""
    reads = 0
    for folder in (b"", b"folder", b"folder/deep"):
        (listing,) = await home.look([(folder, True)])
        assert SECRET_NAME not in {seen.name for seen in listing.entries}
        readings = await home.read(folder, [seen._replace(kind=Kind.FILE) for seen in listing.entries] * 5)
        assert all(SECRET[:10] not in reading.data for reading in readings)
        reads += sum(reading.data == HARMLESS for reading in readings)
    return reads


ALONE = pytest.mark.parametrize("owner", [PERSON, None], ids=["with the owner asked", "by openat2 alone"])
"""Two walls, each proven without the other: of hard links only the owner tells, of all else the way there must be enough."""


@ALONE
async def test_reading_leaks_nothing(tmp_path: Path, owner: int | None) -> None:
    began, reads = time.monotonic(), 0
    with attacked(tmp_path, hard=owner is not None):
        async with opened(tmp_path / "home", owner) as home:
            while not enough(began, reads, 10):
                reads += await harmless_reads(home)


def content_at(root: int, path: bytes) -> bytes | None:
    try:
        file = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(file, 100)
    except IsADirectoryError:
        return None
    finally:
        os.close(file)


def test_opening_never_leaves_the_home(tmp_path: Path) -> None:
    paths, contents = (b"file", b"folder/f", b"folder/deep/f", b"folder/deep/folder/f", b"secret-link"), Counter[bytes | None]()
    with attacked(tmp_path, hard=False):
        root, began = os.open(tmp_path / "home", os.O_PATH), time.monotonic()
        while not enough(began, contents[HARMLESS], 1000):
            contents.update(content_at(root, path) for path in paths)
        os.close(root)
    assert contents.keys() == {None, HARMLESS, b""}, "the empty one is the pipe"


def stored(store: Path) -> Iterator[bytes]:
    """Everything that is in the packs, whatever names it: opened by the reader that shares no code with nbd."""
    reader = Reader(store, MASTER)
    reader.read_footers()
    yield from map(reader.blob, reader.places)


def snapshots(tmp_path: Path, owner: int | None, *around: str) -> int:
    """So many were taken, by a process of its own."""
    words = (tmp_path / "home", tmp_path / "store/of-person", str(owner or ""), str(SECONDS))
    argv: list[str | Path] = [*around, sys.executable, "-m", "tests.homes.attack_reader", *words]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    return int(done.stdout)


def nothing_leaked(store: Path) -> None:
    contents = list(stored(store))
    assert HARMLESS in contents
    for content in contents:
        assert SECRET[:14] not in content
        assert SECRET_NAME not in content


@ALONE
@pytest.mark.parametrize("rights", [(), READ_SEARCH], ids=["root", "CAP_DAC_READ_SEARCH"])
def test_snapshots_leak_nothing(tmp_path: Path, rights: Sequence[str], owner: int | None) -> None:
    (tmp_path / "store").mkdir()
    os.chown(tmp_path / "store", READER if rights else 0, 0)
    with attacked(tmp_path, hard=owner is not None):
        assert snapshots(tmp_path, owner, *rights) > 0
    nothing_leaked(tmp_path / "store/of-person")


def test_what_is_mounted_in_a_home_does_not_leak(tmp_path: Path) -> None:
    """Both at once: a person who swaps, and a root who mounts the secret into the home, over and over."""
    (tmp_path / "store").mkdir()
    laid_out(tmp_path, hard=False)
    with attacker(tmp_path, 0, "unshare", "--mount", "--propagation", "private") as mounter, attacker(tmp_path):
        assert snapshots(tmp_path, None, "nsenter", f"--mount=/proc/{mounter}/ns/mnt") > 0
    nothing_leaked(tmp_path / "store/of-person")


def test_the_canary_is_found_where_it_is(tmp_path: Path) -> None:
    """The proof above can fail: who does not ask whose a file is stores the hard link."""
    (tmp_path / "store").mkdir()
    laid_out(tmp_path, hard=True)
    snapshots(tmp_path, None)
    with pytest.raises(AssertionError):
        nothing_leaked(tmp_path / "store/of-person")


async def test_writing_writes_nothing_outside(tmp_path: Path) -> None:
    """As root, which is more than a restore ever is."""
    with attacked(tmp_path) as outside:
        before, writer = contents_of(outside), DescriptorTarget(tmp_path / "home")
        entry = Entry(b"f", Kind.FILE, 0, 0o777, 0, 0, 8, 1, 1, 1, b"D")
        folder = entry._replace(name=b"deep", kind=Kind.FOLDER)
        began, written = time.monotonic(), 0
        while not enough(began, written, 20):
            for path in (b"folder", b"folder/deep"):
                results = await writer.write([(path, Writing(entry, (Piece(0, b"restored"),))), (path, Writing(entry._replace(name=b"new")))] * 10)
                written += results.count("")
                await writer.make([path, path + b"/made"])
                await writer.link(path + b"/f", b"folder/linked")
                await writer.link(b"hard", path + b"/linked")
            await writer.dress([(b"folder/deep", folder), (b"folder", folder)])
        writer.close()
        assert contents_of(outside) == before


async def test_restoring_writes_nothing_outside(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for name in (b"file", b"folder/f", b"folder/deep/f", b"folder/deep/folder/f", b"hard", b"pipe", b"mounted/f"):
        path = tmp_path / "home" / name.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"restored " + name)
    os.link(tmp_path / "home/file", tmp_path / "home/folder/second")
    report = await world.snap()
    subprocess.run(["rm", "-rf", tmp_path / "home"], check=True)
    with attacked(tmp_path) as outside:
        before, began, back = contents_of(outside), time.monotonic(), 0
        while not enough(began, back, 20):
            progress = await restored(world.repository, report, tmp_path / "home")
            back += progress.entries
        assert contents_of(outside) == before
