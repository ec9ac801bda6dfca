"""The contract of an object store, on each of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nbd.errors import Conflict, NotFound, Unreachable
from nbd.homes.ports import ObjectStore, Stored
from nbd.host.folderstore import FolderStore
from tests.fakes.object_servers import Server

from .object_stores import LOCAL, REMOTE, Servers, store_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with ExitStack() as until_the_end:
        yield Servers(until_the_end)


@pytest.fixture(scope="module", params=[*LOCAL, *REMOTE])
def place(servers: Servers, request: pytest.FixtureRequest) -> tuple[str, Server | None]:
    return request.param, servers.of(request.param)


@pytest.fixture
async def store(place: tuple[str, Server | None], tmp_path: Path, request: pytest.FixtureRequest) -> ObjectStore:
    return store_of(*place, tmp_path, request.node.originalname)


async def test_create_keeps_what_is_there(store: ObjectStore) -> None:
    version = await store.create("data/ab", b"first")
    assert version is None or version == (await store.fetch("data/ab")).version  # None: the try that failed had made it.
    assert await store.create("data/ab", b"first") is None
    assert (await store.fetch("data/ab")).data == b"first"


async def test_ranges(store: ObjectStore) -> None:
    await store.create("data/ab", b"first")
    await store.create("data/none", b"")
    for offset, length, expected in ((1, 2, b"ir"), (3, 100, b"st"), (0, 5, b"first"), (4, 1, b"t"), (5, 1, b""), (90, 3, b"")):
        assert await store.read("data/ab", offset, length) == expected, (offset, length)
    assert await store.read("data/none", 0, 10) == b""


async def test_replace_is_compare_and_swap(store: ObjectStore) -> None:
    one = await store.replace("latest", b"one", None)
    assert (await store.fetch("latest")).version == one
    with pytest.raises(Conflict):
        await store.replace("latest", b"other", None)
    two = await store.replace("latest", b"two", one)
    with pytest.raises(Conflict):
        await store.replace("latest", b"late", one)
    assert (await store.fetch("latest")) == (b"two", two)
    three = await store.replace("latest", b"one", two)
    with pytest.raises(Conflict):
        await store.replace("latest", b"late", two)
    assert (await store.fetch("latest")) == (b"one", three)
    await store.delete("latest")
    with pytest.raises(Conflict):
        await store.replace("latest", b"late", three)
    with pytest.raises(NotFound):
        await store.fetch("latest")


async def test_one_of_many_wins(store: ObjectStore) -> None:
    version = await store.replace("latest", b"start", None)
    for turn in range(5):
        mine = [b"%d of %d" % (number, turn) for number in range(8)]
        results = await asyncio.gather(*(store.replace("latest", data, version) for data in mine), return_exceptions=True)
        won = [(data, result) for data, result in zip(mine, results, strict=True) if isinstance(result, str)]
        assert len(won) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 7, results
        assert tuple(await store.fetch("latest")) == won[0]
        version = won[0][1]


async def test_two_racers_count_together(store: ObjectStore, place: tuple[str, Server | None]) -> None:
    """What the pointer's commits rest on: each reads, adds one, swaps, begins again where the other was first. What was said is done, once."""
    await store.replace("latest", b"0 ", None)
    done: list[int] = []

    async def race(name: bytes) -> None:
        for _ in range(10):
            while True:
                present = await store.fetch("latest")
                mine = int(present.data.split()[0]) + 1
                try:
                    await store.replace("latest", b"%d %s" % (mine, name), present.version)
                except Conflict:
                    continue
                done.append(mine)
                break

    async with asyncio.timeout(60):
        await asyncio.gather(race(b"ada"), race(b"eve"))
    assert len(set(done)) == 20
    assert int((await store.fetch("latest")).data.split()[0]) == max(done)
    # A try that failed after it took effect, and was overtaken since, is done again: more than asked for, never less.
    assert max(done) == 20 or place[0] in ("unreliable", "verified")


