"""The work on one home: what changed and is to be saved, what is known to be saved, what is due next, and how each look is done.

Nothing that was to be saved is forgotten, however a look ends. What the looks know is told as it is: `protected` is a moment before which
everything is in the store, and goes on by itself while something tells of every change and there is none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ...errors import NbdError
from ..model import HomeRequest, Skipped, Snapshot
from ..ports import ChangeSource, Homes, Ignores
from ..snapshots.contents import shown
from ..snapshots.snapshotter import Report, Request
from ..vault import Vault
from . import debounce
from .debounce import Situation, Spell, What
from .dirt import Dirt, DirtySet
from .looker import Looker, Unsaved
from .lookout import Lookout
from .prover import Prover

log = logging.getLogger(__name__)
SLICE_REST, LEAST_SLICE_REST = 4.0, 0.02
"""After a part of a proof, so many times as long as it took: a proof takes a fifth of the time at most."""
HURRY_SECONDS = 60.0
"""A proof that is wanted before its time waits so long since the last one."""
WEIGH_SECONDS = 1.0
LAG = 0.1
"""So much earlier than it was told may something have changed."""
SPOOL_REST = 60.0
"""While all goes into the spool, where it is no safer, what nobody asked for comes seldom: days may pass so."""
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Means:
    """What a guardian works with; the same for all."""

    vault: Vault
    homes: Homes
    rules: Callable[[str], Ignores]
    wall: Callable[[], int]
    """Nanoseconds since the epoch."""
    every_seconds: float
    """Between looks at everything, where nothing tells of all changes."""
    prove_seconds: float = 900.0
    """Between proofs, where something does."""
    sources: Sequence[ChangeSource] = ()
    """Of changes, the best first."""


@dataclass(slots=True)
class Known:
    """What the last looks found."""

    protected: int | None = None
    """What changed before this moment is in the store, by the looks that were; nanoseconds since the epoch, as the next."""
    proved: int | None = None
    """When the last look at everything began that ended well."""
    snapshot: Snapshot | None = None
    withheld: str = ""
    rules_trouble: str = ""
    skipped: tuple[Skipped, ...] = ()
    """The first of what cannot be kept."""
    skipped_count: int = 0
    trouble: NbdError | None = None
    since: int | None = None


@dataclass(slots=True)
class Pace:
    """What is due when. Moments of the monotonic clock."""

    rested: float = 0.0
    """Until then nothing is saved, because the last save took long; one of everything is counted by itself."""
    all_rested: float = 0.0
    failures: int = 0
    retry: float = 0.0
    looked: float = NEVER
    look_took: float = 0.0
    part: frozenset[bytes] = frozenset()
    """Folders that are being proved."""
    part_at: float = 0.0
    proof_began: int = 0
    hurry: bool = False
    again: frozenset[bytes] = frozenset()
    """Folders in which something would not hold still. It was read, or is among the skipped; what stat says of it proves nothing next time."""
    again_at: float = 0.0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Of a look."""

    what: What
    at: float
    told: float | None
    """What changed before that was marked, so that this look sees it."""
    folders: frozenset[bytes] | None
    """Those that are looked at; None for all."""
    again: bool
    """Whether those that would not hold still are among them."""

    @property
    def full(self) -> bool:
        return self.what in (What.ASKED, What.LOOK)


