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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import NbdError, Unreachable
from ..homes.model import HomeRequest
from ..homes.wishes import EventsOffer
from . import fanotify
from .blocking import Blocking
from .homespot import open_home

log = logging.getLogger(__name__)
SECONDS, MARK_SECONDS = 5.0, 2.0
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


class EventGroup:
    def __init__(self, *, wanted: bool = True) -> None:
        self._wanted = wanted
        self._name = secrets.token_hex(8)
        self._group: int | None = None
        self._trouble = ""
        self._marked: dict[int, HomeRequest] = {}
        """File systems, and a home on each."""
        self._door = Blocking(4)

    async def offer(self, homes: Sequence[HomeRequest]) -> EventsOffer:
        """See to it that the group tells of these homes, and of nothing that none of them is on. Which it cannot, and why, is in the offer."""
        if self._wanted and homes and self._group is None:
            self._make()
        if self._group is None:
            why = self._trouble or "switched off by homes.events"
            return EventsOffer("", {home.person: why for home in homes})
        found = await asyncio.gather(*(self._mark(home) for home in homes))
        used = {filesystem: home for home, filesystem in zip(homes, found, strict=True) if isinstance(filesystem, int)}
        for filesystem in self._marked.keys() - used.keys():
            await self._unmark(self._marked[filesystem], filesystem)
        self._marked = used
        return EventsOffer(self._name, {home.person: why for home, why in zip(homes, found, strict=True) if isinstance(why, str)})

    async def hand_over(self, path: Path) -> None:
        """To whoever listens there. Raises Unreachable."""
        assert self._group is not None
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_NONBLOCK)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SECONDS):
                await loop.sock_connect(connection, str(path))
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

    async def _mark(self, home: HomeRequest) -> int | str:
        """The file system of the home, which is marked; or why not."""
        try:
            return await self._door.run(f"the home {home.path}", MARK_SECONDS, lambda: self._change(home, fanotify.mark))
        except NbdError as error:
            return error.message
        except OSError as error:
            return reason(error)

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
