"""What the door says when core is not there: nothing at first, one sentence later, and again after each time it was there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from nbd.web.corelink import CoreLink
from nbd.web.table import DoorTable
from tests.doors.world import until
from tests.fakes.core_api import FakeCore

WORDS = "who is signed in cannot be learned from core: "


def told(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "nbd.web.corelink" and record.levelno == level]


@pytest.mark.parametrize(("quiet_seconds", "loud"), [(60.0, 0), (0.0, 1)])
async def test_a_core_that_is_not_there_is_said_once_and_not_at_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, quiet_seconds: float, loud: int
) -> None:
    caplog.set_level(logging.DEBUG)
    link = CoreLink(tmp_path / "core.sock", quiet_seconds=quiet_seconds)
    following = asyncio.create_task(link.follow(DoorTable(asyncio.get_running_loop().time)))
    await until(lambda: len(told(caplog, logging.DEBUG)) >= 3 - loud)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await link.close()
    warnings = told(caplog, logging.WARNING)
    assert warnings == [WORDS + "nobody listens at its socket (No such file or directory)"] * loud


async def test_a_core_that_breaks_off_is_said_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    core, table = FakeCore(), DoorTable(asyncio.get_running_loop().time)
    link = CoreLink(tmp_path / "core.sock", quiet_seconds=0.0)
    async with core.serve(tmp_path / "core.sock"):
        following = asyncio.create_task(link.follow(table))
        await until(table.fresh)
        assert not told(caplog, logging.WARNING)
    await until(lambda: bool(told(caplog, logging.WARNING)))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await link.close()
