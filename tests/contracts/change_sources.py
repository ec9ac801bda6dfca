"""The worlds that test_change_source.py holds to the contract of `homes.ports.ChangeSource`: a real folder each, and what tells of its changes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nbd.api.server import listening_socket
from nbd.homes.keeping.dirt import DirtySet
from nbd.homes.keeping.lookout import Lookout
from nbd.homes.model import HomeRequest
from nbd.homes.ports import ChangeSource
from nbd.host.eventgroup import EventGroup
from nbd.host.fanevents import FanotifySource
from nbd.host.groupdoor import GroupDoor
from nbd.host.inotify import InotifySource
from tests.fakes.changes import FakeSource

HIDDEN = b".cache"
PATIENCE = 10.0


def hidden(folder: bytes) -> bool:
    return HIDDEN in folder.split(b"/")


@dataclass
class World:
    home: Path
    source: ChangeSource
    dirt: DirtySet = field(default_factory=lambda: DirtySet(time.monotonic, lambda: None))

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        self.request = HomeRequest("ada", os.geteuid(), str(self.home))
        self.lookout = Lookout(self.request, [self.source], self.dirt)

    async def watched(self) -> None:
        await self.lookout.up(hidden, "")
        assert self.lookout.whole, self.lookout.why
        await self.told()

    def say(self, *paths: str) -> None:
        """For the fake, which does not see by itself."""
        if isinstance(self.source, FakeSource):
            for path in paths:
                self.source.changed(os.fsencode(path))

    async def told(self) -> frozenset[bytes] | None:
        """The folders told of since the last time; None for all. All that was done before the call is in it."""
        done = time.monotonic()
        end = done + PATIENCE
        while self.lookout.whole and (self.lookout.told() or 0) < done:
            assert time.monotonic() < end, "it never told of all"
            await asyncio.sleep(0.005)
        dirt = self.dirt.take()
        return frozenset() if dirt is None else None if dirt.everything else dirt.folders


@asynccontextmanager
async def fanotify_source(folder: Path, *homes: HomeRequest) -> AsyncIterator[FanotifySource]:
    """As core and sync do it, over a socket in `folder`."""
    group, source = EventGroup(folder / "events.sock"), FanotifySource()
    door = GroupDoor(source.take)
    door.listen(listening_socket(folder / "events.sock", None, 0o600))
    try:
        offer = await group.offer(homes)
        source.said(offer.group, offer.refused)
        if offer.group:
            await group.hand_over()
        yield source
    finally:
        await door.close()
        await source.close()
        group.close()


@asynccontextmanager
async def world_of(kind: str, folder: Path, sockets: Path) -> AsyncIterator[World]:
    home = folder / "home"
    home.mkdir()
    if kind == "fanotify":
        async with fanotify_source(sockets, HomeRequest("ada", os.geteuid(), str(home))) as source:
            yield World(home, source)
        return
    makers: dict[str, Callable[[], ChangeSource]] = {"inotify": InotifySource, "fake": FakeSource}
    world = World(home, makers[kind]())
    try:
        yield world
    finally:
        await world.lookout.down()