class Work:
    def __init__(self, home: HomeRequest, means: Means, wake: Callable[[], None]) -> None:
        self._home, self._means = home, means
        self.known = Known()
        self.dirt = DirtySet(time.monotonic, wake)
        self.looker = Looker(home, means.vault, means.homes, means.rules)
        self.lookout = Lookout(home, means.sources, self.dirt)
        self._pace = Pace()
        self._taken: Dirt | None = None
        """What is being saved."""
        self._prover = Prover()
        self._safe: float | None = None
        """As `known.protected`, of the monotonic clock."""
        self._waiting: float | None = None
        """What changed before this moment is saved, and waits on this box for the store."""

    def situation(self, *, watched: bool) -> Situation:
        pace, dirt = self._pace, self.dirt.peek()
        look = prove = None
        if watched and self.lookout.whole:
            wait = min(HURRY_SECONDS, self._means.prove_seconds) if pace.hurry else self._means.prove_seconds
            prove = pace.part_at if pace.proof_began else pace.looked + wait
        elif watched:
            look = pace.looked + debounce.look_after(pace.look_took, self._means.every_seconds)
        changed = None
        if dirt:
            # The first look and the last wait for nobody.
            first, last = (dirt.first, dirt.last) if watched and pace.looked > NEVER else (NEVER, NEVER)
            changed = Spell(first, last, everything=bool(dirt.everything))
        again = pace.again_at if pace.again and watched else None
        rested = pace.all_rested if changed and changed.everything else pace.rested
        return Situation(changed=changed, again=again, look=look, prove=prove, rested=rested, retry=pace.retry)

    async def do(self, what: What, request: Request) -> None:
        """One look. `request`: what was asked for, where somebody asked. Raises why it failed; then it is due again."""
        try:
            await self._do(what, request)
        except NbdError as error:
            await self._failed(error)
            raise
        except Exception as error:  # a defect must be seen and tried again, not end the keeping of a home
            log.exception("the look at %s met a defect", self._home.path)
            defect = NbdError("nbd met an unexpected error while it looked at the home", hint="please report it with: journalctl -u nbd-sync")
            await self._failed(defect)
            raise defect from error

    def protected(self) -> int | None:
        """What changed before this moment is in the store, as it stands now; nanoseconds since the epoch. None while that is not known."""
        told, since = self.lookout.told(), self.unsaved_since()
        self._arrive()
        if self._safe is None or told is None or self._waiting is not None:
            return self.known.protected
        return self.of_the_wall(max(self._safe, told if since is None else since - LAG))

    def waits(self) -> bool:
        return self._means.vault.spooled(self._home.person) is not None

    def _arrive(self) -> None:
        """What waited on this box is in the store."""
        if self._waiting is not None and not self.waits():
            self._safe, self._waiting = max(self._waiting, self._safe or self._waiting), None
            self.known.protected = self.of_the_wall(self._safe)

    def of_the_wall(self, moment: float) -> int:
        return self._means.wall() - int((time.monotonic() - moment) * 1e9)

    def unsaved(self) -> list[Dirt]:
        """What changed and is not in the store yet."""
        return [one for one in (self.dirt.peek(), self._taken) if one is not None]

    def unsaved_since(self) -> float | None:
        return min((one.since for one in self.unsaved()), default=None)

    def all_saved(self) -> bool:
        """Whether everything that changed until now is known to be in the store."""
        # In this order: what changed before `now` is told of, and then it is marked.
        now, told = time.monotonic(), self.lookout.told()
        return told is not None and told >= now and self.unsaved_since() is None and self.known.trouble is None and self._safe is not None

    async def weigh_unsaved(self) -> Unsaved | None:
        """How much that is, counted now, as far as that can be said at once."""
        found, since = self.unsaved(), self.unsaved_since()
        if since is None:
            return None
        began = None if since == NEVER else self.of_the_wall(since) / 1e9
        if began is None or any(one.everything for one in found):
            return Unsaved(0, began)
        folders = frozenset[bytes]().union(*(one.folders for one in found))
        with suppress(NbdError, TimeoutError):
            async with asyncio.timeout(WEIGH_SECONDS):
                counted = await self.looker.measure(folders, began - LAG)
                return Unsaved(len(folders), began, *(counted or ()))
        return Unsaved(len(folders), began)

    def rest(self) -> None:
        """Nobody uses the home."""
        self._pace.again = frozenset()
        self._end_proof()
        self.looker.forget()

    async def _do(self, what: What, request: Request) -> None:
        if what is What.PROVE:
            await self._prove()
            return
        if what is What.LOOK:
            await self.lookout.check()
        # In this order: what changed before `told` is taken.
        at, wall, told = time.monotonic(), self._means.wall(), self.lookout.told()
        self.known.protected = self.protected()  # It stands still from here, should this look end in the spool.
        self._taken = self.dirt.take()
        if what is What.SAVE and self._taken and self._taken.everything:
            what = What.LOOK  # That came between the decision and now.
        again = what is not What.SAVE or self._pace.again_at <= at
        folders = (self._taken.folders if self._taken else frozenset()) | (self._pace.again if again else frozenset())
        start = Start(what, at, told, folders if what is What.SAVE else None, again)
        report = await self.looker.look(replace(request, dirty=start.folders), self._means.wall)
        self._taken = None
        self._note_again(start, report)
        self._note_known(start, report)
        self._note_time(start, wall)

    async def _prove(self) -> None:
        """The next part of a proof, or its end."""
        pace, began, wall = self._pace, time.monotonic(), self._means.wall()
        if not pace.proof_began:
            await self.lookout.check()
            pace.proof_began, pace.hurry = wall, False
        pace.part = pace.part or await self._prover.next(await self.looker.repository())
        if not pace.part:
            pace.looked, self.known.proved = time.monotonic(), pace.proof_began
            self._end_proof()
            return
        start = Start(What.PROVE, began, None, pace.part, again=False)
        report = await self.looker.look(Request(dirty=pace.part), self._means.wall)
        pace.part = frozenset()
        self._note_again(start, report)
        self._note_known(start, report)
        pace.part_at = time.monotonic() + max(LEAST_SLICE_REST, (time.monotonic() - began) * SLICE_REST)

    def _end_proof(self) -> None:
        self._pace.proof_began, self._pace.part = 0, frozenset()
        self._prover.begin()

    def _note_time(self, start: Start, wall: int) -> None:
        pace, now = self._pace, time.monotonic()
        took = now - start.at
        rested = now + max(debounce.rest(took), SPOOL_REST if self._waiting is not None else 0.0)
        if not start.full:
            pace.rested = rested
            return
        pace.all_rested, pace.looked, pace.look_took = rested, now, took
        self.known.proved = wall
        self._end_proof()

    def _note_again(self, start: Start, report: Report) -> None:
        """What would not hold still is read again, later each time while it goes on so."""
        pace = self._pace
        pace.hurry |= report.prove
        left = frozenset() if start.again else pace.again
        if start.again:
            pace.tries = pace.tries + 1 if report.again else 0
        if start.again or not left:
            pace.again_at = time.monotonic() + debounce.again_after(pace.tries)
        pace.again = left | report.again

    def _note_known(self, start: Start, report: Report) -> None:
        known = self.known
        if known.trouble is not None:
            log.info("%s is protected again", self._home.path)
        moment = start.at if start.full else start.told
        self._arrive()
        if moment is not None and self.waits():
            self._waiting = max(moment, self._waiting or moment)
        elif moment is not None:
            self._safe = max(moment, self._safe or moment)
            known.protected = self.of_the_wall(self._safe)
        known.snapshot, known.trouble, known.since = report.snapshot, None, None
        known.rules_trouble = self.looker.rules_trouble
        known.withheld = report.withheld or ("" if start.full else known.withheld)
        self._note_skipped(start, report)
        self._pace.failures, self._pace.retry = 0, 0.0

    def _note_skipped(self, start: Start, report: Report) -> None:
        """A look at some folders knows only of them."""
        known, folders = self.known, start.folders
        if folders is None:
            known.skipped, known.skipped_count = report.skipped, report.skipped_count
            return
        looked = {shown(folder) for folder in folders}
        others = tuple(one for one in known.skipped if one.path.rpartition("/")[0] not in looked)
        known.skipped_count += report.skipped_count - (len(known.skipped) - len(others))
        known.skipped = others + report.skipped

    async def _failed(self, error: NbdError) -> None:
        known, pace = self.known, self._pace
        if self._taken is not None:
            self.dirt.put_back(self._taken)
            self._taken = None
        if known.trouble is None or known.trouble.message != error.message:
            log.warning("%s is not protected: %s", self._home.path, error)
        known.trouble, known.since = error, known.since if known.trouble else self._means.wall()
        pace.failures += 1
        pace.retry = time.monotonic() + debounce.retry_after(pace.failures, self._means.every_seconds)
        self.looker.forget()
        if error.code == "home_missing":
            await self.lookout.down()  # What it watched is not the home any more; the next one is.
