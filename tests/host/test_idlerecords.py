"""Records on a real disk: kills at any moment, disks that are full, files that somebody else made."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.errors import HostUnfit, InvalidInput
from nbd.host.fileops import FileOps
from nbd.host.idlerecords import MOST_BYTES, RecordFiles

BEFORE = [b"one", b"two", b"three"]


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    records = RecordFiles(tmp_path / "idle")
    for line in BEFORE:
        await records.append("nmain", line)
    return tmp_path / "idle/nmain.log"


async def test_only_root_reads_them(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("torn", range(1, 6))
async def test_a_torn_end_is_dropped_and_nothing_grows_on_it(file: Path, torn: int) -> None:
    file.write_bytes(file.read_bytes()[:-torn])
    records = RecordFiles(file.parent)
    assert await records.read("nmain") == BEFORE[:2]
    await records.append("nmain", b"four")
    assert await records.read("nmain") == [*BEFORE[:2], b"four"]


async def test_zeros_that_a_crash_left_are_dropped(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"\0" * 5000 + b"\n" + b"\0" * 100)
    records = RecordFiles(file.parent)
    assert await records.read("nmain") == BEFORE
    await records.append("nmain", b"four")
    assert await RecordFiles(file.parent).read("nmain") == [*BEFORE, b"four"]
    assert file.read_bytes().count(b"\0") == 0


async def test_a_file_that_is_too_large_already_is_cut(file: Path) -> None:
    file.write_bytes(b"".join(b"%07d\n" % number for number in range(400_000)))
    records = RecordFiles(file.parent)
    await records.append("nmain", b"end")
    kept = await records.read("nmain")
    assert kept[-2:] == [b"0399999", b"end"]
    assert file.stat().st_size <= MOST_BYTES


class Dying(FileOps):
    """Killed before the `lives`-th change of the disk."""

    def __init__(self, lives: int) -> None:
        self._lives = lives

    def _tick(self) -> None:
        self._lives -= 1
        if self._lives < 0:
            raise KeyboardInterrupt

    def write_synced(self, path: Path, data: bytes) -> None:
        self._tick()
        path.write_bytes(data[: len(data) // 2])
        self._tick()
        super().write_synced(path, data)

    def rename(self, source: Path, target: Path) -> None:
        self._tick()
        super().rename(source, target)


@pytest.mark.parametrize("lives", range(4))
async def test_killed_in_a_cut_the_old_file_or_the_new_is_there(file: Path, lives: int) -> None:
    lines = [b"%05d" % number + b"x" * 90_000 for number in range(11)]
    records = RecordFiles(file.parent)
    for line in lines:
        await records.append("nmain", line)
    records = RecordFiles(file.parent, Dying(lives))
    try:
        await records.append("nmain", b"last" + b"y" * 90_000)
    except KeyboardInterrupt:
        assert lives < 3
    left = await RecordFiles(file.parent).read("nmain")
    assert lines[-1] in left
    assert [line for line in left if line[:1] != b"l"] == [*BEFORE, *lines][-len([line for line in left if line[:1] != b"l"]) :]
    await RecordFiles(file.parent).keep_only(["nmain"])
    assert {path.name for path in file.parent.iterdir()} == {"nmain.log"}, "what a kill left beside it goes"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before, told = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, told)


async def test_a_disk_that_takes_half_a_line(file: Path) -> None:
    records = RecordFiles(file.parent)
    await records.append("nmain", b"four")
    with largest_file(file.stat().st_size + 5), pytest.raises(HostUnfit) as caught:
        await records.append("nmain", b"does not fit")
    assert "df -h" in caught.value.hint
    assert await records.read("nmain") == [*BEFORE, b"four"]
    await records.append("nmain", b"five")
    assert await records.read("nmain") == [*BEFORE, b"four", b"five"]


async def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "idle").mkdir()
    (tmp_path / "idle/nmain.log").symlink_to(tmp_path / "target")
    with pytest.raises(HostUnfit):
        await RecordFiles(tmp_path / "idle").append("nmain", b"x")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("line", [b"a\nb", b"a\0b", b"x" * MOST_BYTES])
async def test_what_is_no_line_is_refused(file: Path, line: bytes) -> None:
    with pytest.raises(InvalidInput):
        await RecordFiles(file.parent).append("nmain", line)


@pytest.mark.parametrize("notebook", ["", "../up", "a/b", "A", "x" * 65])
async def test_what_is_no_id_names_no_file(file: Path, notebook: str) -> None:
    with pytest.raises(InvalidInput):
        await RecordFiles(file.parent).append(notebook, b"x")


async def test_no_descriptor_is_left(file: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    records = RecordFiles(file.parent)
    for _ in range(20):
        await records.append("nmain", b"x")
        await records.read("nmain")
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
