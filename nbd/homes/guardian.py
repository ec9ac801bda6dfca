"""Keeps one home: looks at it again and again while a notebook runs in it, and at once when something ends.

The look is the truth: each compares all of the home with the last snapshot by its times and inodes, and reads what differs. One task does all
looks of a home, so there are never two at a time. What fails is tried again, later each time, until it is in the store; who asked for a snapshot
that failed is told at once, and it stays pending.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import InvalidInput, NbdError
from .model import HomeRequest, Kind, Snapshot
from .ports import Homes, Ignores, OpenHome
from .repository import Repository
from .snapshotter import Report, Request, Snapshotter
from .vault import Vault

log = logging.getLogger(__name__)
MOST_BACKOFF_SECONDS = 300.0
RULES_FILE = b".nbdignore"
MOST_RULES = 64 << 10


@dataclass(frozen=True, slots=True)
class Means:
    """What a guardian works with; the same for all."""

    vault: Vault
    homes: Homes
    rules: Callable[[str], Ignores]
    wall: Callable[[], int]
    """Nanoseconds since the epoch."""
    every_seconds: float


@dataclass(slots=True)
class Known:
    """What the last looks found."""

    protected: int | None = None
    """When the last look that ended well began."""
    snapshot: Snapshot | None = None
    withheld: str = ""
    rules_trouble: str = ""
    trouble: NbdError | None = None
    since: int | None = None


@dataclass(slots=True)
class Wanted:
    """A snapshot that somebody asked for."""

    request: Request
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def words(self) -> str:
        return f"{self.request.event} {self.request.name}".strip()

    def settle(self, error: NbdError | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
            self.done.exception()  # Nobody may be waiting any more; that is no defect.


class Guardian:
    def __init__(self, home: HomeRequest, means: Means) -> None:
        self.home = home
        self.known = Known()
        self.watched = False
        self._means = means
        self._wanted: list[Wanted] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._repository: Repository | None = None

    def watch(self) -> None:
        """Look at once, then again and again. Asking twice changes nothing."""
        if not self.watched:
            self.watched = True
            self._go()

    def unwatch(self) -> None:
        """One more look, until it is in the store; then no more."""
        if self.watched:
            self.watched = False
            self._go()

    async def flush(self, request: Request) -> None:
        """Return when a look that began after this call is in the store. Raises why not; it is tried again all the same."""
        wanted = Wanted(request)
        self._wanted.append(wanted)
        self._go()
        await asyncio.shield(wanted.done)

    def pending(self) -> tuple[str, ...]:
        return tuple(wanted.words for wanted in self._wanted)

    @property
    def working(self) -> bool:
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Stop at once; what was not acknowledged is found again by the next look."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _go(self) -> None:
        self._wake.set()
        if not self.working:
            self._task = asyncio.create_task(self._run(), name=f"guardian of {self.home.path}")

    async def _run(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            error = await self._round()
            failures = failures + 1 if error else 0
            if self._over(error):
                break
            every = self._means.every_seconds
            pause = min(every * 2**failures, max(every, MOST_BACKOFF_SECONDS)) if failures else every
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
        self._repository = None

    def _over(self, error: NbdError | None) -> bool:
        """Nobody uses the home, and all is in the store, or waiting cannot bring it there."""
        if self.watched or self._wake.is_set():
            return False
        if error is not None and not error.retryable:
            self._wanted.clear()
            return True
        return error is None and not self._wanted

    async def _round(self) -> NbdError | None:
        """What is wanted, each by a look of its own; without anything wanted, one look."""
        wanted = list(self._wanted) or [Wanted(Request())]
        for one in wanted:
            error = await self._look(one.request)
            one.settle(error)
            if error is not None:
                for other in wanted:
                    other.settle(error)
                return error
            if one in self._wanted:
                self._wanted.remove(one)
        return None

    async def _look(self, request: Request) -> NbdError | None:
        began = self._means.wall()
        try:
            report = await self._taken(request)
        except NbdError as error:
            self._failed(error, began)
            return error
        except Exception:  # a defect must be seen and tried again, not end the keeping of a home
            log.exception("the look at %s met a defect", self.home.path)
            defect = NbdError("nbd met an unexpected error while it looked at the home", hint="please report it with: journalctl -u nbd-sync")
            self._failed(defect, began)
            return defect
        if self.known.trouble is not None:
            log.info("%s is protected again", self.home.path)
        self.known = Known(began, report.snapshot, report.withheld, self.known.rules_trouble)
        return None

    def _failed(self, error: NbdError, began: int) -> None:
        known = self.known
        if known.trouble is None or known.trouble.message != error.message:
            log.warning("%s is not protected: %s", self.home.path, error)
        known.trouble, known.since = error, known.since if known.trouble else began
        self._repository = None

    async def _taken(self, request: Request) -> Report:
        vault, person = self._means.vault, self.home.person
        home = await self._means.homes.open(self.home.path, self.home.uid)
        try:
            rules = await self._rules(home)
            if self._repository is None:
                self._repository = await vault.open(person)
            report = await Snapshotter(self._repository, rules, self._means.wall).take(home, request)
            await vault.note(person, self._repository)
        finally:
            await home.close()
        return report

    async def _rules(self, home: OpenHome) -> Ignores:
        """The person's own beside the house's; wrong ones are said, and left out."""
        (listing,) = await home.look([(b"", True)])
        seen = next((one for one in listing.entries if one.name == RULES_FILE and one.kind == Kind.FILE and one.size <= MOST_RULES), None)
        text = (await home.read(b"", [seen]))[0].data.decode("utf-8", "surrogateescape") if seen else ""
        self.known.rules_trouble = ""
        try:
            return self._means.rules(text)
        except InvalidInput as error:
            self.known.rules_trouble = error.message
            return self._means.rules("")
