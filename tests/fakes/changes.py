"""A source of changes that tells what a test says."""

from __future__ import annotations

import time
from collections.abc import Callable

from nbd.errors import HostUnfit
from nbd.homes.keeping.dirt import DirtySet
from nbd.homes.model import HomeRequest
from nbd.homes.ports import Watch


class FakeSource:
    name = "fake"

    def __init__(self, *, whole: bool = True) -> None:
        self.turn = 0
        self.unfit = ""
        """Why it cannot watch."""
        self.whole = whole
        self.watches: list[FakeWatch] = []

    async def watch(self, home: HomeRequest, dirt: DirtySet, hidden: Callable[[bytes], bool]) -> Watch:
        if self.unfit:
            raise HostUnfit(self.unfit, code="no_events")
        self.watches.append(FakeWatch(dirt, hidden, whole=self.whole))
        return self.watches[-1]

    def changed(self, folder: bytes) -> None:
        """Something did, in all homes that are watched."""
        for watch in self.watches:
            if not watch.closed and not watch.hidden(folder):
                watch.dirt.mark(folder)


class FakeWatch:
    name = FakeSource.name

    def __init__(self, dirt: DirtySet, hidden: Callable[[bytes], bool], *, whole: bool) -> None:
        self.dirt, self.hidden, self.whole = dirt, hidden, whole
        self.unsound = self._lost = ""
        self.closed = False
        self.behind = 0.0

    def told(self) -> float:
        return time.monotonic() - self.behind

    def lost(self) -> str:
        return self._lost

    def lose(self, why: str) -> None:
        self.dirt.mark_all(why)
        self._lost = why

    async def sound(self) -> str:
        return self.unsound

    async def close(self) -> None:
        self.closed = True
