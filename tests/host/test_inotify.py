"""inotify through watchdog's reader: what it cannot know it says, and loses the whole home rather than a folder of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.homes.keeping.dirt import DirtySet
from nbd.host import inotify
from nbd.host.inotify import InotifySource, Tree
from tests.contracts.change_sources import World, hidden, world_of
from tests.homes.test_events import sysctl
from tests.services.guarded import until


@pytest.fixture
async def world(tmp_path: Path, short_path: Path) -> AsyncIterator[World]:
    async with world_of("inotify", tmp_path, short_path) as world:
        yield world


async def lost(world: World) -> bool:
    return not world.lookout.settled()


@pytest.mark.real
async def test_an_overflow_loses_the_watch_and_another_begins(tmp_path: Path, short_path: Path) -> None:
    with sysctl("fs/inotify/max_queued_events", 16):
        async with world_of("inotify", tmp_path, short_path) as world:
            await world.watched()
            for number in range(2000):
                (world.home / f"d{number}").mkdir()
            await until(lambda: lost(world))
            everything = world.dirt.take()
            assert everything is not None
            assert everything.everything == "the kernel's queue of events overflowed"
            await world.watched()
            (world.home / "d1999/x").write_text("x")
            assert await world.told() == frozenset([b"d1999"])


async def test_a_home_that_is_moved_away_is_lost(world: World) -> None:
    await world.watched()
    world.home.rename(world.home.with_name("away"))
    await until(lambda: lost(world))
    dirt = world.dirt.take()
    assert dirt is not None
    assert dirt.everything == "its folder was moved"


async def test_a_home_that_is_deleted_is_lost(world: World) -> None:
    await world.watched()
    world.home.rmdir()
    await until(lambda: lost(world))


async def test_a_reader_that_fails_does_not_end_unheard(world: World) -> None:
    def broken(folder: bytes) -> bool:
        raise RuntimeError("a defect")

    await world.lookout.up(broken, "")
    world.dirt.take()
    (world.home / "new").mkdir()
    await until(lambda: lost(world))
    dirt = world.dirt.take()
    assert dirt is not None
    assert "a defect" in dirt.everything


async def test_more_folders_than_are_worth_it(world: World) -> None:
    dirt = DirtySet(time.monotonic, lambda: None)
    tree = Tree(world.request, dirt, hidden)
    tree._count = inotify.MOST_FOLDERS
    with pytest.raises(HostUnfit) as refused:
        tree.begin()
    await tree.close()
    assert (refused.value.code, refused.value.message) == ("no_events", f"there are more than {inotify.MOST_FOLDERS} folders")


async def test_what_is_forgotten_is_not_counted(world: World) -> None:
    """Folders that come and go: as many are watched as there are."""
    source = InotifySource()
    tree = await source.watch(world.request, world.dirt, hidden)
    assert isinstance(tree, Tree)
    for turn in range(30):
        (world.home / f"a{turn}/b/c").mkdir(parents=True)
        (world.home / f"a{turn}").rename(world.home / "gone")
        for folder in ("gone/b/c", "gone/b", "gone"):
            (world.home / folder).rmdir()
    (world.home / "stays/below").mkdir(parents=True)

    async def counted() -> bool:
        return tree._count == 3 and tree.told() > 0

    await until(counted)
    await tree.close()
