"""A restore over what is in a home: what it replaces is kept first, or it does not take place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Refused, Unreachable
from nbd.homes.snapshots.naming import hold
from nbd.homes.snapshots.restorer import Progress
from nbd.homes.snapshots.retention import BEFORE
from nbd.host.homewriter import DescriptorTarget
from nbd.messages import RestoreRequest

from .boxes import Box, settled


class Watchful(DescriptorTarget):
    """Remembers whether the disk was asked to keep all of it."""

    flushed = False

    async def flush(self) -> None:
        await super().flush()
        self.flushed = True


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    box = Box(tmp_path / "box")
    (box.path / "paper").write_text("a draft")
    await box.start()
    await settled(box)
    await box.stop("main")
    deadline = time.monotonic() + 5
    while (await box.notes.read("ada")).owed:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    (box.path / "paper").write_text("a night's work, in no snapshot")
    yield box
    await box.steward.close()


async def restored(box: Box, to: str) -> Watchful:
    target = Watchful(box.path)
    try:
        (main,) = [one for one in await box.steward.snapshots(box.home) if one.name == "main"]
        await box.steward.restore(box.home, RestoreRequest("paper", main.id, to=to), target, Progress())
    finally:
        target.close()
    return target


async def test_what_is_replaced_is_in_a_snapshot(box: Box, tmp_path: Path) -> None:
    target = await restored(box, str(box.path))
    assert (box.path / "paper").read_text() == "a draft"
    assert target.flushed, "a power cut right after it finds it there"
    newest = (await box.steward.snapshots(box.home))[0]
    assert (newest.event, newest.name) == ("restore", "before a restore")
    (tmp_path / "back").mkdir()
    back = DescriptorTarget(tmp_path / "back")
    try:
        await box.steward.restore(box.home, RestoreRequest("paper", newest.id), back, Progress())
    finally:
        back.close()
    assert (tmp_path / "back/paper").read_text() == "a night's work, in no snapshot"


async def test_what_cannot_be_kept_is_not_replaced(box: Box) -> None:
    async def away() -> None:
        box.store.trouble = Unreachable("the line is cut")

    box.store.meddlers = [away]
    with pytest.raises(Refused) as said:
        await restored(box, str(box.path))
    assert said.value.code == "not_saved_first"
    assert (box.path / "paper").read_text() == "a night's work, in no snapshot"


async def test_a_new_folder_replaces_nothing(box: Box) -> None:
    before = await box.events()
    await restored(box, "")
    assert await box.events() == before


async def test_one_from_before_a_restore_is_kept_for_ever_once_another_box_needs_it(box: Box) -> None:
    await restored(box, str(box.path))
    repository = await box.means.vault.find("ada")
    assert repository
    befores = [one for one in repository.root.snapshots if one.name == BEFORE]
    await hold(repository, befores[0].id, "of another", alone=True)
    assert [one.name for one in repository.root.snapshots if one.id == befores[0].id] == ["of another"]
    await hold(repository, befores[0].id, "of a third")
    assert [one.name for one in repository.root.snapshots if one.id == befores[0].id] == ["of another"]
