"""Every store that must keep the contract: the fake, the folder, wrappers around both, three kinds of real servers, and the whole as it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from nbd.config import HomeSettings
from nbd.homes.ports import ObjectStore
from nbd.homes.stores.bandwidth import Limits
from nbd.homes.stores.layout import part_of
from nbd.host.counting import CountingStore
from nbd.host.credentials import spelled
from nbd.host.folderstore import FolderStore
from nbd.host.limiting import ConcurrentStore, Lines, ThrottledStore
from nbd.host.objectstore import BucketStore
from nbd.host.retrying import RetryingStore
from nbd.host.spoolfolder import SpoolFolder
from nbd.host.stores import stores_of
from nbd.host.verifying import VerifyingStore
from tests.fakes.object_servers import BUCKET, SERVERS, Server
from tests.fakes.object_store import MemoryStore
from tests.fakes.unreliable import UnreliableStore

ODD = "D\\Ada ~%2Fä+b?."
"""An account's name that tries its place in the store."""
LOCAL: Mapping[str, Callable[[Path], ObjectStore]] = {
    "memory": lambda _: MemoryStore(),
    "folder": lambda folder: FolderStore(folder / "store"),
    "spool": lambda folder: SpoolFolder(folder / "spool", 1 << 30, lambda _: 1 << 30).store("ada"),
    "retried": lambda folder: RetryingStore(FolderStore(folder / "store")),
    "unreliable": lambda _: RetryingStore(UnreliableStore(MemoryStore(), share=0.4, seed=3), first=0.0001),
    "verified": lambda _: RetryingStore(VerifyingStore(UnreliableStore(MemoryStore(), share=0.4, seed=5), read_back=True), first=0.0001),
    "counted": lambda _: CountingStore(MemoryStore(), {}),
    "few at a time": lambda _: ConcurrentStore(MemoryStore(), asyncio.Semaphore(2)),
    "throttled": lambda _: ThrottledStore(MemoryStore(), Lines(Limits(otherwise=1 << 40))),
    "local, whole": lambda folder: stores_of(HomeSettings(), str(folder / "store"))(ODD),
}
REMOTE = (*SERVERS, *(f"{name}, whole" for name in SERVERS))


class Servers:
    """Those that are needed, each started once."""

    def __init__(self, until_the_end: ExitStack) -> None:
        self._stack = until_the_end
        self._started: dict[str, Server] = {}

    def of(self, kind: str) -> Server | None:
        name = kind.partition(",")[0]
        if name in SERVERS and name not in self._started:
            self._started[name] = self._stack.enter_context(SERVERS[name]())
        return self._started.get(name)


def store_of(kind: str, server: Server | None, folder: Path, person: str) -> ObjectStore:
    """An empty store of that kind; of another person, another one."""
    if server is None:
        return LOCAL[kind](folder)
    if kind.endswith(", whole"):
        return stores_of(settings_of(server, folder, server.secrets), f"{server.scheme}://{BUCKET}/people")(person + ODD)
    return bucket_of(server, server.secrets).below(part_of(person))


def bucket_of(server: Server, secrets: Mapping[str, str], bucket: str = BUCKET) -> BucketStore:
    found = spelled(server.scheme, dict(secrets))
    return BucketStore(f"{server.scheme}://{bucket}", found.options, found.client)


def settings_of(server: Server, folder: Path, secrets: Mapping[str, str]) -> HomeSettings:
    file = folder / "secrets"
    file.touch(mode=0o600)
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in secrets.items()))
    return HomeSettings(store=f"{server.scheme}://{BUCKET}/people", store_secrets=str(file))
