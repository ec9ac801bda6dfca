"""What `idle.ports.Records` promises, asked of the fake and of real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbd.host.idlerecords import MOST_BYTES, RecordFiles
from nbd.idle.ports import Records
from tests.fakes.idle_sources import FakeRecords


@pytest.fixture(params=["fake", "files"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Records:
    return FakeRecords() if request.param == "fake" else RecordFiles(tmp_path / "idle")


async def test_what_was_appended_is_read_oldest_first(records: Records) -> None:
    assert list(await records.read("nmain")) == []
    for number in range(5):
        await records.append("nmain", b"line %d" % number)
        await records.append("nother", b"other %d" % number)
    assert list(await records.read("nmain")) == [b"line %d" % number for number in range(5)]


async def test_odd_bytes_come_back_as_they_were(records: Records) -> None:
    odd = [b"", b"\xff\xfe", "ä\r\x0b\x0c\x1c\u2028".encode(), b" "]
    for line in odd:
        await records.append("nmain", line)
    assert list(await records.read("nmain")) == odd


async def test_a_file_never_becomes_too_large_and_the_newest_stays(records: Records) -> None:
    lines = [b"%05d" % number + b"x" * 20_000 for number in range(150)]
    for line in lines:
        await records.append("nmain", line)
    kept = list(await records.read("nmain"))
    assert sum(len(line) + 1 for line in kept) <= MOST_BYTES
    assert kept == lines[-len(kept) :]
    assert len(kept) >= 20


async def test_those_of_others_go(records: Records) -> None:
    for notebook in ("nmain", "nother", "nthird"):
        await records.append(notebook, b"x")
    await records.keep_only(["nmain", "nthird"])
    assert list(await records.read("nother")) == []
    assert list(await records.read("nmain")) == [b"x"]
    await records.append("nother", b"y")
    assert list(await records.read("nother")) == [b"y"]
    await records.keep_only([])
    assert list(await records.read("nmain")) == []
