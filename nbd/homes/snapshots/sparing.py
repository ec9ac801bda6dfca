"""A restore's target within a home that replaces nothing but what the newest snapshot has. What the person's rules leave out, or what would not be
read, is in no snapshot: it stays, and is named.

Between the look at a name and the write there is a moment, as short as one batch.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ..model import Entry, Flag, Kind, Snapshot
from ..ports import NewFile, Target, Thing, Writing
from .repository import Repository
from .snapshotter import home_entry
from .walk import entries_of, join

STAYS = "what is there now is in no snapshot, and stays: restore it into a new folder"


class Sparing:
    def __init__(self, inner: Target, repository: Repository, newest: Snapshot, below: bytes) -> None:
        """`below`: where in the home the target is."""
        self._inner, self._repository, self._newest, self._below = inner, repository, newest, below
        self._at: tuple[bytes, dict[bytes, Entry]] | None = None
        """The folder that was asked about last, and what the newest snapshot has in it."""
        self._touched: set[int] = set()
        """Inodes of which a name was replaced: that changed the times of the others."""

    async def make(self, folders: Sequence[bytes]) -> list[str]:
        return await self._inner.make(folders)

    async def missing(self, names: Sequence[tuple[bytes, Entry]]) -> list[bool]:
        return await self._inner.missing(names)

    async def standing(self, names: Sequence[tuple[bytes, bytes]]) -> list[Thing | None]:
        return await self._inner.standing(names)

    async def clear(self, names: Sequence[tuple[bytes, bytes, Thing]]) -> list[str]:
        return await self._inner.clear(names)

    async def write(self, writings: Sequence[tuple[bytes, Writing]]) -> list[str]:
        free = await self._free([(folder, writing.entry.name) for folder, writing in writings])
        done = iter(await self._inner.write([one for one, is_free in zip(writings, free, strict=True) if is_free]) if any(free) else [])
        return [next(done) if is_free else STAYS for is_free in free]

    async def begin(self, folder: bytes, entry: Entry) -> NewFile:
        if not all(await self._free([(folder, entry.name)])):
            raise OSError(errno.EEXIST, STAYS)
        return await self._inner.begin(folder, entry)

    async def link(self, source: bytes, target: bytes) -> str:
        folder, _, name = target.rpartition(b"/")
        return await self._inner.link(source, target) if all(await self._free([(folder, name)])) else STAYS

    async def dress(self, folders: Sequence[tuple[bytes, Entry]]) -> list[str]:
        return await self._inner.dress(folders)

    async def flush(self) -> None:
        await self._inner.flush()

    async def _free(self, names: Sequence[tuple[bytes, bytes]]) -> list[bool]:
        """Where nothing stands, or what the newest snapshot has."""
        things = await self._inner.standing(names)
        return [thing is None or await self._is_kept(folder, name, thing) for (folder, name), thing in zip(names, things, strict=True)]

    async def _is_kept(self, folder: bytes, name: bytes, thing: Thing) -> bool:
        known = (await self._entries(folder)).get(name)
        if known is None or (known.kind, known.ino) != (thing.kind, thing.ino) or known.flags & Flag.STALE:
            return False
        if known.ctime != thing.ctime and not (known.flags & Flag.LINKED and thing.ino in self._touched):
            return False
        self._touched.add(thing.ino)
        return True

    async def _entries(self, folder: bytes) -> dict[bytes, Entry]:
        if self._at is None or self._at[0] != folder:
            entry = await home_entry(self._repository, self._newest)
            path = join(self._below, folder) if folder else self._below
            for name in path.split(b"/") if path else ():
                inside = await entries_of(self._repository, entry.payload) if entry and entry.kind == Kind.FOLDER else []
                entry = next((one for one in inside if one.name == name), None)
            found = await entries_of(self._repository, entry.payload) if entry and entry.kind == Kind.FOLDER else []
            self._at = (folder, {one.name: one for one in found})
        return self._at[1]
