"""One home and its guardian, over a store in memory that has bad days."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nbd.errors import NbdError, NotFound
from nbd.homes.keeper import Keeper
from nbd.homes.keeping.guardian import Guardian, Means
from nbd.homes.model import HomeRequest, Seen
from nbd.homes.ports import ChangeSource, Listing, OpenHome, Reading
from nbd.homes.steward import Steward
from nbd.homes.vault import Vault
from nbd.host.homefolder import DescriptorFolders
from nbd.host.homenotes import NoteFiles
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.inotify import InotifySource
from nbd.host.sequences import SequenceFile
from nbd.messages import HomeView
from tests.contracts.change_sources import fanotify_source
from tests.fakes.object_store import MemoryStore
from tests.homes.world import KEYS

EVERY = 0.02


class BadDays(MemoryStore):
    trouble: NbdError | None = None

    async def _called(self, what: str, key: str) -> None:
        await super()._called(what, key)
        if self.trouble:
            raise self.trouble


class CountedHomes:
    """The real ones; knows how often one was opened, and how many snapshots were being taken at once."""

    def __init__(self) -> None:
        self.opened = self.now = self.most = 0

    async def open(self, path: str, owner: int | None) -> OpenHome:
        home = await DescriptorHomes().open(path, owner)
        self.opened += 1
        return Counted(home, self)


class Counted:
    """Whoever reads a file, or compares a folder with what is stored of it, takes a snapshot."""

    def __init__(self, home: OpenHome, counts: CountedHomes) -> None:
        self._home, self._counts = home, counts
        self._taking = False
        self.look, self.open_large = home.look, home.open_large

    async def sift(self, folders: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Listing]:
        self._take()
        return await self._home.sift(folders)

    async def read(self, folder: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        if folder or [seen.name for seen in wanted] != [b".nbdignore"]:
            self._take()
        return await self._home.read(folder, wanted)

    async def close(self) -> None:
        self._counts.now -= self._taking
        await self._home.close()

    def _take(self) -> None:
        if not self._taking:
            self._taking = True
            self._counts.now += 1
            self._counts.most = max(self._counts.most, self._counts.now)


@dataclass
class House:
    folder: Path
    store: BadDays = field(default_factory=BadDays)
    homes: CountedHomes = field(default_factory=CountedHomes)
    sources: Sequence[ChangeSource] = ()
    prove_seconds: float = 900.0

    def __post_init__(self) -> None:
        self.path = self.folder / "home"
        self.path.mkdir(exist_ok=True)
        self.home = HomeRequest("ada", os.geteuid(), str(self.path))
        self.build()

    def build(self) -> None:
        """As after a restart of sync."""
        vault = Vault("memory", lambda _: self.store, KEYS, SequenceFile(self.folder / "seen.json"))
        means = Means(vault, self.homes, IgnoreRules, time.time_ns, EVERY, self.prove_seconds, self.sources)
        self.steward = Steward(means, Keeper(means, NoteFiles(self.folder / "notes"), DescriptorFolders()))

    @property
    def guardian(self) -> Guardian:
        return self.steward._guardians["ada"]

    async def has(self, name: str) -> bool:
        return name in await self.names()

    async def status(self) -> HomeView:
        return await self.steward.status(self.home)

    async def names(self) -> set[str]:
        with suppress(NotFound):
            return {entry.name for entry in await self.steward.entries(self.home, "latest", "")}
        return set()

    async def events(self) -> list[tuple[str, str]]:
        return [(one.event, one.name) for one in await self.steward.snapshots(self.home)]


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def house_with(kind: str, folder: Path, sockets: Path) -> AsyncIterator[House]:
    """`kind`: what tells it of changes."""
    if kind == "fanotify":
        home = folder / "home"
        home.mkdir(exist_ok=True)
        request = HomeRequest("ada", os.geteuid(), str(home))
        async with fanotify_source(sockets, request) as source, closing(House(folder, sources=[source])) as house:
            yield house
        return
    async with closing(House(folder, sources=[InotifySource()] if kind == "inotify" else [])) as house:
        yield house


@asynccontextmanager
async def closing(house: House) -> AsyncIterator[House]:
    try:
        yield house
    finally:
        await house.steward.close()
