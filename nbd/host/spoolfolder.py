"""The spool: a folder with one store a person, all of them together within a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import HostUnfit
from ..homes.ports import ObjectStore
from ..homes.stores import layout
from .blocking import Blocking
from .fileops import FileOps
from .folderstore import ASIDE, SECONDS, FolderStore, explained, listing
from .spare import spare
from .wrapping import WrappedStore


class Room:
    """How much is left, for all of them. Of one event loop."""

    def __init__(self, folder: Path, most_bytes: int, left: Callable[[Path], int]) -> None:
        self._folder, self._most, self._left = folder, most_bytes, left
        self.used = 0

    def take(self, size: int) -> None:
        """Raises HostUnfit(code=spool_full)."""
        hint = "what is in the home stays there, and is saved when the store is back; homes.spool in the settings"
        if self.used + size > self._most:
            raise HostUnfit("the store is away, and the spool on this box is full", code="spool_full", hint=hint)
        if size > self._left(self._folder):
            raise HostUnfit("the store is away, and the disk of the spool on this box is nearly full", code="spool_full", hint=hint)
        self.used += size


class BoundedStore(WrappedStore):
    def __init__(self, folder: Path, files: FileOps, room: Room) -> None:
        super().__init__(FolderStore(folder, files))
        self._folder, self._files, self._room = folder, files, room
        self._sizes = {stored.key: stored.size for stored in listing(folder, "")}
        room.used += sum(self._sizes.values())

    async def create(self, key: str, data: bytes) -> str | None:
        with self._taken(key, len(data)):
            return await self._store.create(key, data)

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        with self._taken(key, len(data)):
            return await self._store.replace(key, data, expected)

    async def delete(self, key: str) -> None:
        await self._store.delete(key)
        self._room.used -= self._sizes.pop(key, 0)

    @contextmanager
    def _taken(self, key: str, size: int) -> Iterator[None]:
        """What is being written counts already, and what it replaces counts still."""
        self._room.take(size)
        try:
            yield
        except BaseException:
            self._room.used -= size
            raise
        self._room.used -= self._sizes.get(key, 0)
        self._sizes[key] = size

    async def clear(self, first: str) -> None:
        await self.delete(first)
        await Blocking(1).run(f"the spool {self._folder}", SECONDS, self._clear)
        self._room.used -= sum(self._sizes.values())
        self._sizes = {}

    def _clear(self) -> None:
        with explained(self._folder):
            paths = [self._folder, *self._folder.rglob("*")] if self._folder.is_dir() else []
            for path in paths:
                if path.is_file():
                    self._files.unlink(path)
            for path in paths:
                if path.is_dir():
                    self._files.sync_folder(path)


class SpoolFolder:
    def __init__(self, folder: Path, most_bytes: int, left: Callable[[Path], int] = spare, files: FileOps | None = None) -> None:
        """Raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder, self._files = folder, files or FileOps()
        self._room = Room(folder, most_bytes, left)
        for path in folder.rglob(f"{ASIDE}*"):
            path.unlink()  # A killed sync left it.
        self._made = {person: self._make(person) for person in self._persons()}

    def store(self, person: str) -> ObjectStore:
        return self._made.setdefault(person, self._made.get(person) or self._make(person))

    async def people(self) -> list[str]:
        return sorted(self._made)

    async def clear(self, person: str, first: str) -> None:
        if person in self._made:
            await self._made[person].clear(first)

    def _make(self, person: str) -> BoundedStore:
        return BoundedStore(self._folder / layout.part_of(person), self._files, self._room)

    def _persons(self) -> list[str]:
        return [person for path in self._folder.iterdir() if (person := layout.unquoted(path.name)) is not None]