async def test_one_of_many_creates(store: ObjectStore) -> None:
    await asyncio.gather(*(store.create("data/ab", b"the same") for _ in range(8)))
    assert (await store.fetch("data/ab")).data == b"the same"


async def test_missing(store: ObjectStore) -> None:
    for call in (store.fetch("data/no"), store.read("data/no", 0, 1)):
        with pytest.raises(NotFound) as caught:
            await call
        assert (caught.value.code, caught.value.retryable) == ("store_missing", False)
    with pytest.raises(Conflict):
        await store.replace("data/no", b"x", await store.replace("index/other", b"x", None))
    await store.delete("data/no")
    assert await store.list("data/") == []
    assert [one.key for one in await store.list("")] == ["index/other"]


async def test_list_and_delete(store: ObjectStore) -> None:
    for key in ("data/a1", "data/a2", "data/b1", "datas/a1", "index/a1", "latest", "config", "config.copy"):
        await store.create(key, key.encode())
    assert await store.list("data/") == [Stored("data/a1", 7), Stored("data/a2", 7), Stored("data/b1", 7)]
    assert [one.key for one in await store.list("data/a")] == ["data/a1", "data/a2"]
    assert [one.key for one in await store.list("data")] == ["data/a1", "data/a2", "data/b1", "datas/a1"]
    assert [one.key for one in await store.list("conf")] == ["config", "config.copy"]
    assert await store.list("none/") == []
    assert len(await store.list("")) == 8
    for _ in range(2):
        await store.delete("data/a1")
    assert [stored.key for stored in await store.list("data/a")] == ["data/a2"]


async def test_many_pages(store: ObjectStore) -> None:
    keys = [f"data/{number:04x}" for number in range(130)]
    await asyncio.gather(*(store.create(key, b"x") for key in keys))
    assert [stored.key for stored in await store.list("data/")] == keys


async def test_empty_and_large(store: ObjectStore) -> None:
    await store.create("data/none", b"")
    large = os.urandom(MIB) * 64
    await store.create("data/large", large)
    assert (await store.fetch("data/none")).data == b""
    assert await store.list("data/") == [Stored("data/large", 64 * MIB), Stored("data/none", 0)]
    assert (await store.fetch("data/large")).data == large
    assert await store.read("data/large", 40 * MIB - 5, MIB) == large[40 * MIB - 5 : 41 * MIB - 5]


async def test_a_folder_that_is_gone_is_away_and_not_empty(tmp_path: Path) -> None:
    ground = tmp_path / "disk"
    ground.mkdir()
    store = FolderStore(ground / "ada")
    await store.create("data/ab", b"1")
    ground.rename(tmp_path / "moved")
    writes = (lambda: store.create("data/cd", b"2"), lambda: store.replace("latest", b"3", None))
    for call in (*writes, lambda: store.fetch("data/ab"), lambda: store.read("data/ab", 0, 1), lambda: store.list("")):
        with pytest.raises(Unreachable, match="is not there") as said:
            await call()
        assert said.value.retryable
        assert said.value.hint
    ground.mkdir()  # An empty mount point.
    with pytest.raises(NotFound):
        await store.fetch("data/ab")
    ground.rmdir()
    (tmp_path / "moved").rename(ground)
    assert (await store.fetch("data/ab")).data == b"1"
    await store.create("data/cd", b"2")


async def test_nothing_is_begun_on_ground_that_was_used_and_is_empty(tmp_path: Path) -> None:
    """For a person whom this box has not seen either: it is a mount point."""
    ground = tmp_path / "disk"
    ground.mkdir()
    store = FolderStore(ground / "bob", used=True)
    with pytest.raises(Unreachable, match="is not there"):
        await store.create("config", b"1")
    with pytest.raises(Unreachable, match="is not there"):
        await store.replace("latest", b"1", None)
    assert list(ground.iterdir()) == []
    await FolderStore(ground / "ada").create("config", b"1")
    assert await store.create("config", b"1") is not None
