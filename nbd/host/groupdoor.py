"""Sync's socket for the queue of events: core connects and hands its fanotify group over, by SCM_RIGHTS. Nobody else is listened to."""

from __future__ import annotations

import asyncio
import logging
import os
import socket as sockets
from collections.abc import Awaitable, Callable

from ..errors import NbdError
from ..unixdoor import CREDENTIALS

log = logging.getLogger(__name__)
SECONDS = 5.0
PAUSE_SECONDS = 0.2
"""After one that was not taken: without a free descriptor the next would come at once."""
LONGEST_NAME = 64
Take = Callable[[str, int], Awaitable[None]]


class GroupDoor:
    def __init__(self, take: Take) -> None:
        """`take`: the name of the group, and its descriptor, from then on its own."""
        self._take = take
        self._task: asyncio.Task[None] | None = None

    def listen(self, sock: sockets.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._task = asyncio.create_task(self._serve(sock), name="the door for the queue of events")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, sock: sockets.socket) -> None:
        """One after the other: there is one core."""
        with sock:
            while True:
                await self._next(sock)

    async def _next(self, sock: sockets.socket) -> None:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(sock)
            with connection:
                await asyncio.wait_for(self._one(connection), SECONDS)
        except (OSError, TimeoutError, NbdError) as error:
            log.warning("a queue of events was not taken: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _one(self, connection: sockets.socket) -> None:
        _, uid, _ = CREDENTIALS.unpack(connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, CREDENTIALS.size))
        if uid not in (0, os.geteuid()):
            log.warning("uid %d offered a queue of events, and is not core", uid)
            return
        await readable(connection)
        name, descriptors, _, _ = sockets.recv_fds(connection, LONGEST_NAME, 1, sockets.MSG_CMSG_CLOEXEC)
        if descriptors:
            await self._take(name.decode("ascii", "replace"), descriptors[0])
            await asyncio.get_running_loop().sock_sendall(connection, b"+")


async def readable(connection: sockets.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
