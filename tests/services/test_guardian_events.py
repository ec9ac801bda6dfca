"""A guardian that is told of changes: it reads where something changed and nothing else, knows what it does not know, and proves in the end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from nbd.errors import NotFound, Unreachable
from nbd.homes.keeping.debounce import What
from nbd.homes.snapshots.snapshotter import Request
from tests.fakes.changes import FakeSource
from tests.services.guarded import EVERY, House, closing, until


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
async def house(tmp_path: Path, source: FakeSource) -> AsyncIterator[House]:
    async with closing(House(tmp_path, sources=[source])) as house:
        for folder in ("a", "b", ".cache"):
            (house.path / folder).mkdir()
        yield house


async def begun(house: House) -> None:
    """The first look is over."""
    (house.path / "begun").write_text("x")
    await house.steward.watch([house.home])
    await until(lambda: house.has("begun"))
    await until(lambda: at_rest(house))


async def at_rest(house: House) -> bool:
    return house.guardian.work.all_saved()


async def save(house: House, source: FakeSource, name: str) -> None:
    """And wait until it is kept."""
    (house.path / name).write_text(f"{time.time_ns()}")
    source.changed(os.fsencode(name.rpartition("/")[0]))
    await until(lambda: kept(house, name))


async def kept(house: House, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    with suppress(NotFound):
        return name in {entry.name for entry in await house.steward.entries(house.home, "latest", folder)}
    return False


async def test_nothing_changed_is_no_work_at_all(house: House) -> None:
    await begun(house)
    opened, calls = house.homes.opened, len(house.store.calls)
    await asyncio.sleep(20 * EVERY)
    assert (house.homes.opened, len(house.store.calls)) == (opened, calls)


async def test_only_where_something_changed_is_looked(house: House, source: FakeSource) -> None:
    await begun(house)
    (house.path / "b/unheard").write_text("x")
    await save(house, source, "a/heard")
    assert not await kept(house, "b/unheard")
    assert await house.events() == [("save", ""), ("save", "")]


async def test_what_is_left_out_is_not_looked_at(house: House, source: FakeSource) -> None:
    await begun(house)
    opened = house.homes.opened
    (house.path / ".cache/x").write_text("x")
    source.changed(b".cache")
    source.changed(b".cache/pip/deep")
    await asyncio.sleep(20 * EVERY)
    assert house.homes.opened == opened


async def test_other_rules_are_other_folders(house: House, source: FakeSource) -> None:
    await begun(house)
    (house.path / ".nbdignore").write_text("/a\n")
    source.changed(b"")
    await until(lambda: watches(source, 2))
    await until(lambda: at_rest(house))
    assert source.watches[-1].hidden(b"a/deep")
    (house.path / ".nbdignore").unlink()
    source.changed(b"")
    await until(lambda: watches(source, 3))
    await save(house, source, "a/again")


async def watches(source: FakeSource, count: int) -> bool:
    """So many, and the last is the one at work."""
    return len(source.watches) == count and [watch.closed for watch in source.watches] == [True] * (count - 1) + [False]


async def test_a_flush_finds_what_nobody_told(house: House) -> None:
    await begun(house)
    (house.path / "b/unheard").write_text("x")
    await house.steward.flush(house.home, Request("stop", "main"))
    assert await kept(house, "b/unheard")


@pytest.mark.parametrize("how", ["lost", "another", "overflow"])
async def test_what_may_have_been_missed_is_looked_for(house: House, source: FakeSource, how: str) -> None:
    await begun(house)
    (house.path / "b/unheard").write_text("x")
    if how == "lost":
        source.watches[-1].lose("the queue is gone")
    elif how == "overflow":
        source.watches[-1].dirt.mark_all("the queue overflowed")
    else:
        source.watches[-1].unsound = "another disk"
        house.guardian.work.dirt.mark_all("for a look")
    await until(lambda: kept(house, "b/unheard"))
    if how != "overflow":
        await until(lambda: watches(source, 2))
    await save(house, source, "a/heard")


async def test_a_source_that_cannot_is_said_and_asked_again(house: House, source: FakeSource) -> None:
    source.unfit = "the limit is reached"
    await house.steward.watch([house.home])
    (house.path / "b/unheard").write_text("x")
    await until(lambda: kept(house, "b/unheard"))
    status = await house.status()
    assert (status.source, status.source_why) == ("looks", "fake: the limit is reached")
    source.unfit, source.turn = "", 1
    await house.steward.watch([house.home])
    await until(lambda: watches(source, 1))
    await save(house, source, "a/heard")
    status = await house.status()
    assert (status.source, status.source_why) == ("fake", "")


async def test_a_source_that_does_not_see_all_is_only_quicker(house: House, source: FakeSource) -> None:
    source.whole = False
    await house.steward.watch([house.home])
    await save(house, source, "a/heard")
    (house.path / "b/unheard").write_text("x")
    await until(lambda: kept(house, "b/unheard"))


async def test_protected_goes_on_while_nothing_changes_and_not_a_moment_further(house: House, source: FakeSource) -> None:
    await begun(house)
    for _ in range(3):
        await asyncio.sleep(5 * EVERY)
        asked = time.time()
        status = await house.status()
        assert status.protected is not None
        assert asked <= status.protected <= time.time()
        assert status.unsaved is None
    house.store.trouble = Unreachable("the store is away")
    changed = time.time()
    (house.path / "a/work").write_text("12345")
    source.changed(b"a")
    await until(lambda: troubled(house))
    status = await house.status()
    assert status.protected is not None
    assert changed - 1 < status.protected <= changed
    assert status.unsaved is not None
    assert (status.unsaved.folders, status.unsaved.files, status.unsaved.bytes) == (1, 1, 5)
    assert status.unsaved.since is not None
    assert changed - 1 < status.unsaved.since < time.time()
    house.store.trouble = None
    await until(lambda: at_rest(house))
    assert await kept(house, "a/work")
    assert (await house.status()).unsaved is None


async def troubled(house: House) -> bool:
    return bool((await house.status()).trouble)


async def test_a_storm_of_changes_is_a_few_snapshots(house: House, source: FakeSource) -> None:
    await begun(house)
    before = len(await house.events())
    for number in range(60):
        (house.path / "a/busy").write_text(f"{number}")
        source.changed(b"a")
        await asyncio.sleep(0.01)
    await until(lambda: at_rest(house))
    assert 1 <= len(await house.events()) - before <= 6


async def test_a_home_that_is_gone_and_comes_back_is_watched_again(house: House, source: FakeSource) -> None:
    await begun(house)
    house.path.rename(house.folder / "away")
    source.changed(b"")
    await until(lambda: troubled(house))
    (house.folder / "away/b/meanwhile").write_text("x")
    (house.folder / "away").rename(house.path)
    await until(lambda: kept(house, "b/meanwhile"))
    await save(house, source, "a/heard")
    assert not source.watches[-1].closed


async def test_what_comes_between_the_decision_and_the_look(house: House, source: FakeSource) -> None:
    """From another thread: an overflow, when it was decided already to look at some folders only."""
    await begun(house)
    await house.guardian.close()
    (house.path / "b/unheard").write_text("x")
    house.guardian.work.dirt.mark(b"a")
    house.guardian.work.dirt.mark_all("the queue overflowed")
    await house.guardian.work.do(What.SAVE, Request())
    assert await kept(house, "b/unheard")


async def test_an_end_without_a_word_of_changes_still_looks(house: House, source: FakeSource) -> None:
    """What is told late is not lost by the home's not being watched any more."""
    await begun(house)
    (house.path / "b/late").write_text("x")
    source.watches[-1].behind = 1.0
    await house.steward.watch([])
    await until(lambda: kept(house, "b/late"))
