"""A restore's target that replaces nothing but what is known to be in a snapshot. What else is in the way stays, and is named.

Between the look at a name and the write there is a moment, in which a log-in session (no notebook runs) could change the file; it is as short as
one batch.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from ..model import Entry, Flag, Kind, Skipped
from ..ports import NewFile, Target, Thing, Writing
from .changes import Changes
from .contents import shown
from .restorer import Progress
from .walk import join

STAYS = "something else is there, and stays"


class Careful:
    def __init__(self, inner: Target, progress: Progress, known: Changes | None = None, worthless: Container[bytes] = ()) -> None:
        """`known`: what is there now, as a snapshot has it. `worthless`: paths at which what is there may be replaced all the same."""
        self._inner, self._progress = inner, progress
        self._known, self._worthless = known or Changes(), worthless
        self._touched: set[int] = set()
        """Inodes of which a name was replaced or removed: that changed the times of the others."""
        self._kept: set[bytes] = set()

    async def make(self, folders: Sequence[bytes]) -> list[str]:
        return await self._inner.make(folders)

    async def missing(self, names: Sequence[tuple[bytes, Entry]]) -> list[bool]:
        things = await self._inner.standing([(folder, entry.name) for folder, entry in names])
        absent = await self._inner.missing(names)
        return [self._wanted(*one) for one in zip(names, things, absent, strict=True)]

    async def standing(self, names: Sequence[tuple[bytes, bytes]]) -> list[Thing | None]:
        return await self._inner.standing(names)

    async def clear(self, names: Sequence[tuple[bytes, bytes, Thing]]) -> list[str]:
        return await self._inner.clear(names)

    async def write(self, writings: Sequence[tuple[bytes, Writing]]) -> list[str]:
        return await self._inner.write(writings)

    async def begin(self, folder: bytes, entry: Entry) -> NewFile:
        return await self._inner.begin(folder, entry)

    async def link(self, source: bytes, target: bytes) -> str:
        if source in self._kept:
            self._keep(target)
            return ""
        (first, second) = await self._inner.standing([split(source), split(target)])
        if first and second and first.ino == second.ino:
            return ""
        if second and not self._replaceable(target, second):
            self._keep(target)
            return ""
        return await self._inner.link(source, target)

    async def dress(self, folders: Sequence[tuple[bytes, Entry]]) -> list[str]:
        return await self._inner.dress(folders)

    async def flush(self) -> None:
        await self._inner.flush()

    async def remove(self, paths: Sequence[bytes]) -> None:
        """Remove these, as far as they are what is known."""
        for path in paths:
            (thing,) = await self._inner.standing([split(path)])
            if thing is None:
                continue
            if thing.kind != Kind.FOLDER and not self._replaceable(path, thing):
                self._keep(path)
                continue
            self._touched.add(thing.ino)
            (trouble,) = await self._inner.clear([(*split(path), thing)])
            if trouble:
                self._keep(path)

    def _wanted(self, named: tuple[bytes, Entry], thing: Thing | None, absent: bool) -> bool:  # noqa: FBT001 - one of many, from a list
        """Whether it has to be written."""
        path = join(named[0], named[1].name)
        if thing is None or self._replaceable(path, thing):
            return True
        if not absent:
            return False
        if path in self._worthless:
            return True
        self._keep(path)
        return False

    def _replaceable(self, path: bytes, thing: Thing) -> bool:
        known = self._known.of.get(path, (None, None))[0]
        if known is None or known.kind != thing.kind or known.ino != thing.ino:
            return False
        if known.ctime == thing.ctime or (known.flags & Flag.LINKED and known.ino in self._touched):
            self._touched.add(thing.ino)
            return True
        return False

    def _keep(self, path: bytes) -> None:
        self._kept.add(path)
        self._progress.skipped.append(Skipped(shown(path), STAYS))


def split(path: bytes) -> tuple[bytes, bytes]:
    folder, _, name = path.rpartition(b"/")
    return folder, name
