"""An attached folder on the real file system, a bucket, and what is done with both; programs that are killed and come back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbd.attachments import AttachedView
from nbd.homes.attached.carrier import Means
from nbd.homes.attached.model import Attachment, id_of
from nbd.homes.attached.ports import Objects
from nbd.homes.attached.sender import Tally
from nbd.homes.attached.service import AttachedData
from nbd.homes.model import HomeFacts
from nbd.host.attached_child import FolderTarget
from nbd.host.attachedshelf import ShelfFolder
from nbd.host.hometree import DescriptorHomes
from tests.fakes.plain_objects import MemoryObjects

GIB = 1 << 30


class FakeFolders:
    """The disk as large as the test wants it."""

    def __init__(self) -> None:
        self.facts = HomeFacts(exists=True, is_folder=True, free_bytes=100 * GIB, total_bytes=1000 * GIB)

    async def look(self, path: str) -> HomeFacts:
        return self.facts


class OneShelf(ShelfFolder):
    """The real one, but for the bucket."""

    def __init__(self, folder: Path, bucket: Objects) -> None:
        super().__init__(folder)
        self.bucket = bucket

    def objects(self, attachment: Attachment) -> Objects:
        return self.bucket


class QuickTarget(FolderTarget):
    """Of a disk that loses nothing: no test takes the power away."""

    async def settle(self, paths: Sequence[bytes]) -> None:
        return


class AttachedWorld:
    def __init__(self, root: Path, bucket: MemoryObjects | None = None, *, writable: bool = True) -> None:
        self.root, self.folder = root, root / "folder"
        self.folder.mkdir(exist_ok=True)
        self.memory = bucket or MemoryObjects()
        self.disk = FakeFolders()
        self.most = 10 * GIB
        uid, url = os.geteuid(), "s3://lab-data/team"
        self.attachment = Attachment(
            id_of("ada", uid, url, "", writable=writable), "ada", uid, os.getegid(), str(self.folder), url, writable, own=True
        )
        self.now = 4_000_000_000_000_000_000
        """Long after every file of a test was written: nothing is just being written."""
        self.build()

    def build(self, shelf: type[OneShelf] = OneShelf, bucket: Any = None) -> None:
        self.shelf = shelf(self.root / "sync", bucket or self.memory)
        means = Means(self.shelf, DescriptorHomes(), self.disk, self.wall, "box", 0.02, self.most)
        self.data = AttachedData(means)

    def wall(self) -> int:
        self.now += 10**9
        return self.now

    async def again(self) -> None:
        """Sync dies and comes up again: its state, the folder and the bucket are all that is left."""
        await self.data.close()
        self.build()

    async def start(self) -> Tally:
        """What comes before a notebook starts in it."""
        hands, tally = QuickTarget(self.folder), Tally()
        try:
            await self.data.bring(self.attachment, hands, tally)
        finally:
            hands.close()
        return tally

    async def flush(self) -> None:
        await self.data.flush([self.attachment.id])

    async def view(self) -> AttachedView:
        (view,) = await self.data.views("ada", [])
        return view

    def save(self, path: str, text: str) -> None:
        """At once whole under its name."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        (self.root / "saving").write_text(text)
        (self.root / "saving").rename(file)

    def here(self) -> Mapping[str, str]:
        return {str(file.relative_to(self.folder)): file.read_text() for file in self.folder.rglob("*") if file.is_file()}

    def there(self) -> Mapping[str, str]:
        return {key: data.decode() for key, data in self.memory.objects.items()}

    def put(self, key: str, text: str) -> None:
        """As another tool does."""
        self.memory.set(key, text.encode())
