"""A restore over what is in a home: what it replaces is kept first, or it does not take place."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Refused, Unreachable
from nbd.homes.snapshots.naming import hold
from nbd.homes.snapshots.restorer import Progress
from nbd.homes.snapshots.retention import BEFORE
from nbd.homes.snapshots.sparing import STAYS
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


@pytest.mark.parametrize("size", [10, 5 << 20])
async def test_what_is_in_no_snapshot_is_not_replaced(box: Box, size: int) -> None:
    """The rules leave it out by now: the snapshot before the restore has it not."""
    for name in ("data/mine", "data/linked", "kept"):
        (box.path / name).parent.mkdir(exist_ok=True)
        (box.path / name).write_bytes(b"old" + bytes(size))
    os.link(box.path / "kept", box.path / "other")
    await box.stop("all")
    (old,) = [one for one in await box.steward.snapshots(box.home) if one.name == "all"]
    (box.path / ".nbdignore").write_text("/data/\n")
    for name in ("data/mine", "kept"):
        (box.path / name).write_text("a week's work")
    (box.path / "data/linked").unlink()
    os.link(box.path / "data/mine", box.path / "data/linked")
    target, progress = DescriptorTarget(box.path), Progress()
    try:
        for path in ("data/mine", ""):
            await box.steward.restore(box.home, RestoreRequest(path, old.id, to=str(box.path)), target, progress)
    finally:
        target.close()
    assert (box.path / "data/mine").read_text() == (box.path / "data/linked").read_text() == "a week's work"
    assert {one.path for one in progress.skipped} == {"data/mine", "data/linked"}
    assert {one.reason for one in progress.skipped} == {STAYS}
    assert (box.path / "kept").read_bytes()[:3] == (box.path / "other").read_bytes()[:3] == b"old"
    assert (box.path / "kept").samefile(box.path / "other")


async def test_a_place_below_the_home_is_looked_at_where_it_is(box: Box) -> None:
    (box.path / "mine").mkdir()
    (box.path / "mine/paper").write_text("in the way, and kept first")
    (box.path / ".nbdignore").write_text("/mine/out\n")
    target, progress = DescriptorTarget(box.path / "mine"), Progress()
    (main,) = [one for one in await box.steward.snapshots(box.home) if one.name == "main"]
    try:
        await box.steward.restore(box.home, RestoreRequest("paper", main.id, to=str(box.path / "mine")), target, progress)
    finally:
        target.close()
    assert (progress.skipped, (box.path / "mine/paper").read_text()) == ([], "a draft")
