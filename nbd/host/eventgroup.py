"""Core's part in seeing changes: it makes the one fanotify group (which needs root), marks the file systems of the homes in use, and hands the group
to sync, which can read it without any right. Core never reads it. Both hold the same queue, so what core marks later sync hears of too.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket as sockets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import NbdError, Unreachable
from ..homes.model import HomeRequest
from ..homes.wishes import EventsOffer
from . import fanotify
from .blocking import Blocking
from .homespot import open_home

log = logging.getLogger(__name__)
SECONDS, MARK_SECONDS = 2.0, 2.0
AGAIN_SECONDS = 300.0
REASONS = {
    errno.EPERM: "it needs root's rights on the host (CAP_SYS_ADMIN)",
    errno.EXDEV: "a btrfs subvolume has no events of its own",
    errno.ENODEV: "its file system has no number of its own",
    errno.EOPNOTSUPP: "its file system cannot tell its folders apart",
    errno.EINVAL: "this kernel is too old (Linux 5.9 or later)",
    errno.ENOSYS: "this kernel is too old (Linux 5.9 or later)",
    errno.EMFILE: "there are too many groups (fs.fanotify.max_user_groups)",
    errno.ENOSPC: "there are too many marks (fs.fanotify.max_user_marks)",
}


class Try(NamedTuple):
    """To mark the file system of a home."""

    at: float
    filesystem: int
    refused: str = ""


class EventGroup:
    def __init__(self, path: Path, *, wanted: bool = True) -> None:
        """`path`: where sync takes it."""
        self._path, self._wanted = path, wanted
        self._name = secrets.token_hex(8)
        self._group: int | None = None
        self._trouble = ""
        self._tried: dict[HomeRequest, Try] = {}
        self._door = Blocking(4)

    async def offer(self, homes: Sequence[HomeRequest]) -> EventsOffer:
        """See to it that the group tells of these homes, and of nothing that none of them is on. Which it cannot, and why, is in the offer."""
        if self._wanted and homes and self._group is None:
            self._make()
        if self._group is None:
            why = self._trouble or "switched off by homes.events"
            return EventsOffer("", {home.person: why for home in homes})
        tries = dict(zip(homes, await asyncio.gather(*(self._mark(home) for home in homes)), strict=True))
        used = {one.filesystem for one in tries.values()}
        for home, one in self._tried.items():
            if one.filesystem not in used:
                await self._unmark(home, one.filesystem)
        self._tried = tries
        return EventsOffer(self._name, {home.person: one.refused for home, one in tries.items() if one.refused})

    async def hand_over(self) -> None:
        """Raises Unreachable."""
        assert self._group is not None
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_NONBLOCK)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SECONDS):
                await loop.sock_connect(connection, str(self._path))
                sockets.send_fds(connection, [self._name.encode()], [self._group])
                if await loop.sock_recv(connection, 1) != b"+":
                    raise Unreachable("sync did not take the queue of events")
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"sync did not take the queue of events: {error or 'too late'}") from None
        finally:
            connection.close()
        log.info("sync has the queue of events")

    def close(self) -> None:
        if self._group is not None:
            os.close(self._group)
            self._group = None

    def _make(self) -> None:
        try:
            self._group = fanotify.make_group()
        except OSError as error:
            self._trouble = reason(error)
            self._wanted = False

    async def _mark(self, home: HomeRequest) -> Try:
        """What the last try came to, unless it is long ago: another disk may be there, and one that hangs must not be asked all the time."""
        now, last = time.monotonic(), self._tried.get(home)
        if last is not None and now < last.at + AGAIN_SECONDS:
            return last
        try:
            return Try(now, await self._door.run(f"the home {home.path}", MARK_SECONDS, lambda: self._change(home, fanotify.mark)))
        except NbdError as error:
            return Try(now, 0, error.message)
        except OSError as error:
            return Try(now, 0, reason(error))

    async def _unmark(self, home: HomeRequest, filesystem: int) -> None:
        """Of a disk that is gone the kernel has removed it by itself."""
        with suppress(NbdError, OSError):
            await self._door.run(f"the home {home.path}", MARK_SECONDS, lambda: self._change(home, fanotify.unmark, filesystem))

    def _change(self, home: HomeRequest, change: fanotify.Change, only: int | None = None) -> int:
        """The file system of the home. `only`: leave any other as it is."""
        root = open_home(home)
        try:
            filesystem = os.fstatvfs(root).f_fsid
            if self._group is not None and only in (None, filesystem):
                change(self._group, root)
            return filesystem
        finally:
            os.close(root)


def reason(error: OSError) -> str:
    return REASONS.get(error.errno or 0, error.strerror or str(error))
