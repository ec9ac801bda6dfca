"""While the store is away: snapshots are taken all the same, survive on this box, and are in the store when it is back."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from nbd.errors import Damaged, HostUnfit, Refused, Unreachable
from nbd.homes.snapshots.packer import Packer
from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.retention import DAY, Policy
from nbd.homes.snapshots.snapshotter import Request
from nbd.homes.snapshots.verifier import verify
from nbd.host.sequences import SequenceFile
from nbd.host.spoolfolder import SpoolFolder

from .offline import Box, Leaving
from .world import KEYS, World, look

KEEP_NEWEST = Policy(recent=0, hourly=0, daily=0, weekly=0, monthly=0)


@pytest.fixture
def store() -> Leaving:
    return Leaving()


@pytest.fixture
async def box(tmp_path: Path, store: Leaving) -> Box:
    found = Box(tmp_path, store)
    for number in range(10):
        (found.home / f"d{number}").mkdir()
        (found.home / f"d{number}/file").write_bytes(os.urandom(3000))
    await found.look()
    return found


async def test_a_stop_is_kept_and_gets_there(box: Box, store: Leaving) -> None:
    before = await SequenceFile(box.folder / "seen.json").highest("ada")
    store.leave()
    (box.home / "d3/file").write_text("the last word")
    report = await box.look("stop", "main")
    tree = look(box.home)
    assert (report.changed, await box.waiting()) == (True, 1)
    calls = len(store.calls)
    (box.home / "d3/file").write_text("another")
    later = await box.look()
    assert len(store.calls) == calls, "nothing waits for the store a second time"
    with pytest.raises(Unreachable):
        await box.publish()
    spooled = box.vault.spooled("ada")
    assert spooled
    assert (spooled.snapshots, spooled.since, spooled.trouble) == (2, report.listed.time, "the store is away")
    assert spooled.bytes > 3000
    assert await SequenceFile(box.folder / "seen.json").highest("ada") == before, "only what the store has is noted"
    store.come_back()
    await box.publish()
    assert await box.waiting() == 0
    assert [one.name for one in await box.stored()] == ["", "main", ""]
    assert await box.content(report) == tree
    assert await box.content(later) == look(box.home)
    assert (await verify(store, KEYS)).good
    (box.home / "d4/file").write_text("after")
    await box.look()
    assert (await box.waiting(), len(await box.stored())) == (0, 4)
    assert [path for path in (box.folder / "spool").rglob("*") if path.is_file()] == []


async def test_started_again_while_away(box: Box, store: Leaving) -> None:
    store.leave()
    reports = []
    for number in range(6):
        box.start()
        (box.home / f"d{number}/file").write_text(f"changed {number}")
        (box.home / f"d{number}/new").write_bytes(os.urandom(500))
        reports.append((await box.look("stop", f"n{number}"), look(box.home)))
    assert await box.waiting() == 6
    repository = await box.vault.find("ada")
    assert repository
    assert len(repository.root.snapshots) == 7, "what waits can be listed"
    store.come_back()
    box.start()
    await box.publish()
    for report, tree in reports:
        assert await box.content(report) == tree
    assert (await verify(store, KEYS)).good
    assert not (await box.look()).changed


async def test_nothing_changed_leaves_no_spool(box: Box, store: Leaving) -> None:
    store.leave()
    box.start()
    assert not (await box.look()).changed
    assert await box.waiting() == 0
    assert (await box.look("stop", "main")).changed
    assert await box.waiting() == 1


@pytest.mark.parametrize("after", range(6))
async def test_the_store_leaves_in_the_middle(box: Box, store: Leaving, after: int) -> None:
    (box.home / "large").write_bytes(os.urandom(12 << 20))
    store.leave(after)
    report = await box.look("stop", "main")
    assert await box.waiting() == (1 if after < 5 else 0)
    store.come_back()
    if after < 5:
        # Whatever came into the store in vain may be gone when what waits gets there.
        named = await Repository.open(store, KEYS)
        known = {place.pack.hex() for table in named.tables() for place in table.places()}
        for key in list(store.objects):
            if key.startswith("data/") and key.partition("/")[2] not in known:
                del store.objects[key]
        await box.publish()
    assert await box.content(report) == look(box.home)
    assert (await verify(store, KEYS)).good


async def test_another_box_was_there_meanwhile(box: Box, store: Leaving, tmp_path: Path) -> None:
    store.leave()
    (box.home / "mine").write_text("mine")
    mine, tree = await box.look("stop", "mine"), look(box.home)
    store.come_back()
    (tmp_path / "other").mkdir()
    other = await World.make(tmp_path / "other", store)
    (other.home / "theirs").write_text("theirs")
    theirs = await other.snap(name="theirs", confirmed=True)
    await box.publish()
    assert {one.name for one in await box.stored()} == {"", "mine", "theirs"}
    assert await box.content(mine) == tree
    assert await box.content(theirs) == look(other.home)
    assert (await verify(store, KEYS)).good


async def pruned(store: Leaving, policy: Policy) -> None:
    """Twice, a day and more apart, so that what is not needed is deleted."""
    pruner = Pruner(await Repository.open(store, KEYS))
    for day in (0, 2, 4):
        await pruner.execute(await pruner.plan(policy, time.time_ns() + day * DAY))


async def test_a_prune_that_took_nothing_we_need(box: Box, store: Leaving) -> None:
    store.leave()
    (box.home / "mine").write_text("mine")
    report = await box.look("stop", "main")
    store.come_back()
    await pruned(store, Policy())
    await box.publish()
    assert await box.content(report) == look(box.home)
    assert (await verify(store, KEYS)).good


async def test_a_prune_that_took_what_we_need(box: Box, store: Leaving, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost: list[tuple[str, bool]] = []
    assert box.vault.outbox
    box.vault.outbox.published = lambda person, some: lost.append((person, some))
    store.leave()
    (box.home / "mine").write_text("mine")
    needs = await box.look("stop", "needs what was there")
    for path in box.home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (box.home / "alone").write_text("needs nothing")
    box.looker.forget()
    alone = await box.looker.look(Request("save", "alone", confirmed=True), time.time_ns)
    tree = look(box.home)
    store.come_back()
    (tmp_path / "other").mkdir()
    other = await World.make(tmp_path / "other", store)
    (other.home / "theirs").write_text("theirs")
    await other.snap(confirmed=True)
    await pruned(store, KEEP_NEWEST)
    await box.publish()
    assert lost == [("ada", True)]
    ids = {one.id for one in await box.stored()}
    assert needs.listed.id not in ids
    assert alone.listed.id in ids
    assert "NOT WHOLE" in caplog.text
    assert await box.content(alone) == tree
    assert (await verify(store, KEYS)).good
    (box.home / "again").write_text("and the home itself is kept on")
    assert await box.content(await box.look()) == look(box.home)


async def test_damage_in_the_spool(box: Box, store: Leaving) -> None:
    store.leave()
    (box.home / "first").write_bytes(os.urandom(4000))
    first, tree = await box.look("stop", "first"), look(box.home)
    before = set((box.folder / "spool/ada/data").iterdir())
    (box.home / "second").write_bytes(os.urandom(4000))
    second = await box.look("stop", "second")
    (damaged,) = set((box.folder / "spool/ada/data").iterdir()) - before
    data = bytearray(damaged.read_bytes())
    data[100] ^= 1
    damaged.write_bytes(data)
    store.come_back()
    box.start()
    await box.publish()
    ids = {one.id for one in await box.stored()}
    assert (first.listed.id in ids, second.listed.id in ids) == (True, False)
    assert await box.content(first) == tree
    assert (await verify(store, KEYS)).good
    assert await box.content(await box.look()) == look(box.home)


async def test_a_full_spool_is_said_and_loses_nothing(tmp_path: Path, store: Leaving) -> None:
    box = Box(tmp_path, store, 200_000)
    (box.home / "small").write_text("1")
    await box.look()
    store.leave()
    (box.home / "small").write_text("2")
    kept, tree = await box.look("stop", "fits"), look(box.home)
    (box.home / "large").write_bytes(os.urandom(5 << 20))
    for _ in range(2):
        with pytest.raises(HostUnfit) as said:
            await box.look("stop", "does not fit")
        assert said.value.code == "spool_full"
    assert await box.waiting() == 1
    box.start()
    with pytest.raises(HostUnfit):
        await box.look("stop", "does not fit")
    assert sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*") if path.is_file()) < 100_000
    (box.home / "large").unlink()
    (box.home / "small").write_text("3")
    await when_it_is_tried_again(box)
    store.come_back()
    await box.publish()
    assert await box.content(kept) == tree
    assert [one.name for one in await box.stored()] == ["", "fits", "fits again"]
    (box.home / "large").write_bytes(os.urandom(5 << 20))
    assert await box.content(await box.look()) == look(box.home)


async def when_it_is_tried_again(box: Box) -> None:
    """What did not fit rests in proportion: it may have been gigabytes."""
    end = time.monotonic() + 60
    while True:
        try:
            await box.look("stop", "fits again")
            return
        except HostUnfit:
            assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def long_look(box: Box) -> None:
    packer = Packer(await box.vault.open("ada"))
    async with box.vault.taking("ada"):
        for _ in range(4):
            await packer.add(b"d", os.urandom(300_000))
            await packer.flush()
            await packer.name()


async def test_what_a_long_look_named_before_it_failed_is_gone(tmp_path: Path, store: Leaving) -> None:
    box = Box(tmp_path, store, 900_000)
    (box.home / "small").write_text("1")
    await box.look()
    store.leave()
    (box.home / "small").write_text("2")
    kept, tree = await box.look("stop", "fits"), look(box.home)
    with pytest.raises(HostUnfit):
        await long_look(box)
    assert sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*") if path.is_file()) < 100_000
    store.come_back()
    box.start()
    await box.publish()
    assert await box.content(kept) == tree
    assert (await verify(store, KEYS)).good


async def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path: Path, store: Leaving) -> None:
    local = SpoolFolder(tmp_path / "spool", 1 << 30, lambda _: 1000).store("ada")
    await local.create("data/ab", bytes(900))
    with pytest.raises(HostUnfit) as said:
        await local.create("data/cd", bytes(1100))
    assert said.value.code == "spool_full"


async def test_where_the_store_was_never_reached_nothing_is_promised(tmp_path: Path, store: Leaving) -> None:
    box = Box(tmp_path, store)
    (box.home / "file").write_text("x")
    store.leave()
    with pytest.raises(Unreachable):
        await box.look("stop", "main")
    assert await box.waiting() == 0
    store.come_back()
    assert (await box.look("stop", "main")).changed


async def test_without_the_copies_there_is_no_spool_while_away(box: Box, store: Leaving) -> None:
    for path in box.folder.glob("copies*"):
        path.unlink()
    box.start()
    store.leave()
    (box.home / "file").write_text("x")
    with pytest.raises(Unreachable):
        await box.look("stop", "main")


async def test_spooled_is_not_lost_with_the_copies(box: Box, store: Leaving) -> None:
    store.leave()
    (box.home / "file").write_text("x")
    report, tree = await box.look("stop", "main"), look(box.home)
    for path in box.folder.glob("copies*"):
        path.unlink()
    box.start()
    assert await box.waiting() == 1
    (box.home / "file").write_text("y")
    for _ in range(2):
        with pytest.raises(Unreachable):
            await box.look("stop", "later")
    assert await box.waiting() == 1
    store.come_back()
    await box.publish()
    assert await box.content(report) == tree


async def test_a_store_that_was_put_back_gets_nothing(box: Box, store: Leaving) -> None:
    old, versions = dict(store.objects), dict(store._versions)
    (box.home / "file").write_text("x")
    await box.look()
    store.leave()
    (box.home / "file").write_text("y")
    await box.look("stop", "main")
    store.come_back()
    store.objects, store._versions = old, versions
    with pytest.raises(Damaged) as said:
        await box.publish()
    assert said.value.code == "rolled_back"
    assert await box.waiting() == 1


async def test_a_store_that_was_made_anew(box: Box, store: Leaving, caplog: pytest.LogCaptureFixture) -> None:
    store.leave()
    (box.home / "file").write_text("y")
    await box.look("stop", "main")
    store.come_back()
    store.objects, store._versions = {}, {}
    (box.folder / "seen.json").unlink()
    box.start()
    await box.publish()
    assert "CANNOT BE READ" in caplog.text
    assert await box.waiting() == 0
    assert await box.content(await box.look()) == look(box.home)


async def test_a_home_that_is_not_there_is_no_reason_for_a_spool(box: Box, store: Leaving) -> None:
    box.home.rename(box.folder / "elsewhere")
    box.home.mkdir()
    store.leave()
    with pytest.raises(Refused):
        await box.look("stop", "main")
    assert await box.waiting() == 0
