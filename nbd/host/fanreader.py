"""Reads the group that core made: one queue for all homes, one thread.

An event names a folder by its handle. The first of a handle finds where the folder is now (through the mount by which its home is seen); what is in
no home, or in one where it does not matter, is remembered as such, so that the noise of a whole file system costs a look into a table. When a folder
moves, all that is remembered may be wrong, and is forgotten: its parents' events say where to look.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import struct
import termios
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from ..errors import HostUnfit, NbdError
from ..homes.keeping.dirt import DirtySet
from ..homes.model import HomeRequest
from . import fanotify
from .blocking import Blocking
from .fanotify import Event
from .homespot import Spot, open_home, path_of, spot_of

log = logging.getLogger(__name__)
NAME = "fanotify"
SECONDS = 10.0
PACE_SECONDS, NOISE_SECONDS = 0.01, 0.03
"""Between two reads: what happens meanwhile in one folder is one event. Longer, where the last one had nothing of any home: a disk that others write
to all the time must not keep sync busy."""
MOST_KNOWN = 8192
Place = tuple["Watched", bytes]
Places = tuple[Place, ...]


class Watched:
    """One home of a reader."""

    name = NAME

    def __init__(self, home: HomeRequest, dirt: DirtySet, hidden: Callable[[bytes], bool], reader: Reader) -> None:
        self.home, self.dirt, self.hidden = home, dirt, hidden
        self._reader = reader
        self._lost = ""
        self.whole = True
        self.spot = self._look()

    def told(self) -> float:
        return self._reader.told()

    def lost(self) -> str:
        return self._lost

    def lose(self, why: str, since: float) -> None:
        """It tells nothing any more, since then."""
        self.dirt.mark_all(why, since)
        self._lost = self._lost or why

    async def sound(self) -> str:
        try:
            spot = await self._reader.door.run(f"the home {self.home.path}", SECONDS, self._look)
        except NbdError as error:
            return error.message
        return "" if spot == self.spot else "another folder, or another disk, is where it was"

    async def close(self) -> None:
        # In a thread: the reader keeps its lock while it asks a disk for a folder, and a disk may hang.
        with suppress(NbdError):
            await self._reader.door.run(f"the home {self.home.path}", SECONDS, lambda: self._reader.remove(self))

    def below(self, path: bytes) -> bytes | None:
        """A path as it is in this home; None for what is elsewhere."""
        root = self.spot.path
        if path == root:
            return b""
        return path[len(root) + 1 :] if path.startswith(root + b"/") else None

    def _look(self) -> Spot:
        """Raises Refused(home_missing), HostUnfit(no_events) for a disk that others may change, or whose folders cannot be found by handles."""
        root = open_home(self.home)
        try:
            spot = spot_of(root)
            if not spot.own:
                raise no_events(f"not all who change a home on {spot.kind or 'an unknown file system'} need be on this box")
            found = fanotify.open_handle(root, fanotify.handle_of(root))
            os.close(found)
        except OSError as error:
            raise no_events(f"folders on {self.home.path} cannot be found again: {error.strerror}") from None
        finally:
            os.close(root)
        return spot


class Reader:
    """Reads one group, in a thread of its own, until it is closed or the group fails."""

    def __init__(self, group: str, descriptor: int) -> None:
        self.group = group
        self.door = Blocking(4)
        self.read_at = time.monotonic()
        """What happened before that was marked."""
        self._descriptor = descriptor
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._homes: list[Watched] = []
        self._known: OrderedDict[tuple[int, bytes], Places] = OrderedDict()
        self._busy = False
        self._ended = ""
        self._thread = threading.Thread(target=self._run, name="fanotify", daemon=True)
        self._thread.start()

    def add(self, watched: Watched) -> Watched:
        """Raises HostUnfit(no_events) for a reader that has ended."""
        with self._lock:
            if self._ended:
                raise no_events(self._ended)
            self._homes = [*self._homes, watched]
            self._known.clear()
        return watched

    def remove(self, watched: Watched) -> None:
        with self._lock:
            self._homes = [one for one in self._homes if one is not watched]
            self._known.clear()

    def told(self) -> float:
        # In this order: what was in the queue before `now` is out of it, and dealt with.
        now = time.monotonic()
        if self._ended:
            return self.read_at
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)))
        return now if not waiting and not self._busy else self.read_at

    def close(self, why: str) -> None:
        if self._descriptor >= 0:
            os.eventfd_write(self._end, 1)
            self._thread.join(SECONDS)
            self._lose(why)
            os.close(self._descriptor)
            os.close(self._end)
            self._descriptor = -1

    def _lose(self, why: str) -> None:
        with self._lock:
            self._ended = self._ended or why
            for home in self._homes:
                home.lose(why, self.read_at)

    def _run(self) -> None:
        waiting, ending = select.poll(), select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        for poll in (waiting, ending):
            poll.register(self._end, select.POLLIN)
        try:
            pause = 0.0
            while not ending.poll(pause * 1000):
                waiting.poll()
                pause = PACE_SECONDS if self._read() else NOISE_SECONDS
        except Exception as error:  # whatever it is, nobody tells of changes any more
            log.exception("the queue of events cannot be read")
            self._lose(f"the queue of events cannot be read: {error}")

    def _read(self) -> bool:
        """Whether there was something of a home."""
        now, found = time.monotonic(), False
        self._busy = True
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, fanotify.READ_BYTES)
            with self._lock, Batch(self._homes, self._known, self.read_at) as batch:
                for event in fanotify.events(data):
                    found |= batch.see(event)
        self.read_at = now
        self._busy = False
        return found


class Batch:
    """What one read brought. Holds the mounts that it needs open so long and no longer: nbd must not be why a disk cannot be unmounted."""

    def __init__(self, homes: Sequence[Watched], known: OrderedDict[tuple[int, bytes], Places], since: float) -> None:
        self._homes, self._known, self._since = homes, known, since
        self._mounts: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._mounts.values():
            os.close(descriptor)

    def see(self, event: Event) -> bool:
        """Whether it is of a home."""
        if event.mask & fanotify.OVERFLOW:
            self._all(self._homes, "the kernel's queue of events overflowed")
            return True
        if event.mask & fanotify.FOLDER and event.mask & fanotify.MOVED:
            self._known.clear()
        key = (event.filesystem, event.handle)
        places = self._known.get(key)
        if places is None:
            places = self._known[key] = self._find(event)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        for home, folder in places:
            home.dirt.mark(folder)
        return bool(places)

    def _find(self, event: Event) -> Places:
        """Where the folder is now, in which homes. Where that cannot be said, anything in them may have changed."""
        homes = [home for home in self._homes if home.spot.filesystem == event.filesystem]
        found: list[Place] = []
        for mount in {home.spot.mount for home in homes}:
            seen_so = [home for home in homes if home.spot.mount == mount]
            try:
                path = self._path(seen_so, event.handle)
            except NbdError as error:
                for home in seen_so:
                    home.lose(error.message, self._since)
            except OSError as error:
                self._all(seen_so, f"a folder cannot be found: {error.strerror}")
            else:
                found += places_of(path, seen_so)
        return tuple(found)

    def _path(self, homes: Sequence[Watched], handle: bytes) -> bytes:
        """Empty for a folder that is gone. Raises OSError where it cannot be said; Refused, HostUnfit where none of the homes is there."""
        mount = homes[0].spot.mount
        if mount not in self._mounts:
            self._mounts[mount] = open_one(homes)
        try:
            folder = fanotify.open_handle(self._mounts[mount], handle)
        except OSError as error:
            if error.errno == errno.ESTALE:
                return b""
            raise
        try:
            return path_of(folder) if os.fstat(folder).st_nlink else b""
        finally:
            os.close(folder)

    def _all(self, homes: Sequence[Watched], why: str) -> None:
        for home in homes:
            home.dirt.mark_all(why, self._since)


def places_of(path: bytes, homes: Sequence[Watched]) -> list[Place]:
    below = [(home, home.below(path)) for home in homes] if path else []
    return [(home, folder) for home, folder in below if folder is not None and not home.hidden(folder)]


def open_one(homes: Sequence[Watched]) -> int:
    """A folder of the mount through which all these homes are seen."""
    for home in homes[:-1]:
        with suppress(NbdError):
            return open_home(home.home)
    return open_home(homes[-1].home)


def no_events(why: str) -> HostUnfit:
    return HostUnfit(why, code="no_events")
