"""Boxes that share one store, each with a home of its own for the same person; what core does with `nbd sync` at a start and a stop, by hand."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from nbd.errors import NbdError
from nbd.homes.keeper import Keeper
from nbd.homes.keeping.guardian import Means
from nbd.homes.model import HomeRequest
from nbd.homes.snapshots.restorer import Progress
from nbd.homes.snapshots.snapshotter import Request
from nbd.homes.steward import Steward
from nbd.homes.vault import Vault
from nbd.host.homefolder import DescriptorFolders
from nbd.host.homenotes import NoteFiles, box_of
from nbd.host.hometree import DescriptorHomes
from nbd.host.homewriter import DescriptorTarget
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from nbd.messages import HomeView, SnapshotView
from tests.fakes.object_store import MemoryStore
from tests.homes.world import KEYS


class SharedStore(MemoryStore):
    """`trouble` is raised by each call while set; the next of `meddlers` comes before a move of the pointer."""

    trouble: NbdError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.meddlers: list[Callable[[], Awaitable[object]]] = []

    async def _called(self, what: str, key: str) -> None:
        await super()._called(what, key)
        if (what, key) == ("replace", "latest") and self.meddlers:
            now, *later = self.meddlers
            self.meddlers = []
            await now()
            self.meddlers = later
        if self.trouble:
            raise self.trouble


class Killed(Exception):
    """What a kill of the child looks like from inside."""


class MortalTarget(DescriptorTarget):
    """Dies before its `lives`-th writing call."""

    lives = 10**9

    async def _tick(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise Killed

    async def make(self, folders):  # type: ignore[no-untyped-def]
        await self._tick()
        return await super().make(folders)

    async def write(self, writings):  # type: ignore[no-untyped-def]
        await self._tick()
        return await super().write(writings)

    async def begin(self, folder, entry):  # type: ignore[no-untyped-def]
        await self._tick()
        return await super().begin(folder, entry)

    async def link(self, source, target):  # type: ignore[no-untyped-def]
        await self._tick()
        return await super().link(source, target)

    async def clear(self, names):  # type: ignore[no-untyped-def]
        await self._tick()
        return await super().clear(names)

    async def dress(self, folders):  # type: ignore[no-untyped-def]
        await self._tick()
        return await super().dress(folders)


@dataclass
class Box:
    folder: Path
    store: SharedStore = field(default_factory=SharedStore)
    every: float = 60.0

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.path, self.skeleton = self.folder / "home", self.folder / "skel"
        self.path.mkdir(exist_ok=True)
        self.skeleton.mkdir(exist_ok=True)
        self.home = HomeRequest("ada", os.geteuid(), str(self.path))
        self.progress = Progress()
        self.build()

    def build(self) -> None:
        """As after a restart of sync."""
        seen = SequenceFile(self.folder / "seen.json")
        vault = Vault("memory", lambda person: self.store if person == "ada" else SharedStore(), KEYS, seen, box_of(self.folder / "box"))
        self.means = Means(vault, DescriptorHomes(), IgnoreRules, self.wall, self.every)
        self.notes = NoteFiles(self.folder / "notes")
        self.keeper = Keeper(self.means, self.notes, DescriptorFolders(), str(self.skeleton))
        self.steward = Steward(self.means, self.keeper)

    def wall(self) -> int:
        return time.time_ns()

    async def bring(self, lives: int = 10**9) -> SnapshotView:
        target = MortalTarget(self.path)
        target.lives = lives
        self.progress = Progress()
        try:
            return await self.steward.bring(self.home, target, self.progress)
        finally:
            target.close()

    async def start(self) -> str:
        """Returns which snapshot was brought, empty for none."""
        brought = ""
        for _ in range(3):
            if not (await self.steward.ready(self.home)).bring:
                break
            brought = (await self.bring()).id or brought
        else:
            raise AssertionError("it is never ready")
        await self.steward.watch([self.home])
        return brought

    async def stop(self, name: str = "main") -> HomeView:
        view = await self.steward.flush(self.home, Request("stop", name))
        await self.steward.watch([])
        return view

    async def killed(self) -> None:
        """Sync dies and comes up again."""
        await self.steward.close()
        self.build()

    async def events(self) -> list[tuple[str, str]]:
        return [(one.event, one.name) for one in await self.steward.snapshots(self.home)]

    async def names(self, snapshot: str = "latest") -> set[str]:
        return {entry.name for entry in await self.steward.entries(self.home, snapshot, "")}


async def settled(box: Box) -> None:
    """Until all is kept while a notebook runs."""
    deadline = time.monotonic() + 5
    while (await box.steward.status(box.home)).sentence != "protected":
        assert time.monotonic() < deadline, await box.steward.status(box.home)
        await asyncio.sleep(0.005)
