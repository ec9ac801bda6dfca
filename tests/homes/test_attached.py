"""Attached data carried both ways on a real folder: what one side has reaches the other, conflicts are kept twice, kills lose nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nbd.errors import Conflict, HostUnfit, NotFound, Unreachable
from nbd.homes.model import HomeFacts

from .attached_world import GIB, AttachedWorld

PATIENCE = 20.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[AttachedWorld]:
    world = AttachedWorld(tmp_path)
    yield world
    await world.data.close()


async def until(what: Callable[[], bool], say: Callable[[], object] = lambda: "it did not happen") -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, say()
        await asyncio.sleep(0.005)


async def test_all_comes_down_before_a_start_and_nothing_the_second_time(world: AttachedWorld) -> None:
    for key, text in {"a": "one", "d/e/f": "two", "d/ü b": "three", "empty": "", "large": "x" * (9 << 20)}.items():
        world.put(key, text)
    tally = await world.start()
    assert world.here() == world.there()
    assert (tally.files, tally.bytes) == (tally.total_files, tally.total_bytes) == (5, 3 + 3 + 5 + (9 << 20))
    modified = world.memory.modified["a"]
    assert (world.folder / "a").stat().st_mtime_ns == modified
    assert (world.folder / "d").stat().st_mode & 0o777 == 0o755
    world.memory.calls.clear()
    tally = await world.start()
    assert world.memory.calls == [("list", "")]
    assert tally.total_files == 0


async def test_what_changes_there_comes_with_the_next_start(world: AttachedWorld) -> None:
    for number in range(30):
        world.put(f"f{number}", "same")
    world.put("d/only", "x")
    await world.start()
    (world.folder / "f1").chmod(0o750)
    world.put("f0", "changed")
    world.put("f1", "changed")
    world.put("new/one", "new")
    del world.memory.objects["d/only"]
    await world.flush()
    await world.start()
    assert world.here() == world.there()
    assert not (world.folder / "d").exists()
    assert (world.folder / "f1").stat().st_mode & 0o777 == 0o750


async def test_what_is_written_goes_up_while_it_runs_and_only_that(world: AttachedWorld) -> None:
    world.put("a", "one")
    await world.start()
    world.data.use([world.attachment.id])
    world.memory.calls.clear()
    world.save("results/run 1", "42")
    await until(lambda: "results/run 1" in world.there())
    assert world.memory.calls == [("put", "results/run 1")]
    world.save("results/run 1", "43")
    await until(lambda: world.there()["results/run 1"] == "43")
    world.save("results/run 2", "44")
    (world.folder / "a").unlink()
    await until(lambda: "a" not in world.there() and "results/run 2" in world.there())
    world.data.use([])
    await until(lambda: not world.data._carriers[world.attachment.id]._task or world.data._carriers[world.attachment.id]._task.done())  # type: ignore[union-attr]
    assert world.here() == world.there() == {"results/run 1": "43", "results/run 2": "44"}


async def test_nothing_changed_costs_no_request_and_a_touch_no_upload(world: AttachedWorld) -> None:
    world.save("a", "one")
    world.save("b", "two")
    await world.flush()
    world.memory.calls.clear()
    await world.flush()
    os.utime(world.folder / "a")
    (world.folder / "b").chmod(0o600)
    world.save("a", "one")
    await world.flush()
    assert world.memory.calls == []


async def test_a_conflict_is_kept_twice_and_comes_down_twice(world: AttachedWorld) -> None:
    world.put("paper", "first")
    await world.start()
    world.put("paper", "theirs")
    world.save("paper", "mine")
    await world.flush()
    (copy,) = (key for key in world.there() if key != "paper")
    assert copy.startswith("paper.conflict-box-")
    assert world.there() == {"paper": "theirs", copy: "mine"}
    assert world.here() == {"paper": "mine"}
    view = await world.view()
    assert view.conflicts == (copy,)
    assert "changed on both sides" in view.sentence
    # Until the next start it goes on under its name here, and as the copy there.
    world.save("paper", "mine, more")
    await world.flush()
    assert world.there() == {"paper": "theirs", copy: "mine, more"}
    await world.start()
    assert world.here() == world.there() == {"paper": "theirs", copy: "mine, more"}
    (world.folder / copy).unlink()
    await world.data.confirm("ada", world.attachment.id)
    assert world.there() == {"paper": "theirs"}
    assert (await world.view()).conflicts == ()


async def test_a_conflict_found_at_a_start(world: AttachedWorld) -> None:
    world.put("paper", "first")
    await world.start()
    world.put("paper", "theirs")
    world.save("paper", "mine")
    tally = await world.start()
    assert len(tally.conflicts) == 1
    assert world.here() == world.there() == {"paper": "theirs", tally.conflicts[0]: "mine"}


async def test_the_same_on_both_sides_is_no_conflict(world: AttachedWorld) -> None:
    world.put("a", "the same")
    world.save("a", "the same")
    world.put("b", "theirs")
    world.save("b", "mine")
    tally = await world.start()
    assert world.here() == world.there() == {"a": "the same", "b": "theirs", tally.conflicts[0]: "mine"}


async def test_what_came_in_the_moment_of_the_write_is_not_overwritten(world: AttachedWorld) -> None:
    await world.start()
    world.save("new", "mine")
    world.memory.between = lambda: world.put("new", "theirs")
    await world.flush()
    assert sorted(world.there().values()) == ["mine", "theirs"]
    assert world.there()["new"] == "theirs"
    world.put("gone", "1")
    world.put("rest", "1")
    await world.start()
    (world.folder / "gone").unlink()
    world.memory.between = lambda: world.put("gone", "theirs")
    await world.flush()
    assert world.there()["gone"] == "theirs"
    await world.start()
    assert world.here()["gone"] == "theirs"


async def test_deleted_here_changed_there_and_the_other_way_round(world: AttachedWorld) -> None:
    for number in range(40):
        world.put(f"f{number}", "1")
    await world.start()
    (world.folder / "f0").unlink()
    world.put("f0", "changed there")
    world.save("f1", "changed here")
    del world.memory.objects["f1"]
    await world.start()
    assert world.here() == world.there()
    assert (world.here()["f0"], world.here()["f1"]) == ("changed there", "changed here")


async def test_a_file_becomes_a_folder_on_either_side(world: AttachedWorld) -> None:
    for number in range(40):
        world.put(f"f{number}", "1")
    world.put("x/y", "1")
    await world.start()
    (world.folder / "f0").unlink()
    world.save("f0/inside", "here")
    del world.memory.objects["f1"]
    world.put("f1/inside", "there")
    del world.memory.objects["x/y"]
    world.put("x", "now a file")
    await world.start()
    assert world.here() == world.there()
    assert {"f0/inside", "f1/inside", "x"} <= world.here().keys()


async def test_links_pipes_and_odd_names_stay_where_they_are_and_are_said(world: AttachedWorld) -> None:
    world.put("d/x", "1")
    world.put("a", "1")
    await world.start()
    (world.folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(world.folder / "pipe")
    (world.folder / os.fsdecode(b"not-\xff-text")).write_text("x")
    (world.folder / "new\nline").write_text("x")
    # A link in a folder's place: what is there was not deleted.
    (world.folder / "d").rename(world.folder.parent / "elsewhere")
    (world.folder / "d").symlink_to(world.folder.parent / "elsewhere")
    world.save("b", "carried")
    await world.flush()
    assert world.there() == {"d/x": "1", "a": "1", "b": "carried"}
    said = {one.path: one.reason for one in (await world.view()).left}
    assert said.keys() == {"link", "pipe", "d", "not-\\xff-text", "new\nline"}
    assert said["link"] == "it is a symbolic link"
    world.put("d/y", "new there")
    await world.start()
    assert (world.folder / "d").is_symlink()
    assert not (world.folder.parent / "elsewhere/y").exists()


async def test_names_that_no_file_can_have_do_not_come_down(world: AttachedWorld) -> None:
    for key in ("../up", "a//b", "/abs", "x" * 256, "ok", "both", "both/x", "mark/", "mark/y"):
        world.put(key, "" if key.endswith("/") else "1")
    await world.start()
    assert world.here() == {"ok": "1", "both/x": "1", "mark/y": "1"}
    assert not (world.folder.parent / "up").exists()
    assert (await world.view()).left_count == 5
    await world.flush()
    assert len(world.there()) == 9


async def test_a_hole_where_data_should_be_is_carried_to_neither_side(world: AttachedWorld) -> None:
    for number in range(60):
        world.put(f"f{number}", "1")
    await world.start()
    for file in world.folder.iterdir():
        file.unlink()
    await world.flush()
    assert len(world.there()) == 60
    view = await world.view()
    assert "the folder is empty" in view.withheld
    assert "--confirm" in view.hint
    await world.data.confirm("ada", world.attachment.id)
    assert world.there() == {}
    assert (await world.view()).withheld == ""


async def test_an_empty_bucket_empties_no_folder(world: AttachedWorld) -> None:
    for number in range(60):
        world.put(f"f{number}", "1")
    await world.start()
    world.memory.objects.clear()
    await world.start()
    assert len(world.here()) == 60
    assert (await world.view()).withheld
    await world.flush()
    assert world.there() == {}


async def test_a_folder_that_is_not_there_deletes_nothing(world: AttachedWorld) -> None:
    world.put("a", "1")
    await world.start()
    world.folder.rename(world.root / "away")
    with pytest.raises(Exception, match="cannot be opened"):
        await world.flush()
    assert world.there() == {"a": "1"}


async def test_a_read_only_one_is_what_is_there(tmp_path: Path) -> None:
    world = AttachedWorld(tmp_path, writable=False)
    for number in range(60):
        world.put(f"f{number}", "1")
    await world.start()
    world.save("f0", "somebody was here")
    world.save("new", "somebody was here")
    (world.folder / "f1").unlink()
    await world.flush()
    for number in range(2, 40):
        del world.memory.objects[f"f{number}"]
    await world.start()
    assert world.here() == world.there()
    assert {what for what, _ in world.memory.calls} <= {"list", "read", "look"}
    world.data.use([world.attachment.id])
    world.put("f0", "newer")
    await world.start()
    assert world.here()["f0"] == "newer"
    await world.data.close()


async def test_with_a_notebook_at_work_in_it_a_start_leaves_it_alone(world: AttachedWorld) -> None:
    world.put("a", "1")
    await world.start()
    world.data.use([world.attachment.id])
    world.put("a", "2")
    await world.start()
    assert world.here() == {"a": "1"}


async def test_a_store_that_is_away_is_said_and_made_up_for(world: AttachedWorld) -> None:
    await world.start()
    world.save("a", "1")
    world.memory.trouble = Unreachable("the store is away", code="store_away")
    with pytest.raises(Unreachable):
        await world.flush()
    with pytest.raises(Unreachable):
        await world.start()
    view = await world.view()
    assert view.sentence == "not in step: the store is away; 1 change here waits"
    assert view.pending == 1
    assert view.since
    world.memory.trouble = None
    await until(lambda: world.there() == {"a": "1"})
    await world.flush()
    assert (await world.view()).sentence == "in step"


async def test_what_was_pending_when_sync_died_goes_up_when_it_is_back(world: AttachedWorld) -> None:
    world.put("b", "1")
    await world.start()
    world.memory.trouble = Unreachable("the store is away")
    world.save("a", "1")
    await world.again()
    world.data.begin()
    world.memory.trouble = None
    await until(lambda: world.there() == {"a": "1", "b": "1"})


@pytest.mark.parametrize("lost", ["all", "half a line", "a garbled line"])
async def test_a_ledger_that_a_crash_left_costs_a_comparison_and_no_file(world: AttachedWorld, lost: str) -> None:
    for number in range(5):
        world.put(f"f{number}", "1")
    await world.start()
    world.save("f0", "2")
    await world.flush()
    (ledger,) = (world.root / "sync").glob("*.ledger")
    content = ledger.read_bytes()
    await world.data.close()
    ledger.write_bytes({"all": b"", "half a line": content[:-9], "a garbled line": content[:20] + b"?" + content[21:]}[lost])
    world.build()
    world.save("f1", "3" if lost != "all" else "1")
    await world.flush()
    await world.start()
    assert world.here() == world.there() == {"f0": "2", "f1": "1" if lost == "all" else "3", "f2": "1", "f3": "1", "f4": "1"}
    assert (await world.view()).conflicts == ()


async def test_too_much_is_refused_before_the_first_byte(world: AttachedWorld) -> None:
    world.put("a", "12345")
    world.most = 4
    world.build()
    with pytest.raises(HostUnfit) as said:
        await world.start()
    assert said.value.code == "data_too_large"
    world.most = GIB
    world.build()
    world.disk.facts = HomeFacts(exists=True, is_folder=True, free_bytes=10 * GIB + 4, total_bytes=1000 * GIB)
    with pytest.raises(HostUnfit) as said:
        await world.start()
    assert said.value.code == "disk_full"
    assert world.here() == {}
    assert ("read", "a") not in world.memory.calls


async def test_what_a_killed_writer_left_goes(world: AttachedWorld) -> None:
    world.put("a", "1")
    left = world.folder / ".nbd-restore-0123"
    left.write_text("half")
    await world.flush()
    assert world.there() == {"a": "1"}
    await world.start()
    assert not left.exists()
    assert world.here() == {"a": "1"}


async def test_it_is_only_forgotten_by_its_person_at_rest_and_in_step(world: AttachedWorld) -> None:
    world.put("a", "1")
    await world.start()
    for person, one in (("eve", world.attachment.id), ("ada", "0" * 20)):
        with pytest.raises(NotFound):
            await world.data.forget(person, one)
        with pytest.raises(NotFound):
            await world.data.confirm(person, one)
    world.data.use([world.attachment.id])
    with pytest.raises(Conflict, match="in use"):
        await world.data.forget("ada", world.attachment.id)
    world.data.use([])
    world.save("b", "2")
    assert await world.data.forget("ada", world.attachment.id) == world.attachment
    assert world.there() == {"a": "1", "b": "2"}
    assert await world.data.views("ada", []) == []
    assert sorted(path.name for path in (world.root / "sync").iterdir()) == ["keys"]
