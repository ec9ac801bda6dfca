"""Changes in homes, by the group that core made and handed over (eventgroup.py, groupdoor.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..homes.keeping.dirt import DirtySet
from ..homes.model import HomeRequest
from ..homes.ports import Watch
from .blocking import Blocking
from .fanreader import NAME, SECONDS, Reader, Watched, no_events

GROUP_SECONDS = 5.0
"""How long to wait for a group that core said it would hand over."""


class FanotifySource:
    name = NAME

    def __init__(self) -> None:
        self.turn = 0
        self._door = Blocking(4)
        self._refused: Mapping[str, str] = {}
        self._offered = ""
        self._reader: Reader | None = None
        self._arrived = asyncio.Event()

    @property
    def group(self) -> str:
        """The name of the group that is read; empty for none."""
        return self._reader.group if self._reader else ""

    def said(self, group: str, refused: Mapping[str, str]) -> None:
        """Core's word: which group it has, and for which people it does not tell, and why."""
        if (group, dict(refused)) != (self._offered, dict(self._refused)):
            self.turn += 1
        self._offered, self._refused = group, dict(refused)

    async def take(self, group: str, descriptor: int) -> None:
        """Read this group from now on; its descriptor is ours."""
        old, self._reader = self._reader, Reader(group, descriptor)
        self.turn += 1
        self._arrived.set()
        if old:
            await self._door.run("the old queue of events", SECONDS, lambda: old.close("core has handed over another queue of events"))

    async def watch(self, home: HomeRequest, dirt: DirtySet, hidden: Callable[[bytes], bool]) -> Watch:
        refused = self._refused.get(home.person) or ("" if self._offered else "core offers none")
        if refused:
            raise no_events(refused)
        reader = await self._offered_reader()
        return await self._door.run(f"the home {home.path}", SECONDS, lambda: reader.add(Watched(home, dirt, hidden, reader)))

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader:
            await self._door.run("the queue of events", SECONDS, lambda: reader.close("sync ends"))

    async def _offered_reader(self) -> Reader:
        with suppress(TimeoutError):
            async with asyncio.timeout(GROUP_SECONDS):
                while self.group != self._offered:
                    self._arrived.clear()
                    await self._arrived.wait()
        if self._reader is None or self.group != self._offered:
            # An older one may go on for who has it; it may know nothing of the disk of who asks now.
            raise no_events("core has not handed over its queue of events")
        return self._reader
