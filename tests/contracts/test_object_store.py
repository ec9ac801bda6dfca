"""The contract of an object store, on the fake, the local folder, both behind retries; on S3 (moto) where that is installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbd.errors import Conflict, NotFound
from nbd.homes.ports import ObjectStore, Stored
from nbd.host.folderstore import FolderStore
from nbd.host.objectstore import BucketStore
from nbd.host.retrying import RetryingStore
from tests.fakes.object_store import MemoryStore
from tests.fakes.unreliable import UnreliableStore

MOTO = shutil.which("moto_server", path=str(Path(sys.executable).parent))
SECRETS = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}


@pytest.fixture
def moto(unused_tcp_port: int) -> Iterator[str]:
    if MOTO is None:
        pytest.skip("moto[server] is not installed")
    argv = [MOTO, "-H", "127.0.0.1", "-p", str(unused_tcp_port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    bucket = urllib.request.Request(f"{url}/homes", method="PUT", headers={"Authorization": "AWS test:test"})
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(bucket).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture(params=["memory", "folder", "retried", "unreliable", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        endpoint = request.getfixturevalue("moto")
        return BucketStore("s3://homes/ada", {**SECRETS, "endpoint": endpoint}, {"allow_http": True})
    makers: dict[str, Callable[[], ObjectStore]] = {
        "memory": MemoryStore,
        "folder": lambda: FolderStore(tmp_path / "store"),
        "retried": lambda: RetryingStore(FolderStore(tmp_path / "store")),
        "unreliable": lambda: RetryingStore(UnreliableStore(MemoryStore(), share=0.4, seed=3), first=0.0001),
    }
    return makers[request.param]()


async def test_create_keeps_what_is_there(store: ObjectStore) -> None:
    await store.create("data/ab", b"first")
    await store.create("data/ab", b"first")
    assert (await store.fetch("data/ab")).data == b"first"
    assert await store.read("data/ab", 1, 2) == b"ir"
    assert await store.read("data/ab", 3, 100) == b"st"


async def test_replace_is_compare_and_swap(store: ObjectStore) -> None:
    one = await store.replace("latest", b"one", None)
    assert (await store.fetch("latest")).version == one
    with pytest.raises(Conflict):
        await store.replace("latest", b"other", None)
    two = await store.replace("latest", b"two", one)
    with pytest.raises(Conflict):
        await store.replace("latest", b"late", one)
    assert (await store.fetch("latest")) == (b"two", two)


async def test_one_of_many_wins(store: ObjectStore) -> None:
    version = await store.replace("latest", b"start", None)
    results = await asyncio.gather(*(store.replace("latest", b"%d" % n, version) for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7


async def test_missing(store: ObjectStore) -> None:
    for call in (store.fetch("data/no"), store.read("data/no", 0, 1)):
        with pytest.raises(NotFound) as caught:
            await call
        assert (caught.value.code, caught.value.retryable) == ("store_missing", False)
    await store.delete("data/no")
    assert await store.list("data/") == []


async def test_list_and_delete(store: ObjectStore) -> None:
    for key in ("data/a1", "data/a2", "index/a1", "latest"):
        await store.create(key, key.encode())
    assert await store.list("data/") == [Stored("data/a1", 7), Stored("data/a2", 7)]
    assert len(await store.list("")) == 4
    await store.delete("data/a1")
    await store.delete("data/a1")
    assert [stored.key for stored in await store.list("")] == ["data/a2", "index/a1", "latest"]


async def test_empty_and_large(store: ObjectStore) -> None:
    await store.create("data/none", b"")
    large = bytes(range(256)) * 40_000
    await store.create("data/large", large)
    assert (await store.fetch("data/none")).data == b""
    assert (await store.fetch("data/large")).data == large
