"""A home that moves between boxes with one store: it comes back whole, goes on where a kill left it, and nobody's work is lost to another box's."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nbd.errors import HostUnfit, Refused, Unreachable
from nbd.homes.model import HomeFacts
from nbd.homes.snapshots.snapshotter import Request
from nbd.host.homefolder import DescriptorFolders
from tests.homes.test_repository import fill
from tests.homes.world import look

from .boxes import Box, Killed, settled

AWAY = Unreachable("the store is away", code="store_away")


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[tuple[Box, Box]]:
    one = Box(tmp_path / "one")
    two = Box(tmp_path / "two", one.store)
    yield one, two
    await one.steward.close()
    await two.steward.close()


async def kept(box: Box, **files: str) -> None:
    """A run in which these files were written."""
    await box.start()
    for name, text in files.items():
        (box.path / name).write_text(text)
    await box.stop()


async def test_a_new_account_starts_at_once_and_its_first_home_is_kept(boxes: tuple[Box, Box]) -> None:
    one, _ = boxes
    assert await one.start() == ""
    await settled(one)
    assert one.store.objects


async def test_an_empty_home_is_the_last_snapshot_before_the_notebook_runs(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await one.start()
    fill(one.path)
    await one.stop()
    for box in (one, two):
        (box.skeleton / ".bashrc").write_text("as new")
    (two.path / ".bashrc").write_text("as new")
    (two.path / ".bash_history").write_text("ls\n")
    (two.path / "Desktop").mkdir()
    for folder in (two.skeleton, two.path):
        (folder / "welcome").mkdir()
        (folder / "welcome/read me").write_text("of the lab")
    assert await two.start() == (await one.steward.snapshots(one.home))[0].id
    before, after = look(one.path), look(two.path)
    assert {path: facts for path, facts in after.items() if path in before} == before
    assert set(after) - set(before) == {b".bashrc", b".bash_history", b"Desktop", b"welcome", b"welcome/read me"}
    assert two.progress.of_entries == two.progress.entries + two.progress.already + len(two.progress.skipped)
    assert two.progress.of_bytes == two.progress.bytes + two.progress.already_bytes
    await settled(two)
    assert (await two.steward.status(two.home)).sentence == "protected"
    assert len(await two.names()) == len(os.listdir(two.path))  # noqa: PTH208 - one of the names is no UTF-8


@pytest.mark.parametrize("touched", ["welcome/read me", "welcome/notes", "Desktop/paper", ".bashrc"])
async def test_the_smallest_sign_of_work_keeps_a_home_as_it_is(boxes: tuple[Box, Box], touched: str) -> None:
    one, two = boxes
    await kept(one, work="x")
    for folder in (two.skeleton, two.path):
        (folder / "welcome").mkdir()
        (folder / "welcome/read me").write_text("of the lab")
        (folder / ".bashrc").write_text("as new")
    (two.path / "Desktop").mkdir()
    (two.path / touched).write_text("of hers!!!")
    assert await two.start() == ""
    assert not (two.path / "work").exists()
    assert (two.path / touched).read_text() == "of hers!!!"


async def test_what_is_there_already_stays_where_it_is_another(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await one.start()
    (one.path / ".ssh").mkdir()
    (one.path / ".ssh/authorized_keys").write_text("old key")
    (one.path / ".ssh/known_hosts").write_text("hosts")
    (one.path / ".bashrc").write_text("mine")
    (one.path / "work").write_text("x")
    await one.stop()
    for box in (one, two):
        (box.skeleton / ".bashrc").write_text("new")
    (two.path / ".bashrc").write_text("new")
    (two.path / ".ssh").mkdir()
    (two.path / ".ssh/authorized_keys").write_text("the key of this box")
    await two.start()
    assert (two.path / ".ssh/authorized_keys").read_text() == "the key of this box"
    assert [one.path for one in two.progress.skipped] == [".ssh/authorized_keys"]
    assert (two.path / ".ssh/known_hosts").read_text() == "hosts"
    assert (two.path / ".bashrc").read_text() == "mine"


async def test_a_home_that_was_wiped_comes_back_on_its_own_box(boxes: tuple[Box, Box]) -> None:
    one, _ = boxes
    await kept(one, work="x")
    shutil.rmtree(one.path)
    one.path.mkdir()
    await one.killed()
    assert await one.start()
    assert (one.path / "work").read_text() == "x"
    assert await one.start() == "", "and not again"


@pytest.mark.parametrize("lives", range(9))
async def test_a_kill_in_the_middle_leaves_a_home_of_which_nothing_is_recorded_and_the_next_start_goes_on(tmp_path: Path, lives: int) -> None:
    one = Box(tmp_path / "one")
    two = Box(tmp_path / "two", one.store)
    await one.start()
    fill(one.path)
    await one.stop()
    assert (await two.steward.ready(two.home)).bring
    with pytest.raises(Killed):
        await two.bring(lives)
    await two.killed()
    pointer = two.store.objects["latest"]
    await two.steward.watch([two.home])
    with pytest.raises(Refused) as said:
        await two.steward.flush(two.home, Request("stop", "main"))
    assert said.value.code == "home_half"
    assert "in part only" in (await two.steward.status(two.home)).sentence
    await asyncio.sleep(0.05)
    assert two.store.objects["latest"] == pointer
    await two.steward.watch([])
    done_before = sum(path.is_file() and not path.is_symlink() for path in two.path.rglob("*"))
    assert await two.start()
    assert look(two.path) == look(one.path)
    if done_before > 1:
        assert two.progress.already, "what is there just so is not written again"
    await one.steward.close()
    await two.steward.close()


async def test_nobody_can_say_what_belongs_in_an_empty_home_while_the_store_is_away(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, work="x")
    one.store.trouble = AWAY
    with pytest.raises(HostUnfit) as said:
        await two.steward.ready(two.home)
    assert (said.value.code, said.value.retryable) == ("home_not_back", True)
    assert await one.start() == "", "where somebody has worked, a start does not wait for a store"
    one.store.trouble = None
    assert await two.start()


async def test_a_store_that_goes_away_in_the_middle(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, **{f"f{number}": str(number) * 1000 for number in range(50)})
    assert (await two.steward.ready(two.home)).bring
    reading, two.store.trouble = asyncio.create_task(two.bring()), None
    while not two.progress.of_entries:
        await asyncio.sleep(0)
    two.store.trouble = AWAY
    with pytest.raises(HostUnfit) as said:
        await reading
    assert said.value.code == "home_not_back"
    two.store.trouble = None
    assert (await two.steward.ready(two.home)).bring == "it was brought back in part"
    await two.start()
    assert look(two.path) == look(one.path)


async def test_a_damaged_file_is_no_reason_to_start_on_half_a_home(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await one.start()
    (one.path / "good").write_text("x")
    (one.path / "bad").write_bytes(os.urandom(5_000_000))
    await one.stop()
    packs = sorted((key for key in one.store.objects if key.startswith("data/")), key=lambda key: len(one.store.objects[key]))
    data = bytearray(one.store.objects[packs[-1]])
    data[1000] ^= 1
    one.store.objects[packs[-1]] = bytes(data)
    with pytest.raises(HostUnfit, match="bad") as said:
        await two.start()
    assert said.value.code == "home_not_back"
    assert await two.keeper.ledger.half("ada")
    await two.keeper.ledger.accept(two.home)
    assert await two.start() == ""
    await settled(two)
    assert await two.names() == {"good"}


async def test_started_on_an_empty_home_what_was_is_kept_for_ever_and_what_is_made_is_kept_too(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, work="x")
    one.store.trouble = AWAY
    await two.keeper.ledger.accept(two.home)
    assert await two.start() == ""
    (two.path / "new").write_text("y")
    with pytest.raises(Unreachable):
        await two.stop()
    one.store.trouble = None
    await two.killed()
    assert await two.start() == "", "it was said once, and holds until it is recorded"
    await two.stop()
    assert await two.names() == {"new"}
    before = [known for known in await two.steward.snapshots(two.home) if "work" in await two.names(known.id)]
    assert all(known.name for known in before[:1]), "the last of them is kept for ever"
    for path in two.path.iterdir():
        path.unlink()
    assert (await two.steward.ready(two.home)).bring, "it was said of that home at that time"


async def test_what_a_home_was_before_it_was_left_aside_has_a_name_for_ever(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    (one.path / "work").write_text("x")
    await one.steward.flush(one.home, Request("save"))
    await two.keeper.ledger.accept(two.home)
    await two.start()
    (two.path / "new").write_text("y")
    await two.steward.flush(two.home, Request("save"))
    names = {known.name: await two.names(known.id) for known in await two.steward.snapshots(two.home) if known.name}
    assert names == {"before it was left aside": {"work"}}


class Full(DescriptorFolders):
    async def look(self, path: str) -> HomeFacts:
        return replace(await super().look(path), free_bytes=4_999_999)


async def test_a_home_that_does_not_fit_is_not_begun(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, work="x" * 5_000_000)
    two.keeper._folders = Full()
    assert (await two.steward.ready(two.home)).bring
    with pytest.raises(HostUnfit, match=r"needs 4\.8 MiB, 1 B more than is free") as said:
        await two.bring()
    assert said.value.code == "home_not_back"
    assert list(two.path.iterdir()) == []
    assert not await two.keeper.ledger.half("ada")


async def test_back_on_the_first_box_its_home_goes_forward_to_the_others(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await one.start()
    fill(one.path)
    for name in ("same", "changed", "gone", "becomes a folder", "touched"):
        (one.path / name).write_text(name)
    for name in ("left", "becomes a file"):
        (one.path / name).mkdir()
        (one.path / name / "in it").write_text("x")
    os.link(one.path / "same", one.path / "another name")
    (one.path / "tagged").mkdir()
    os.setxattr(one.path / "tagged", "user.tag", b"x")
    await one.stop()
    await two.start()
    (two.path / "changed").write_text("otherwise")
    (two.path / "gone").unlink()
    (two.path / "becomes a folder").unlink()
    (two.path / "becomes a folder").mkdir()
    (two.path / "becomes a folder/deep").write_text("y")
    shutil.rmtree(two.path / "becomes a file")
    (two.path / "becomes a file").write_text("z")
    shutil.rmtree(two.path / "left")
    os.removexattr(two.path / "tagged", "user.tag")
    os.link(two.path / "same", two.path / "a third name")
    status = (two.path / "touched").stat()
    (two.path / "touched").write_text("dehcuot")
    os.utime(two.path / "touched", ns=(status.st_mtime_ns, status.st_mtime_ns))
    (two.path / "new").mkdir()
    (two.path / "new/file").write_text("new")
    await two.stop()
    unchanged = (one.path / "sparse").stat().st_ino if (one.path / "sparse").exists() else None
    (one.path / ".cache").mkdir()
    (one.path / ".cache/kept").write_text("left out of snapshots, and left alone")
    assert await one.start()
    shutil.rmtree(one.path / ".cache")
    os.utime(one.path, ns=(two.path.stat().st_mtime_ns,) * 2)
    assert look(one.path) == look(two.path)
    assert unchanged is None or (one.path / "sparse").stat().st_ino == unchanged, "what is the same is not written again"
    await settled(one)
    assert (await one.steward.status(one.home)).alarms == ()
    assert await one.start() == ""


@pytest.mark.parametrize("lives", range(7))
async def test_going_forward_goes_on_after_a_kill(tmp_path: Path, lives: int) -> None:
    one = Box(tmp_path / "one")
    two = Box(tmp_path / "two", one.store)
    await kept(one, a="a", b="b", c="c")
    await two.start()
    (two.path / "a").unlink()
    (two.path / "b").write_text("bb")
    (two.path / "c").unlink()
    (two.path / "c").mkdir()
    (two.path / "c/d").write_text("d")
    await two.stop()
    assert (await one.steward.ready(one.home)).bring
    try:
        await one.bring(lives)
    except Killed:
        await one.killed()
        assert await one.keeper.ledger.half("ada")
        await one.start()
    assert look(one.path) == look(two.path)
    await one.steward.close()
    await two.steward.close()


async def test_where_both_boxes_worked_the_home_stays_and_both_are_kept(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, paper="first")
    await two.start()
    (two.path / "paper").write_text("of the second box")
    await two.steward.flush(two.home, Request("save"))
    await two.steward.watch([])
    (one.path / "paper").write_text("written here, over ssh")
    (one.path / "mine").write_text("only here")
    assert await one.start() == ""
    assert (one.path / "paper").read_text() == "written here, over ssh"
    (alarm,) = (await one.steward.status(one.home)).alarms
    theirs = (await two.steward.snapshots(two.home))[0]
    await one.keeper.ledger.keep_both("ada")
    await one.stop()
    listed = {known.id: known for known in await one.steward.snapshots(one.home)}
    held = next(known for known in listed.values() if known.name.startswith("of "))
    assert held.id[:12] in alarm
    assert theirs.id in listed
    assert await one.names() == {"paper", "mine"}
    await one.steward.flush(one.home, Request("confirm", confirmed=True))
    assert (await one.steward.status(one.home)).alarms == ()


async def test_a_change_in_the_very_moment_is_left_as_it_is(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, paper="first", other="first")
    await two.start()
    (two.path / "paper").write_text("second")
    (two.path / "other").unlink()
    await two.stop()

    chosen = one.keeper._chosen

    async def then_somebody_writes(*given):  # type: ignore[no-untyped-def]
        found = await chosen(*given)
        (one.path / "paper").write_text("in the very moment")
        (one.path / "other").write_text("in the very moment")
        return found

    one.keeper._chosen = then_somebody_writes  # type: ignore[method-assign]
    assert await one.start()
    assert (one.path / "paper").read_text() == (one.path / "other").read_text() == "in the very moment"
    assert {known.path for known in one.progress.skipped} == {"paper", "other"}


async def test_a_home_that_was_a_mount_and_is_none_is_not_filled(boxes: tuple[Box, Box]) -> None:
    one, _ = boxes
    await kept(one, work="x")
    await one.notes.change("ada", mounted=True)
    (one.path / "work").unlink()
    with pytest.raises(HostUnfit, match="was a mount of its own"):
        await one.steward.ready(one.home)
    await one.keeper.ledger.accept(one.home)
    assert await one.start() == ""


async def test_two_starts_at_once_bring_it_once(boxes: tuple[Box, Box]) -> None:
    one, two = boxes
    await kept(one, work="x")
    assert (await two.steward.ready(two.home)).bring
    first, second = await asyncio.gather(two.bring(), two.bring())
    assert [bool(first.id), bool(second.id)] == [True, False]
    assert not (await two.steward.ready(two.home)).bring
