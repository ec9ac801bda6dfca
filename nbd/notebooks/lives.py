"""What a notebook's task does: start, adopt, stop, or find out why it ended. One method each; manager.py decides which is due.

Each begins by reading the row afresh and ends by writing it. The row is written STARTING before anything is made and STOPPED after all is
gone; a crash anywhere between is repaired by reconcile.py from what is seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput, NbdError, NoCapacity
from ..profiles import Profile
from .attacher import Attacher
from .failure import PERSONS_FAULT, of_defect
from .inquest import Inquest, Profiles
from .model import LIVE, USING, Failure, State, Want
from .ports import Process
from .protector import Protector
from .reconcile import after_crash
from .roster import Roster
from .starter import Parts, Starter
from .stopper import Stopper
from .tasks import Tasks
from .watches import Watches

log = logging.getLogger(__name__)
Offered = Callable[[Profile], bool]


def everything(profile: Profile) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that a notebook's life follows."""

    default_profile: str
    stop_grace_seconds: float
    crash_limit: int
    crash_window_seconds: float
    ready_seconds: float


@dataclass(frozen=True, slots=True)
class Hands:
    starter: Starter
    stopper: Stopper
    tasks: Tasks
    protector: Protector
    attacher: Attacher


class Lives:
    def __init__(self, parts: Parts, roster: Roster, hands: Hands, rules: Rules, profiles: Profiles) -> None:
        self._parts = parts
        self._roster = roster
        self._starter = hands.starter
        self._stopper = hands.stopper
        self._tasks = hands.tasks
        self._protector = hands.protector
        self._attacher = hands.attacher
        self._rules = rules
        self._profiles = profiles
        self._inquest = Inquest(parts, profiles, rules.ready_seconds)
        self._clocks = parts.clocks
        self.watches = Watches(parts.processes)

    async def tell(self) -> None:
        """Sync, which homes and which attached data are in use now."""
        await asyncio.gather(self._protector.tell(), self._attacher.tell())

    def profile(self, name: str, offered: Offered = everything) -> Profile:
        """Raises InvalidInput(unknown_profile), also for one that is not offered."""
        known = {other: profile for other, profile in self._profiles().items() if offered(profile)}
        if name not in known:
            raise InvalidInput(f"there is no profile {name[:60]!r}", hint=f"known: {', '.join(known)}", code="unknown_profile")
        return known[name]

    async def begin(self, notebook: str, **asked: Any) -> None:
        """Write down that it starts, together with what was `asked` for, and make starting its task."""
        row = self._roster.get(notebook)
        if row.state in (State.RUNNING, State.PARKED, State.FROZEN):
            return  # It is there: what asked for this saw it as it was before.
        changed = row.run > 0 and asked.get("profile", row.profile) != row.profile
        run = row.run + 1
        fresh: dict[str, Any] = {"run": run, "container": None, "started": None, "ended": None, "phases": {}, "failure": None, "stop_reason": None}
        fresh |= {"kept": None, "trouble": ""}
        await self._roster.change(notebook, State.STARTING, **asked, **fresh)
        self._tasks.follow(notebook, self.start(notebook, changed=changed))

    async def start(self, notebook: str, *, changed: bool = False) -> None:
        """`changed`: its profile is another than in its last run."""
        row = self._roster.get(notebook)
        if row.state is not State.STARTING or row.container:
            return  # Another task has seen to it.
        try:
            marked = self._protector.before_change if changed else None
            process = await self._starter.start(notebook, self.profile(self._roster.get(notebook).profile), marked)
        except NbdError as error:
            await self._start_failed(notebook, await self._inquest.of_start(self._roster.get(notebook), error))
            return
        except Exception as error:  # a defect must end as a FAILED the person sees, not as a start that never ends
            log.exception("%s: its start met a defect", notebook, extra={"NBD_NOTEBOOK": notebook})
            await self._start_failed(notebook, of_defect(error))
            return
        row = await self._roster.change(notebook, State.RUNNING)
        await self._roster.record_run(row)
        self.watch(notebook, str(row.container), process)
        await self.tell()

    async def adopt(self, notebook: str, container: str) -> None:
        process = await self._parts.containers.process(container)
        if process is None:
            return  # It ended since; the next look says so.
        row = await self._roster.change(notebook, container=container)
        if row.state is State.STARTING:
            try:
                await self._starter.answers(notebook, process)
            except NbdError as error:
                await self._start_failed(notebook, await self._inquest.of_start(self._roster.get(notebook), error))
                return
        if row.state not in (State.PARKED, State.RUNNING):
            started = row.started or self._clocks.wall()
            await self._roster.change(notebook, State.RUNNING, failure=None, stop_reason=None, started=started)
        self.watch(notebook, container, process)
        await self.tell()

    async def stop(self, notebook: str) -> None:
        """Down, or out for good; up again when somebody asked for it meanwhile."""
        row = self._roster.get(notebook)
        ran = row.state in USING
        if row.want is Want.RUNNING and row.state in (State.RUNNING, State.PARKED, State.FROZEN):
            return  # Somebody wants it again, and nothing was done to it yet.
        self.watches.end(notebook)
        if row.state in LIVE:
            await self._roster.change(notebook, State.STOPPING)
        profile = self._profiles().get(row.profile)
        grace = profile.stop_grace if profile and profile.stop_grace is not None else self._rules.stop_grace_seconds
        try:
            await self._stopper.stop(notebook, grace)
        except NbdError as error:
            # Its container may live: it stays STOPPING, with its cards, and is tried again at the next look.
            log.warning("%s does not go: %s", row.title, error, extra={"NBD_NOTEBOOK": notebook})
            return
        if ran:
            await asyncio.gather(self._protector.last(notebook), self._attacher.last(notebook))
        row = self._roster.get(notebook)
        if row.state is State.STOPPING:
            await self._roster.record_run(await self._roster.change(notebook, State.STOPPED, ended=self._clocks.wall(), container=None))
            await self.tell()
            row = self._roster.get(notebook)
        if row.want is Want.DELETED:
            await self._roster.change(notebook, State.DELETING)
            await self._parts.logs.remove(notebook)
            await self._roster.forget(notebook)
        elif row.want is Want.RUNNING:
            await self.begin(notebook)

    async def ended(self, notebook: str, container: str, memory_kills: int = 0) -> None:
        """Its process is gone and nobody asked for that. `memory_kills`: how often the kernel ended one of its processes for want of memory."""
        row = self._roster.get(notebook)
        if row.container != container or row.state not in (State.RUNNING, State.PARKED):
            return  # Somebody dealt with it before this task's turn came.
        self.watches.end(notebook)
        if await self._frozen_away(notebook):
            return
        end = await self._inquest.of_end(row, memory_kills)
        if not end.wrong:
            # The person ended it: that is a stop, with all that belongs to one.
            want = Want.DELETED if row.want is Want.DELETED else Want.STOPPED
            await self._roster.change(notebook, State.STOPPING, want=want, stop_reason="editor_shutdown")
            await self.stop(notebook)
            return
        failure = self._inquest.failure(row, end)
        verdict = after_crash(row.crashes, self._clocks.wall(), self._rules.crash_limit, self._rules.crash_window_seconds)
        log.warning("%s: %s; %s", row.title, failure.message, verdict.reason, extra={"NBD_NOTEBOOK": notebook})
        if not verdict.restart:
            code = "crash_loop" if failure.code == "editor_exited" else failure.code
            await self._over(notebook, State.FAILED, code, Failure(code, f"{failure.message}; {verdict.reason}", failure.hint, failure.log))
            return
        gone = {"crashes": verdict.crashes, "ended": self._clocks.wall(), "stop_reason": failure.code}
        await self._roster.record_run(await self._roster.change(notebook, State.STARTING, **gone))
        try:
            await self._stopper.clear(notebook, keep_lease=True)
        except NbdError as error:
            log.warning("%s cannot be started again yet: %s", row.title, error, extra={"NBD_NOTEBOOK": notebook})
            return
        await self.begin(notebook)

    async def _frozen_away(self, notebook: str) -> bool:
        """Whether it ended because it was being frozen, by a core that is no more. What that came to is the next look's word where it is not sure."""
        try:
            image = await self._parts.freezer.image(notebook)
        except NbdError as error:
            log.info("%s ended while it was being frozen: %s", notebook, error, extra={"NBD_NOTEBOOK": notebook})
            return True
        if image is not None and image.whole:
            await self.frozen(notebook)
        return image is not None

    async def vanished(self, notebook: str) -> None:
        row = self._roster.get(notebook)
        if row.container and self._parts.processes.of_container(row.container):
            # Podman forgets containers whose processes live (reliability: orphans after a killed service). Work may be inside.
            log.warning("%s: Podman does not show its container, and its processes live", row.title, extra={"NBD_NOTEBOOK": notebook})
            return
        self.watches.end(notebook)
        message = "its container was gone when nbd looked: the box was restarted, or somebody removed it"
        await self._over(notebook, State.ERROR, "interrupted", Failure("interrupted", message, ""))

    async def frozen(self, notebook: str) -> None:
        """Its freeze was cut off when all but the word was done."""
        self.watches.end(notebook)
        await self._roster.change(notebook, State.FROZEN)
        await self._stopper.release(notebook)

    async def lost(self, notebook: str, why: str) -> None:
        """What it was frozen in cannot be thawed."""
        self.watches.end(notebook)
        hint = f"start it again: nbctl start {self._roster.get(notebook).name}"
        await self._over(notebook, State.ERROR, "interrupted", Failure("interrupted", why, hint))

    async def drop_image(self, notebook: str) -> None:
        await self.chore(notebook, "removing what it was frozen in", lambda: self._parts.freezer.forget(notebook))

    async def chore(self, notebook: str, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Something small that must not meet a start: it is done as the notebook's task, and a start asked for meanwhile comes after it."""
        try:
            await work()
        except NbdError as error:
            log.warning("%s: %s failed and is tried again: %s", notebook, what, error, extra={"NBD_NOTEBOOK": notebook})
        row = next((row for row in self._roster.all() if row.id == notebook), None)
        if row and row.want is Want.RUNNING and row.state in (State.STOPPED, State.FAILED, State.ERROR):
            await self.begin(notebook)

    async def free(self, notebook: str) -> None:
        """End a lease that no run holds."""
        await self.chore(notebook, "the end of its lease", lambda: self._stopper.release(notebook))

    async def discard(self, notebook: str, container: str) -> None:
        await self.chore(notebook, "removing a left-over", lambda: self._parts.containers.remove(container))

    async def sweep(self, notebook: str) -> None:
        """A network and a folder that no life needs."""

        async def work() -> None:
            await self._parts.networks.remove(notebook)
            await self._parts.folders.remove(notebook)

        await self.chore(notebook, "sweeping up", work)

    async def _start_failed(self, notebook: str, failure: Failure) -> None:
        log.warning("%s did not start: %s", notebook, failure.message, extra={"NBD_NOTEBOOK": notebook})
        state = State.FAILED if failure.code in PERSONS_FAULT else State.ERROR
        await self._over(notebook, State.STOPPED if failure.code == NoCapacity.default_code else state, failure.code, failure)

    async def _over(self, notebook: str, state: State, reason: str, failure: Failure | None) -> None:
        container = None
        try:
            await self._stopper.clear(notebook)
        except NbdError as error:
            # It is remembered: the next look finds it, dead or alive, and until it is gone its cards stay its own.
            container = self._roster.get(notebook).container
            log.warning("%s: its container is still there: %s", notebook, error, extra={"NBD_NOTEBOOK": notebook})
        want = Want.DELETED if self._roster.get(notebook).want is Want.DELETED else Want.STOPPED
        end = {"want": want, "stop_reason": reason, "failure": failure, "container": container, "ended": self._clocks.wall()}
        await self._roster.record_run(await self._roster.change(notebook, state, **end))
        await self.tell()

    def watch(self, notebook: str, container: str, process: Process) -> None:
        def ended(memory_kills: int) -> None:
            self._tasks.follow(notebook, self.ended(notebook, container, memory_kills))

        self.watches.begin(notebook, container, process, ended)
