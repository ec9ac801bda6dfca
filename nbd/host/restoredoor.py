"""Sync's socket for restores. Core connects and says in one line what is wanted; then the connection is the child's, and carries nothing but
questions to it and its answers: whoever holds that end can do no more than say how their own folder took it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from contextlib import suppress
from dataclasses import replace

from .. import wire
from ..errors import NbdError
from ..homes.snapshots.restorer import Progress
from ..homes.steward import Steward
from ..homes.wishes import RestoreWish
from ..messages import Problem, ProblemAnswer, RestoreView, SnapshotView, Unkept
from . import frames
from .attachedhall import AttachedHall, RemoteHands
from .remotetarget import RemoteTarget

log = logging.getLogger(__name__)
PEER = struct.Struct("3i")
TELL_SECONDS = 1.0
READY_SECONDS = 30.0
MOST_LINE = 64 << 10
SHOWN = 100


class RestoreDoor:
    def __init__(self, steward: Steward, attached: AttachedHall) -> None:
        self._steward, self._attached = steward, attached
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def listen(self, sock: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MOST_LINE)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._under_way.add(task)
        try:
            if of_core(writer):
                await self._one(reader, writer)
        except NbdError as error:
            log.info("a restore ended early: %s", error)
        finally:
            self._under_way.discard(task)
            with suppress(OSError):
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await reader.readline()
                wish = None if AttachedHall.wants(line) else wire.decode(RestoreWish, line, strict=True)
                ready = await frames.receive(reader, 0)
                if ready is None:
                    return  # The child could not begin, and has said why to who started it.
        except (TimeoutError, ValueError):
            return
        if wish is None:
            await self._attached.serve(line, RemoteHands(reader, writer))
            return
        if ready.words.get("home") is True and not wish.bring:
            # Core goes by names alone; the child knows where its folder is. A lie would spare them what is for their own good.
            wish = replace(wish, asked=replace(wish.asked, to=wish.to))
        await self._restored(wish, RemoteTarget(reader, writer))

    async def _restored(self, wish: RestoreWish, target: RemoteTarget) -> None:
        progress, problem, last = Progress(), None, ""
        telling = asyncio.create_task(tell(target, wish, progress))
        try:
            chosen = await self._carried_out(wish, target, progress)
            last = wire.encode(view(wish, progress, chosen, done=True))
            log.info("restored for %s into %s: %d entries, %d bytes", wish.home.person, wish.to, progress.entries, progress.bytes)
        except NbdError as error:
            log.info("a restore for %s into %s ended early: %s", wish.home.person, wish.to, error)
            problem = Problem(error.code, error.message, error.hint, error.retryable)
        except Exception:
            log.exception("a restore for %s met a defect", wish.home.person)
            problem = Problem("internal", "nbd met an unexpected error", "please report it with: journalctl -u nbd-sync")
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        with suppress(NbdError, OSError):  # Whoever started the child may be gone, or ends it as soon as it has printed the last word.
            if problem:
                await target.leave()
            await target.tell(wire.encode(ProblemAnswer(problem)) if problem else last)

    async def _carried_out(self, wish: RestoreWish, target: RemoteTarget, progress: Progress) -> SnapshotView:
        if wish.bring:
            return await self._steward.bring(wish.home, target, progress)
        return await self._steward.restore(wish.home, wish.asked, target, progress)


async def tell(target: RemoteTarget, wish: RestoreWish, progress: Progress) -> None:
    """How far it is, now and then."""
    while True:
        await asyncio.sleep(TELL_SECONDS)
        await target.tell(wire.encode(view(wish, progress, SnapshotView("", 0.0, ""), done=False)))


def view(wish: RestoreWish, progress: Progress, chosen: SnapshotView, *, done: bool) -> RestoreView:
    skipped, damaged = ([Unkept(one.path, one.reason) for one in some[:SHOWN]] for some in (progress.skipped, progress.damaged))
    return RestoreView(
        done, wish.to, chosen, progress.entries, progress.bytes, progress.already, tuple(skipped), tuple(damaged), progress.of_entries,
        progress.of_bytes, progress.already_bytes,
    )  # fmt: skip


def of_core(writer: asyncio.StreamWriter) -> bool:
    sock = writer.get_extra_info("socket")
    _, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return uid in (0, os.geteuid())
