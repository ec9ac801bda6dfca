"""Core's side of attached data: makes the folders, starts who writes them, asks sync to fill them and to look after them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from .. import wire
from ..attachments import AttachedView, BringView
from ..errors import HostUnfit, InvalidInput, NbdError, Unreachable
from ..homes.attached.model import Attachment
from ..homes.attached.wishes import NOTHING, AllOf, BringWish, EntrustWish, OneOf, Used
from ..messages import ProblemAnswer
from ..notebooks.attach import Ground, folder_of
from ..notebooks.model import Occupant
from . import restorestart
from .blocking import Blocking
from .folders import erase
from .syncclient import SyncHomes

NAME = re.compile(r"[0-9a-z]+")
FOLDER_SECONDS, LIST_SECONDS = 30.0, 600.0
LEVELS = 3
"""attached/people/ada/<id>: so much of it is made here."""
FLUSH_SECONDS = 3600.0
"""Who asks has a shorter patience of their own."""


class SyncAttachments:
    def __init__(self, sync: SyncHomes, ground: Ground) -> None:
        self._sync, self._ground = sync, ground
        self._door = Blocking(4)

    async def bring(self, attachment: Attachment, tell: Callable[[BringView], None]) -> None:
        folder = await self._door.run(f"the folder {attachment.folder}", FOLDER_SECONDS, lambda: made(attachment))
        try:
            if (await self._sync.ask("attached/ready", attachment, LIST_SECONDS))["bring"] == NOTHING:
                return
            connection = await self._sync.connected(BringWish(attachment))
            try:
                child = await restorestart.start_in(owner(attachment), folder, connection)
            finally:
                connection.close()
        finally:
            os.close(folder)
        try:
            while line := await restorestart.next_line(child):
                view = said(line)
                tell(view)
                if view.done:
                    return
            raise Unreachable("bringing it was broken off", hint="start again: it goes on")
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def use(self, ids: Collection[str]) -> str:
        return str((await self._sync.ask("attached/use", Used(tuple(sorted(ids)))))["health"])

    async def flush(self, ids: Collection[str]) -> None:
        await self._sync.ask("attached/flush", Used(tuple(sorted(ids))), FLUSH_SECONDS)

    async def views(self, person: str, ids: Collection[str]) -> Sequence[AttachedView]:
        return [wire.load(AttachedView, one) for one in await self._sync.ask("attached/status", AllOf(person, tuple(sorted(ids))))]

    async def confirm(self, person: str, one: str) -> None:
        await self._sync.ask("attached/confirm", OneOf(person, one))

    async def forget(self, person: str, one: str) -> None:
        """The copy on this box goes; what is in the bucket stays. Raises Conflict while something would be lost, NotFound."""
        attachment = wire.load(Attachment, await self._sync.ask("attached/forget", OneOf(person, one)))
        # What is erased with core's rights is never what sync says, but where core itself made it.
        if not NAME.fullmatch(attachment.id) or attachment.folder != folder_of(self._ground, person, attachment.id):
            raise HostUnfit(f"sync names {attachment.folder} as the copy, which is not where copies are", hint="please report it")
        await erase(Path(attachment.folder))

    async def entrust(self, person: str, url: str, options: dict[str, str]) -> None:
        await self._sync.ask("attached/entrust", EntrustWish(person, url, options))


def owner(attachment: Attachment) -> Occupant:
    """As whom the folder is written. The keeper of shared ones is nobody in particular."""
    return Occupant(attachment.person or "nobody", attachment.uid, attachment.gid, "/")


def made(attachment: Attachment) -> int:
    """A descriptor of the folder, there and its owner's. All above it is root's and closed to people, so its path leads where it says."""
    folder, shared = Path(attachment.folder), not attachment.person
    try:
        for above in reversed(folder.parents[:LEVELS]):
            above.mkdir(mode=0o711, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise HostUnfit(f"{folder} cannot be made: {error.strerror}", hint=f"look: df -h {folder.parent}; df -i {folder.parent}") from None
    try:
        if os.fstat(held).st_uid == 0 and not os.listdir(held):  # noqa: PTH208 - of a descriptor
            # Just made; or a kill came between making it and giving it away.
            os.fchown(held, attachment.uid, attachment.gid)
        if os.fstat(held).st_uid != attachment.uid:
            raise HostUnfit(f"{folder} is not its owner's", hint=f"if nothing is in it: rmdir {folder}")
        os.fchmod(held, 0o755 if shared else 0o700)
    except BaseException:
        os.close(held)
        raise
    return held


def said(line: bytes) -> BringView:
    """One line of the child. Raises what it tells of."""
    with suppress(InvalidInput):
        return wire.decode(BringView, line)
    problem = wire.decode(ProblemAnswer, line).error
    kind: type[NbdError] = Unreachable if problem.retryable else HostUnfit
    raise kind(problem.message, hint=problem.hint, code=problem.code)
