"""Keeps one home: saves what changed a moment after it changed, and looks at everything at the start, at the end, now and then, and whenever a
change may have been missed.

Events say where to look, and never that there is nothing to see: the look at everything is the proof (lookout.py, prover.py). One task does all
looks of a home, so there are never two at a time. What fails is tried again, later each time, until it is in the store; who asked for a snapshot
that failed is told at once, and it stays pending.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ...errors import NbdError, Refused
from ..debts import Debts
from ..model import HomeRequest
from ..snapshots.snapshotter import Request
from . import debounce
from .debounce import What
from .work import Means as Means
from .work import Work

NO_HOME = ("home_missing", "home_half")


@dataclass(slots=True)
class Wanted:
    """A snapshot that somebody asked for. It is done when they were told; what failed stays wanted."""

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
    def __init__(self, home: HomeRequest, means: Means, debts: Debts | None = None) -> None:
        self.home = home
        self._debts = debts
        self.watched = False
        self._wanted: list[Wanted] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self.work = Work(home, means, lambda: wake(loop, self._wake))
        self.known = self.work.known
        self.turn = asyncio.Lock()
        """Who holds it keeps looks away."""

    def watch(self) -> None:
        """Look at once, then whenever something changes, and again and again. Asking twice changes nothing."""
        if not self.watched:
            self.watched = True
            self._go()

    async def owe(self, request: Request) -> None:
        """Note that this home is not done with. Call it after what makes that so: whoever pays meanwhile sees it, and does not."""
        if self._debts:
            await self._debts.owe(request)

    def wish(self, request: Request) -> None:
        """As `flush`, and nobody waits for it."""
        self._wanted.append(Wanted(request))
        self._go()

    def look_out(self) -> None:
        """There may be a better way now to be told of changes."""
        if self.watched and not self.work.lookout.settled():
            self._go()

    def unwatch(self) -> None:
        """One more look, until it is in the store, unless all is known to be there; then no more."""
        if self.watched:
            self.watched = False
            if not self.work.all_saved():
                self.work.dirt.mark_all("nobody works in it any more")
            self._go()

    def settle(self) -> None:
        """What waited on this box may be in the store."""
        self._go()

    def look_again(self, why: str) -> None:
        """At everything, whether it is watched or not."""
        self.work.dirt.mark_all(why)
        self._go()

    async def flush(self, request: Request) -> None:
        """Return when a look at everything that began after this call is in the store. Raises why not; it is tried again all the same."""
        wanted = Wanted(request)
        self._wanted.append(wanted)
        await self.owe(request)
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
        await self.work.lookout.down()

    def _go(self) -> None:
        self._wake.set()
        if not self.working:
            self._task = asyncio.create_task(self._run(), name=f"guardian of {self.home.path}")

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._look_out()
            fresh = any(not one.done.done() for one in self._wanted)
            situation = replace(self.work.situation(watched=self.watched), asked=fresh, asked_before=len(self._wanted) > 0)
            step = debounce.next_step(asyncio.get_running_loop().time(), situation)
            if step.what is not What.NOTHING:
                await self._do(step.what)
            elif self._over():
                await self._pay()
                if self._over():
                    break
            else:
                await self._until(step.at)
        self.work.rest()

    async def _until(self, moment: float | None) -> None:
        """Or until something happens; None: only that."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(moment):
                await self._wake.wait()

    def _over(self) -> bool:
        """Nobody uses the home, and all is in the store."""
        return not self.watched and not self._wanted and not self._wake.is_set() and self.work.dirt.peek() is None

    async def _pay(self) -> None:
        """Not while a part of it only waits on this box: should that be lost, a look is what brings it back."""
        if self._debts and self.work.known.trouble is None and not self.work.waits():
            await self._debts.paid()

    async def _look_out(self) -> None:
        """While the home is watched, something tells of its changes, if anything can."""
        work = self.work
        if not self.watched:
            await work.lookout.down()
        elif not work.lookout.settled(work.looker.digest):
            with suppress(NbdError):  # The look that follows meets it too, and tells.
                await work.looker.read_rules()
            await work.lookout.up(work.looker.hidden, work.looker.digest)

    async def _do(self, what: What) -> None:
        waiting = list(self._wanted) if what is What.ASKED else []
        try:
            async with self.turn:
                await self.work.do(what, waiting[0].request if waiting else Request())
        except NbdError as error:
            for one in waiting:
                one.settle(error)
            if isinstance(error, Refused) and error.code in NO_HOME and not self.watched:
                # There is nothing to be seen, and nobody works in it. A store or a key is mended without anybody telling us: that is tried again.
                self._wanted = [one for one in self._wanted if one not in waiting]
                self.work.dirt.take()
        else:
            for one in waiting[:1]:
                one.settle(None)
                self._wanted.remove(one)


def wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """From any thread."""
    with suppress(RuntimeError):  # The loop has closed meanwhile.
        loop.call_soon_threadsafe(event.set)
