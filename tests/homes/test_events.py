"""Changes by the tens of thousands, with a kernel queue of 16 places, while reading is slow: nothing is lost. And the set in which they wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.homes.keeping import dirt
from nbd.homes.keeping.dirt import DirtySet
from nbd.homes.model import Seen
from nbd.homes.ports import OpenHome, Reading
from nbd.homes.snapshots.snapshotter import Request
from nbd.host.hometree import DescriptorHomes
from tests.homes.world import SOAK
from tests.services.guarded import CountedHomes, House, house_with, until

FEW, MANY = 6_000 * SOAK, 60_000 * SOAK
SOURCES = [pytest.param("fanotify", MANY, marks=pytest.mark.real), ("inotify", FEW), ("looks", FEW)]


class SlowHomes(CountedHomes):
    async def open(self, path: str, owner: int | None) -> OpenHome:
        return SlowHome(await DescriptorHomes().open(path, owner))


class SlowHome:
    def __init__(self, home: OpenHome) -> None:
        self._home = home
        self.look, self.sift, self.open_large, self.close = home.look, home.sift, home.open_large, home.close

    async def read(self, folder: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        await asyncio.sleep(0.02)
        return await self._home.read(folder, wanted)


@pytest.fixture
def small_queues() -> Iterator[None]:
    with sysctl("fs/inotify/max_queued_events", 16), sysctl("fs/fanotify/max_queued_events", 16):
        yield


@contextmanager
def sysctl(name: str, value: int) -> Iterator[None]:
    """Of the whole machine, for a moment."""
    file = Path("/proc/sys", name)
    before = file.read_text()
    file.write_text(f"{value}\n")
    try:
        yield
    finally:
        file.write_text(before)


@pytest.fixture
async def house(request: pytest.FixtureRequest, tmp_path: Path, short_path: Path) -> AsyncIterator[House]:
    async with house_with(request.param, tmp_path, short_path) as house:
        yield house


def burst(home: Path, files: int, folders: int = 60) -> None:
    """Of small files, by several writers at once."""

    def write(writer: int) -> None:
        for number in range(writer, files, 4):
            folder = home / f"d{number % folders}"
            folder.mkdir(exist_ok=True)
            (folder / f"f{number}").write_text(f"{number}")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def nothing_is_lost(house: House, files: int) -> None:
    """All is in the store, by a look at everything that finds nothing more to store."""

    async def all_there() -> bool:
        known = house.guardian.known
        return known.snapshot is not None and known.trouble is None and known.snapshot.entries >= files and await rested(house)

    await until(all_there, 300 * SOAK)
    before = await house.events()
    status = await house.steward.flush(house.home, Request())
    assert await house.events() == before, "the look at everything found what events had not"
    assert status.unkept == ()


async def rested(house: House) -> bool:
    work = house.guardian.work
    return work.all_saved() if work.lookout.whole else not work.unsaved()


@pytest.mark.parametrize(("house", "files"), SOURCES, indirect=["house"])
async def test_a_burst_while_reading_is_slow(house: House, files: int) -> None:
    house.homes = SlowHomes()
    house.build()
    await house.steward.watch([house.home])
    await asyncio.to_thread(burst, house.path, files)
    await nothing_is_lost(house, files)


@pytest.mark.real
@pytest.mark.usefixtures("small_queues")
@pytest.mark.parametrize(("kind", "files"), [("fanotify", FEW), ("inotify", MANY)])
async def test_a_burst_into_a_queue_of_sixteen(kind: str, files: int, tmp_path: Path, short_path: Path) -> None:
    async with house_with(kind, tmp_path, short_path) as house:
        await house.steward.watch([house.home])
        await until(lambda: watched_by(house, kind))
        await asyncio.to_thread(burst, house.path, files)
        await nothing_is_lost(house, files)
        # And it goes on with that source, not in some lesser way.
        await until(lambda: watched_by(house, kind))
        (house.path / "last").write_text("x")
        await until(lambda: house.has("last"))


async def watched_by(house: House, kind: str) -> bool:
    return (await house.status()).source == kind


@pytest.mark.real
async def test_more_folders_than_may_be_watched(tmp_path: Path, short_path: Path) -> None:
    """It is said, and the home is looked at instead; with more watches to be had, it is watched again."""
    for number in range(50):
        (tmp_path / f"home/d{number}").mkdir(parents=True)
    with sysctl("fs/inotify/max_user_watches", 20):
        async with house_with("inotify", tmp_path, short_path) as house:
            await house.steward.watch([house.home])
            burst(house.path, 200)
            await until(lambda: house.has("d3"))
            status = await house.status()
            assert (status.source, status.source_why) == ("looks", "inotify: the limit of watches is reached (fs.inotify.max_user_watches)")
            await nothing_is_lost(house, 200)


@pytest.mark.real
async def test_a_limit_that_is_reached_later(tmp_path: Path, short_path: Path) -> None:
    async with house_with("inotify", tmp_path, short_path) as house:
        await house.steward.watch([house.home])
        await until(lambda: watched_by(house, "inotify"))
        with sysctl("fs/inotify/max_user_watches", 5):
            burst(house.path, 200)
            await until(lambda: watched_by(house, "looks"))
            await nothing_is_lost(house, 200)


def test_the_set_is_bounded() -> None:
    woken: list[int] = []
    moments = iter(range(10**6))
    waiting = DirtySet(lambda: float(next(moments)), lambda: woken.append(1))
    for number in range(dirt.MOST_FOLDERS):
        waiting.mark(b"%d" % number)
        waiting.mark(b"%d" % number)
    full = waiting.take()
    assert full is not None
    assert (len(full.folders), full.everything, full.first, full.last) == (dirt.MOST_FOLDERS, "", 0, 2 * dirt.MOST_FOLDERS - 1)
    for number in range(dirt.MOST_FOLDERS + 10):
        waiting.mark(b"%d" % number)
    more = waiting.take()
    assert more is not None
    assert len(more.folders) <= dirt.MOST_FOLDERS + 1
    assert "more folders" in more.everything
    waiting.mark(bytes(dirt.MOST_BYTES + 1))
    long = waiting.take()
    assert long is not None
    assert long.everything
    assert waiting.take() is None
    assert woken == [1, 1, 1]


def test_what_is_put_back_is_as_old_as_it_was() -> None:
    now = [10.0]
    waiting = DirtySet(lambda: now[0], lambda: None)
    waiting.mark(b"a")
    taken = waiting.take()
    assert taken is not None
    now[0] = 20.0
    waiting.mark(b"b")
    now[0] = 30.0
    waiting.put_back(taken)
    again = waiting.peek()
    assert again is not None
    assert (again.folders, again.since, again.last, again.everything) == (frozenset([b"a", b"b"]), 10.0, 30.0, "")
    waiting.mark_all("overflow", since=15.0)
    everything = waiting.take()
    assert everything is not None
    assert (everything.everything, everything.since) == ("overflow", 10.0)
    waiting.mark_all("from now on")
    unknown = waiting.peek()
    assert unknown is not None
    assert unknown.since == float("-inf")
