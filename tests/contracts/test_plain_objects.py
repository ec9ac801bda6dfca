"""The contract of plain objects, on the fake and on three kinds of real servers, where another tool has a hand in it all the time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import pytest

from nbd.errors import Conflict, HostUnfit
from nbd.homes.attached.ports import Objects
from nbd.homes.attached.url import parsed
from nbd.host.credentials import Access, spelled
from nbd.host.plainobjects import PlainObjects
from tests.contracts.object_stores import Servers
from tests.fakes.object_servers import BUCKET as HOMES
from tests.fakes.plain_objects import MemoryObjects
from tests.homes.bucket import KEYS, Bucket, s3

PREFIX = "team/a b/"
PART = 5 << 20


class Others(Protocol):
    """Any other tool."""

    async def set(self, key: str, data: bytes) -> None: ...

    async def all(self) -> dict[str, bytes]: ...


@dataclass
class InMemory:
    memory: MemoryObjects

    async def set(self, key: str, data: bytes) -> None:
        self.memory.set(key, data)

    async def all(self) -> dict[str, bytes]:
        return self.memory.objects


@dataclass
class InBucket:
    bucket: Bucket

    async def set(self, key: str, data: bytes) -> None:
        self.bucket.put(PREFIX + key, data)

    async def all(self) -> dict[str, bytes]:
        return self.bucket.all(PREFIX)


@dataclass
class OtherBox:
    """Where no other tool is at hand: nbd on another box."""

    objects: PlainObjects

    async def set(self, key: str, data: bytes) -> None:
        await self.objects.put(key, data, await self.objects.look(key))

    async def all(self) -> dict[str, bytes]:
        found = (await self.objects.listing()).objects
        return {key: await self.objects.read(key, remote.version, 0, remote.size) if remote.size else b"" for key, remote in found.items()}


@pytest.fixture(scope="module", autouse=True)
def server(unused_tcp_port_factory: object) -> Iterator[Bucket]:
    with s3(unused_tcp_port_factory()) as bucket:  # type: ignore[operator]
        yield bucket


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        servers = Servers(stack)
        for kind in ("azure", "gcs"):
            servers.of(kind)
        yield servers


@pytest.fixture(params=["memory", "s3", "azure", "gcs"])
async def world(request: pytest.FixtureRequest, server: Bucket, servers: Servers) -> tuple[Objects, Others]:
    if request.param == "memory":
        memory = MemoryObjects()
        return memory, InMemory(memory)
    if request.param == "s3":
        server.clear()
        return server.objects(PREFIX), InBucket(server)
    found = servers.of(request.param)
    assert found
    place = parsed(f"{found.scheme}://{HOMES}/{PREFIX}")
    one, other = (PlainObjects(place, spelled(found.scheme, dict(found.secrets))) for _ in range(2))
    for key, remote in (await one.listing()).objects.items():
        await one.delete(key, remote.version)
    return one, OtherBox(other)


async def test_what_others_put_is_listed_and_read(world: tuple[Objects, Others]) -> None:
    objects, others = world
    assert (await objects.listing()).objects == {}
    for key, data in {"a": b"one", "d/b c": b"two" * 1000, "ü/é%41": b"", "d/e/f": b"x"}.items():
        await others.set(key, data)
    found = (await objects.listing()).objects
    assert {key: remote.size for key, remote in found.items()} == {"a": 3, "d/b c": 3000, "ü/é%41": 0, "d/e/f": 1}
    assert all(remote.modified > 1_600_000_000_000_000_000 for remote in found.values())
    assert await objects.read("a", found["a"].version, 0, 10) == b"one"
    assert await objects.read("d/b c", found["d/b c"].version, 2999, 5) == b"o"
    assert await objects.read("a", found["a"].version, 3, 5) == b""
    assert await objects.read("ü/é%41", found["ü/é%41"].version, 0, 5) == b""
    assert await objects.look("a") == found["a"].version
    assert await objects.look("none") is None


async def test_more_than_one_page_is_listed(world: tuple[Objects, Others]) -> None:
    objects, others = world
    for number in range(60):
        await others.set(f"many/{number}", b"%d" % number)
    assert len((await objects.listing()).objects) == 60


async def test_what_was_put_is_plain_for_others(world: tuple[Objects, Others]) -> None:
    objects, others = world
    version = await objects.put("d/paper.ipynb", b"mine", None)
    assert await others.all() == {"d/paper.ipynb": b"mine"}
    assert (await objects.listing()).objects["d/paper.ipynb"].version == version == await objects.look("d/paper.ipynb")
    newer = await objects.put("d/paper.ipynb", b"mine again", version)
    assert newer != version
    await objects.delete("d/paper.ipynb", newer)
    await objects.delete("d/paper.ipynb", newer)
    assert await others.all() == {}


async def test_nothing_is_overwritten_or_deleted_but_what_was_meant(world: tuple[Objects, Others]) -> None:
    objects, others = world
    version = await objects.put("a", b"mine", None)
    with pytest.raises(Conflict):
        await objects.put("a", b"mine2", None)
    await others.set("a", b"theirs")
    for call in (objects.put("a", b"mine2", version), objects.delete("a", version), objects.read("a", version, 0, 4)):
        with pytest.raises(Conflict) as said:
            await call
        assert said.value.code == "store_changed"
    with pytest.raises(Conflict):
        await objects.put("gone", b"mine", version)
    with pytest.raises(Conflict):
        await objects.read("gone", version, 0, 1)
    assert await others.all() == {"a": b"theirs"}


async def parts(count: int, end: Exception | None = None) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * PART
    if end:
        raise end


async def test_large_ones_come_part_by_part_and_whole_or_not_at_all(world: tuple[Objects, Others]) -> None:
    objects, others = world
    whole = b"".join([part async for part in parts(4)])
    version = await objects.put_large("large", parts(4), 4 * PART, None)
    assert (await others.all())["large"] == whole
    assert await objects.look("large") == version
    with pytest.raises(RuntimeError, match="torn"):
        await objects.put_large("large", parts(3, RuntimeError("torn")), 3 * PART, version)
    with pytest.raises(Conflict):
        await objects.put_large("large", parts(3), 3 * PART, None)
    assert (await others.all())["large"] == whole
    await others.set("large", b"theirs")
    with pytest.raises(Conflict):
        await objects.put_large("large", parts(3), 3 * PART, version)
    assert await others.all() == {"large": b"theirs"}
    if isinstance(others, InBucket):
        assert others.bucket.unfinished() == []


async def test_a_name_that_no_file_can_have_closes_its_folder_and_no_more(server: Bucket) -> None:
    """The library lists nothing at all where there is one."""
    server.clear()
    for key in ("a", "d/b", "odd/x//y", "odd/z", "odd/w/v", "up/../c", "up/d", "up/e/f", "mark/", "mark/x", "alone/", "c/\x01x", "c/y"):
        server.put(f"p/{key}", b"" if key.endswith("/") else b"hi")
    there = await server.objects("p").listing()
    assert {key for key, remote in there.objects.items() if remote.size} == {"a", "d/b", "mark/x", "odd/w/v", "odd/z"}
    assert set(there.closed) == {"odd/x", "up", "c"}
    assert all("no file can have" in why for why in there.closed.values())
    server.put("q//abs", b"hi")
    with pytest.raises(HostUnfit, match="no file can have"):
        await server.objects("q").listing()


async def test_a_bucket_that_is_not_there_is_said(server: Bucket) -> None:
    server.client.create_bucket(Bucket="other-data")
    server.client.delete_bucket(Bucket="other-data")
    gone = PlainObjects(parsed("s3://other-data/x"), Access({**KEYS, "endpoint": server.endpoint}, {"allow_http": True}))
    with pytest.raises(HostUnfit, match="does not exist"):
        await gone.listing()
