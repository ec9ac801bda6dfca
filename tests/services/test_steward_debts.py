"""Sync dies at a bad moment, and the notebook is gone before it is back: what was saved last in the home is kept all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from nbd.errors import Unreachable
from nbd.homes.snapshots.snapshotter import Request

from .boxes import Box, settled


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    box = Box(tmp_path / "box")
    yield box
    await box.steward.close()


async def paid(box: Box) -> None:
    """Until nothing is owed."""
    deadline = time.monotonic() + 5
    while (await box.notes.read("ada")).owed is not None:
        assert time.monotonic() < deadline, await box.steward.status(box.home)
        await asyncio.sleep(0.005)


async def test_killed_while_somebody_works_and_never_told_again(box: Box) -> None:
    await box.start()
    await settled(box)
    (box.path / "precious").write_text("an hour of work")
    await box.killed()
    assert (await box.notes.read("ada")).owed
    await box.steward.begin()
    await paid(box)
    assert "precious" in await box.names()


async def test_killed_while_a_stop_waits_for_a_store(box: Box) -> None:
    await box.start()
    await settled(box)
    box.store.trouble = Unreachable("the line is cut")
    (box.path / "precious").write_text("an hour of work")
    with pytest.raises(Unreachable):
        await box.stop("main")
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await box.steward.watch([])
    await box.killed()
    box.store.trouble = None
    await box.steward.begin()
    await paid(box)
    assert "precious" in await box.names()
    assert ("stop", "main") in await box.events()


async def test_nothing_is_owed_after_an_end_in_peace(box: Box) -> None:
    await box.start()
    await box.stop("main")
    await paid(box)
    before = await box.events()
    await box.killed()
    await box.steward.begin()
    assert await box.events() == before
    assert not (await box.steward.status(box.home)).pending


async def test_a_half_home_is_not_recorded_for_a_debt(box: Box) -> None:
    await box.start()
    await box.stop("main")
    await box.steward.watch([box.home])
    await box.notes.change("ada", bringing="ab" * 32)
    await box.killed()
    await box.steward.begin()
    assert not (await box.steward.status(box.home)).pending


async def test_a_wish_is_as_good_as_a_flush(box: Box) -> None:
    await box.start()
    await box.steward.flush(box.home, Request("stop", "main"))
    note = await box.notes.read("ada")
    assert note.owed
    assert (note.owed.event, note.owed.name) == ("stop", "main")
