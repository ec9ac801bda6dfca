"""Sync's end of the stream by which an attached folder is written: what comes down goes to the child that owns the folder, and how far it is, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from .. import wire
from ..attachments import BringView
from ..errors import NbdError, Unreachable
from ..homes.attached.sender import Tally
from ..homes.attached.service import AttachedData
from ..homes.attached.wishes import BringWish
from ..messages import Problem, ProblemAnswer
from . import frames
from .remotetarget import RemoteTarget

log = logging.getLogger(__name__)
TELL_SECONDS = 0.5
BEGINNING = b'{"attachment":'


class RemoteHands(RemoteTarget):
    async def settle(self, paths: Sequence[bytes]) -> None:
        await self.ask({"do": "settle", "paths": [frames.told(path) for path in paths]})


class AttachedHall:
    def __init__(self, data: AttachedData) -> None:
        self._data = data

    @staticmethod
    def wants(line: bytes) -> bool:
        """Whether it is a wish for this, and not for a restore."""
        return line.startswith(BEGINNING)

    async def serve(self, line: bytes, hands: RemoteHands) -> None:
        attachment = wire.decode(BringWish, line, strict=True).attachment
        tally = Tally()
        work = asyncio.create_task(self._data.bring(attachment, hands, tally), name=f"bringing {attachment.url}")
        telling = asyncio.create_task(tell(hands, tally))
        try:
            # Who listens no more has stopped the start: then nothing more is brought.
            await asyncio.wait((work, telling), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, work):
                if not (task is work and task.done()):
                    task.cancel()
            found, _ = await asyncio.gather(work, telling, return_exceptions=True)
        if isinstance(found, asyncio.CancelledError):
            return
        log.info("%s: %d files, %d bytes carried before a start", attachment.url, tally.files, tally.bytes)
        with suppress(Unreachable):  # Who heard the end may be gone before it has said so.
            await hands.tell(said(found, tally))


def said(found: BaseException | None, tally: Tally) -> str:
    """The last line."""
    if found is None:
        return wire.encode(view(tally, done=True))
    if isinstance(found, NbdError):
        return wire.encode(ProblemAnswer(Problem(found.code, found.message, found.hint, found.retryable)))
    log.error("bringing attached data met a defect", exc_info=found)
    return wire.encode(ProblemAnswer(Problem("internal", "nbd met an unexpected error", "please report it with: journalctl -u nbd-sync")))


async def tell(hands: RemoteHands, tally: Tally) -> None:
    """How far it is, now and then."""
    while True:
        await hands.tell(wire.encode(view(tally, done=False)))
        await asyncio.sleep(TELL_SECONDS)


def view(tally: Tally, *, done: bool) -> BringView:
    return BringView(done, tally.files, tally.bytes, tally.total_files, tally.total_bytes)
