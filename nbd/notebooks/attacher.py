"""Sees to it that a notebook has its attached data: there before it runs, in step while it runs, and once more at its end."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

from ..attachments import AttachedAt, BringView
from ..errors import NbdError
from ..messages import AttachRequest, Progress
from ..profiles import Profile
from .attach import Ground, Wanted, checked, failed, wanted
from .homecoming import amount
from .model import LIVE, Occupant, Phase
from .ports import Attachments, People
from .roster import Roster
from .spec import Bind

log = logging.getLogger(__name__)
TELL_SECONDS, FLUSH_SECONDS = 5.0, 30.0


class Attacher:
    def __init__(self, attachments: Attachments, people: People, roster: Roster, ground: Ground, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._attachments, self._people, self._roster, self._ground = attachments, people, roster, ground
        self._flush_seconds = flush_seconds
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Held from asking who else has a folder to having written that this one has: of two starts only the first brings it."""
        self._telling = asyncio.Lock()
        self._trouble, self._health = "", "ok"

    async def check(self, owner: str, profile: Profile, asked: Sequence[AttachRequest]) -> None:
        """Raises InvalidInput, Refused for what could not be attached whatever happens."""
        who = await self._people.occupant(owner)
        if asked and who is not None:
            checked(profile, asked, who, self._ground)

    def has_any(self, notebook: str, profile: Profile) -> bool:
        row = self._roster.get(notebook)
        return bool(profile.attach or row.attach or row.attached)

    async def bring(self, notebook: str, profile: Profile, who: Occupant, show: Callable[[Progress], None]) -> tuple[Bind, ...]:
        """All of a notebook's, one after the other. Raises HostUnfit(data_unfit, disk_full), Unreachable(data_away), InvalidInput."""
        await self._roster.change(notebook, attached=())
        # What sync takes for in use it leaves as it is: it has to know that the last run is over.
        await self.tell()
        binds: list[Bind] = []
        for one in wanted(profile, self._roster.get(notebook).attach, who, self._ground):
            found = one.attachment
            async with self._turns[found.id]:
                if not (found.writable and self._in_use(notebook, found.id)):
                    await self._one(one, show)
                row = self._roster.get(notebook)
                await self._roster.change(notebook, attached=(*row.attached, AttachedAt(found.id, one.path, found.writable)))
            binds.append(Bind(found.folder, one.path, found.writable))
        return tuple(binds)

    async def tell(self) -> None:
        """Which are in use now. Told at each change and at each reconcile, so that a sync that was restarted knows again."""
        trouble, ids = "", set[str]()
        try:
            async with asyncio.timeout(TELL_SECONDS), self._telling:
                ids = {one.id for row in self._roster.all() if row.state in LIVE for one in row.attached}
                self._health = await self._attachments.use(ids)
        except (NbdError, TimeoutError) as error:
            trouble = str(error) or "sync is silent"
        if trouble and trouble != self._trouble and ids:
            log.warning("attached data is not looked after: %s", trouble)
        self._trouble = trouble

    async def health(self) -> str:
        """ "ok", or how many are not in step; nobody is named, for everybody may ask."""
        return self._health

    async def last(self, notebook: str) -> None:
        """What the end of a run left goes up; waits so long and no longer."""
        row = self._roster.get(notebook)
        ids = [one.id for one in row.attached if one.writable]
        if not ids:
            return
        try:
            async with asyncio.timeout(self._flush_seconds):
                await self._attachments.flush(ids)
        except (NbdError, TimeoutError) as error:
            why = str(error) or "the store is slow"
            log.warning("%s: what it wrote into attached data is not all in the bucket yet: %s", row.title, why, extra={"NBD_NOTEBOOK": notebook})

    async def _one(self, one: Wanted, show: Callable[[Progress], None]) -> None:
        try:
            await self._attachments.bring(one.attachment, lambda view: show(progress(one, view)))
        except NbdError as error:
            if not one.optional:
                raise failed(error, one) from None
            log.warning("%s is attached as it was here: %s", one.attachment.url, error)

    def _in_use(self, notebook: str, found: str) -> bool:
        """By another notebook, whose person is at work in it."""
        others = (row for row in self._roster.all() if row.id != notebook and row.state in LIVE)
        return any(one.id == found for row in others for one in row.attached)


def progress(one: Wanted, view: BringView) -> Progress:
    url = one.attachment.url
    if not view.total_files:
        return Progress(Phase.DATA, f"comparing with {url}")
    share = view.bytes / view.total_bytes if view.total_bytes else view.files / view.total_files
    text = f"bringing {url}: {view.files:,} of {view.total_files:,} files, {amount(view.bytes)} of {amount(view.total_bytes)}"
    return Progress(Phase.DATA, text, round(min(share, 1.0), 3))
