"""Keeps one attached folder and its prefix in step: down before a notebook starts in it, up while it is in use and after. One thing at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ...errors import HostUnfit, NbdError, Refused
from ..ports import HomeFolders, Homes, OpenHome
from .bringer import Bringer
from .fit import fits
from .model import Attachment, Do, Here, Plan, Rules
from .plan import QUIET, SECOND, plan, ripe
from .ports import Hands, Shelf
from .scan import scan
from .sender import Sender, Tally
from .url import parsed

log = logging.getLogger(__name__)
PASSES = 4
MOST_BACKOFF_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Means:
    """What a carrier works with; the same for all."""

    shelf: Shelf
    homes: Homes
    folders: HomeFolders
    wall: Callable[[], int]
    """Nanoseconds since the epoch."""
    host: str
    every_seconds: float
    most_bytes: int
    """Of one attachment."""


@dataclass(slots=True)
class Known:
    """What the last look found."""

    synced: int | None = None
    files: int = 0
    bytes: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    """Changes that are not there yet, by path: since when."""
    withheld: str = ""
    left: dict[str, str] = field(default_factory=dict)
    trouble: NbdError | None = None
    since: int | None = None


class Carrier:
    def __init__(self, attachment: Attachment, means: Means) -> None:
        self.attachment = attachment
        self.known = Known()
        self.used = False
        self._means = means
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asked: list[asyncio.Future[None]] = []
        self._confirmed = False

    def use(self, *, used: bool) -> None:
        """A notebook works in it, or none does any more: then once more, until all is there."""
        if used != self.used:
            self.used = used
            if self.attachment.writable:
                self.wake()

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"carrier of {self.attachment.url}")

    async def flush(self) -> None:
        """Return when all that is here now is there. Raises why not; it is tried again all the same."""
        if self.attachment.writable:
            asked = asyncio.get_running_loop().create_future()
            self._asked.append(asked)
            self.wake()
            await asyncio.shield(asked)

    async def confirm(self) -> None:
        """What is gone here may go there, and the other way round at the next start."""
        self._confirmed = True
        self.known.withheld = ""
        await self.flush()

    async def bring(self, hands: Hands | None, tally: Tally) -> bool:
        """Both sides are in step when it returns; without hands, whether they are. With a notebook at work in a writable one it stays as it is.
        Raises what the store raises, HostUnfit(disk_full, data_unfit), Unreachable when the hands are gone."""
        async with self._turn:
            if self.used and self.attachment.writable:
                return True
            began = self._means.wall()
            try:
                return await self._both_ways(hands, tally, began)
            except NbdError as error:
                self._failed(error, began)
                raise

    async def close(self) -> None:
        """Stop at once; what is not there yet is found again."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            asked, self._asked = self._asked, []
            error = await self._round(hurry=bool(asked) or not self.used)
            settle(asked, error)
            failures = failures + 1 if error else 0
            if not self.used and not self._wake.is_set() and (error is None or isinstance(error, Refused)):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause(failures)):
                    await self._wake.wait()

    def _pause(self, failures: int) -> float:
        every = self._means.every_seconds
        if failures:
            return float(min(every * 2**failures, max(every, MOST_BACKOFF_SECONDS)))
        return min(every, QUIET / SECOND) if self.known.waiting else every

    async def _round(self, *, hurry: bool) -> NbdError | None:
        began = self._means.wall()
        try:
            async with self._turn:
                await self._up(began, hurry=hurry)
        except NbdError as error:
            self._failed(error, began)
            return error
        except Exception:  # a defect must be seen and tried again, not end the keeping of somebody's data
            log.exception("the look at %s met a defect", self.attachment.folder)
            defect = NbdError("nbd met an unexpected error while it looked at the folder", hint="please report it with: journalctl -u nbd-sync")
            self._failed(defect, began)
            return defect
        return None

    async def _up(self, began: int, *, hurry: bool) -> None:
        means, tally = self._means, Tally()
        ledger = await means.shelf.ledger(self.attachment.id)
        folder = await means.homes.open(self.attachment.folder, self.attachment.uid)
        try:
            here = await scan(folder, parsed(self.attachment.url).prefix)
            made = plan(ledger.known, here, None, self._rules())
            before = self.known.waiting
            due, later = (made, {}) if hurry else ripe(made, began, before)
            self.known.waiting = {action.path: before.get(action.path, began) for action in made.actions}
            if due.actions:
                await Sender(means.shelf.objects(self.attachment), ledger, folder, tally, means.host).run(due)
            self.known.waiting = later
        finally:
            await folder.close()
        self._went_well(began, here, made, tally)

    async def _both_ways(self, hands: Hands | None, tally: Tally, began: int) -> bool:
        means = self._means
        objects, ledger = means.shelf.objects(self.attachment), await means.shelf.ledger(self.attachment.id)
        for _ in range(PASSES):
            there = await objects.listing()
            folder = await means.homes.open(self.attachment.folder, self.attachment.uid)
            try:
                here = await scan(folder, parsed(self.attachment.url).prefix)
                made = plan(ledger.known, here, there, self._rules())
                fits(made, here, await means.folders.look(self.attachment.folder), means.most_bytes)
                count(tally, made)
                await Sender(objects, ledger, folder, tally, means.host).run(made)
                if hands is not None:
                    await brought(Bringer(self.attachment, objects, ledger, hands, tally), made, here, folder)
                elif here.leftovers or made.of(Do.DELETE_HERE, Do.DOWNLOAD):
                    return False
            finally:
                await folder.close()
            if not tally.again:
                break
        self._went_well(began, here, made, tally)
        return True

    def _rules(self) -> Rules:
        return Rules(self.attachment.writable, self._confirmed)

    def _went_well(self, began: int, here: Here, made: Plan, tally: Tally) -> None:
        known = self.known
        if known.trouble is not None:
            log.info("%s is in step again", self.attachment.url)
        if made.withheld and made.withheld != known.withheld:
            log.warning("%s: deletions wait for a word of %s: %s", self.attachment.url, self.attachment.person or "an admin", made.withheld)
        sizes = sum(seen.size for seen in here.files.values())
        synced = known.synced if known.waiting else began
        self._confirmed = self._confirmed and bool(known.waiting)
        self.known = Known(synced, len(here.files), sizes, known.waiting, made.withheld, {**made.left, **tally.left})

    def _failed(self, error: NbdError, began: int) -> None:
        known = self.known
        if known.trouble is None or known.trouble.message != error.message:
            log.warning("%s is not in step: %s", self.attachment.url, error)
        known.trouble, known.since = error, known.since if known.trouble else began


def settle(asked: Sequence[asyncio.Future[None]], error: NbdError | None) -> None:
    for one in asked:
        if one.done():
            continue
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(error)
            one.exception()  # Nobody may be waiting any more; that is no defect.


def count(tally: Tally, made: Plan) -> None:
    """What is to be done in all, for the bar."""
    for action in made.actions:
        what = action.remote if action.do is Do.DOWNLOAD else action.seen if action.do in (Do.UPLOAD, Do.MEET) else None
        tally.total_files += action.do is not Do.FORGET
        tally.total_bytes += what.size if what else 0
    tally.again = False


async def brought(bringer: Bringer, made: Plan, here: Here, folder: OpenHome) -> None:
    """A full disk in words about this, not about a restore."""
    try:
        await bringer.run(made, here, folder)
    except HostUnfit as error:
        if error.code != "no_space":
            raise
        hint = "make room, then start again: it goes on"
        raise HostUnfit("there is no space left on this box for what is attached", code="disk_full", hint=hint) from None
