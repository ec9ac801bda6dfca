"""A box whose store goes away: one home, its looker, the copies and the spool on this box; and a way to start sync again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from nbd.errors import Unreachable
from nbd.homes.keeping.looker import Looker
from nbd.homes.model import HomeRequest, Listed
from nbd.homes.ports import ObjectStore
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.snapshotter import Report, Request
from nbd.homes.vault import Vault
from nbd.host.fileops import FileOps
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from nbd.host.shelf import FileShelf
from nbd.host.spoolfolder import SpoolFolder
from tests.fakes.object_store import MemoryStore

from .world import KEYS, Tree, look, restored

ROOMY = 1 << 40


class Leaving(MemoryStore):
    """A store that goes away, at once or after so many calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls_left: int | None = None

    async def _called(self, what: str, key: str) -> None:
        await super()._called(what, key)
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise Unreachable("the store is away", code="store_away")

    def leave(self, after: int = 0) -> None:
        self.calls_left = after

    def come_back(self) -> None:
        self.calls_left = None


def kill(shelf: FileShelf) -> None:
    """As the end of sync does: its file is let go, and what was still asked of it gets nothing any more."""
    with shelf._using:
        shelf._close()
        shelf._file = Path("/nowhere/copies")


class Box:
    def __init__(self, folder: Path, store: ObjectStore, most_bytes: int = ROOMY, files: FileOps | None = None) -> None:
        self.folder, self.store, self.most, self.files = folder, store, most_bytes, files
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.copies: FileShelf | None = None
        self.start()

    def start(self) -> None:
        """As after a restart of sync. One that is killed lets go of its files."""
        if self.copies:
            kill(self.copies)
        self.copies = FileShelf(self.folder / "copies", ROOMY, lambda _: ROOMY)
        self.vault = Vault("memory", lambda _: self.store, KEYS, SequenceFile(self.folder / "seen.json"), "this box")
        self.spool = SpoolFolder(self.folder / "spool", self.most, lambda _: ROOMY, self.files)
        self.vault.use(self.copies, self.spool)
        request = HomeRequest("ada", self.home.stat().st_uid, str(self.home))
        self.looker = Looker(request, self.vault, DescriptorHomes(), IgnoreRules)

    async def look(self, event: str = "save", name: str = "", dirty: Iterable[bytes] | None = None) -> Report:
        request = Request(event, name, frozenset(dirty) if dirty is not None else None)
        return await self.looker.look(request, time.time_ns)

    async def publish(self) -> None:
        assert self.vault.outbox
        await self.vault.outbox.publish("ada")

    async def waiting(self) -> int:
        """Snapshots in the spool."""
        assert self.vault.outbox
        await self.vault.outbox.people()
        spooled = self.vault.spooled("ada")
        return spooled.snapshots if spooled else 0

    async def stored(self) -> list[Listed]:
        """What the store itself has."""
        return list((await Repository.open(self.store, KEYS)).root.snapshots)

    async def content(self, report: Report) -> Tree:
        """Of a snapshot, as the store alone gives it back."""
        target = self.folder / f"back-{time.monotonic_ns()}"
        progress = await restored(await Repository.open(self.store, KEYS), report, target)
        assert (progress.damaged, progress.skipped) == ([], [])
        return look(target)
