"""Weighs homes, and says how full they are. Low in priority: it works a fifth of the time, one home at a time, and only when somebody wants to know,
or a home in use has a quota or is nearly full, and was not weighed for long. A start in a home above its quota is refused on a fresh weighing alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from ...errors import NbdError, Refused
from ..keeping.ownrules import own_rules
from ..model import HomeRequest
from ..ports import Homes, Ignores, Sizes
from ..snapshots.contents import shown
from .culprits import command
from .room import Level, Policy, Room, Verdict, amount, judge
from .usage import Counting, Usage, Visit

log = logging.getLogger(__name__)
AT_ONCE = 32
REST = 4.0
"""So many times as long as it worked it rests."""
MOST_ENTRIES = 5_000_000
FRESH_SECONDS = 20.0
"""Who asks is told what was found less than this ago; later, it is weighed anew behind their back."""
HURRY_SECONDS = 20.0
Pace = Callable[[float], Awaitable[None]]
"""Called after so many seconds of work."""


@dataclass(frozen=True, slots=True)
class Tools:
    sizes: Sizes
    homes: Homes
    rules: Callable[[str], Ignores]
    policy: Policy
    wall: Callable[[], int]
    """Nanoseconds since the epoch."""
    every_seconds: float
    """A home in use is weighed so often."""


@dataclass(frozen=True, slots=True)
class Survey:
    home: HomeRequest
    at: int
    usage: Usage | None
    trouble: str = ""


class Surveyor:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._found: dict[str, Survey] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def in_use(self, homes: Iterable[HomeRequest]) -> None:
        for home in homes:
            if self._tools.policy.of(home.person):
                self._now_and_then(home)

    def usage(self, home: HomeRequest) -> tuple[Survey | None, bool]:
        """What was found last, and whether it is being weighed now: when that is old, a new weighing begins."""
        if self._age(home) > FRESH_SECONDS:
            self._begin(home)
        return self._known(home), home.person in self._under_way

    async def room(self, home: HomeRequest) -> tuple[Room, Verdict]:
        """Raises Refused(home_missing), Deadline."""
        known, tools = self._known(home), self._tools
        space = await tools.sizes.space(home.path, home.uid)
        room = Room(space, known.usage.bytes if known and known.usage else None, tools.policy.of(home.person))
        verdict = judge(room)
        if verdict.level is not Level.FINE:
            self._now_and_then(home)  # Who has to make room wants to know where.
        return room, replace(verdict, refuse=verdict.refuse and tools.policy.refuse)

    async def admit(self, home: HomeRequest) -> None:
        """May a notebook start in it? Raises Refused(home_over_quota). What cannot be known refuses nothing."""
        if not self._tools.policy.of(home.person):
            return
        if (await self._judged(home)).refuse and self._age(home) > 0:
            # The person may just have made room: what was found a while ago must not keep them out.
            await self._hurried(home)
            verdict = await self._judged(home)
            if verdict.refuse:
                raise Refused(verdict.sentence, code="home_over_quota", hint=self._way_out(home))

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _judged(self, home: HomeRequest) -> Verdict:
        return (await self.room(home))[1]

    async def _hurried(self, home: HomeRequest) -> None:
        try:
            async with asyncio.timeout(HURRY_SECONDS):
                self._found[home.person] = await self._survey(home, no_rest)
        except TimeoutError:
            log.warning("%s is above its quota by what was found before, and too large to be weighed at once: let in", home.path)
            self._found.pop(home.person, None)

    def hint(self, home: HomeRequest, verdict: Verdict) -> str:
        """What to do about it; empty where nothing has to be done."""
        if verdict.level is Level.FINE:
            return ""
        return self._way_out(home)

    def _way_out(self, home: HomeRequest) -> str:
        known = self._known(home)
        usage = known.usage if known else None
        if usage is None:
            return "what takes the room: nbctl home usage"
        frees = [f"{command(one.kind, home.path, one.place)} ({amount(one.bytes)})" for one in usage.culprits[:2]]
        tops = sorted((one for one in usage.folders if b"/" not in one.path), key=lambda one: -one.bytes)[:3]
        largest = ", ".join(f"{shown(one.path)} {amount(one.bytes)}" for one in tops)
        return "; ".join([*(["this frees room: " + " or ".join(frees)] if frees else []), f"the largest: {largest}", "more: nbctl home usage"])

    def _known(self, home: HomeRequest) -> Survey | None:
        known = self._found.get(home.person)
        return known if known is not None and known.home == home else None

    def _age(self, home: HomeRequest) -> float:
        known = self._known(home)
        return float("inf") if known is None else (self._tools.wall() - known.at) / 1e9

    def _now_and_then(self, home: HomeRequest) -> None:
        if self._age(home) > self._tools.every_seconds:
            self._begin(home)

    def _begin(self, home: HomeRequest) -> None:
        if home.person not in self._under_way:
            task = asyncio.create_task(self._slowly(home), name=f"weighing {home.path}")
            self._under_way[home.person] = task
            task.add_done_callback(lambda _: self._under_way.pop(home.person, None))

    async def _slowly(self, home: HomeRequest) -> None:
        async with self._turn:
            self._found[home.person] = await self._survey(home, rest)

    async def _survey(self, home: HomeRequest, pace: Pace) -> Survey:
        at = self._tools.wall()
        try:
            return Survey(home, at, await self._weighed(home, pace))
        except NbdError as error:
            return Survey(home, at, None, error.message)
        except Exception:  # a defect must be seen, and must not keep anybody from their notebook
            log.exception("weighing %s met a defect", home.path)
            return Survey(home, at, None, "nbd met an unexpected error while it weighed the home")

    async def _weighed(self, home: HomeRequest, pace: Pace) -> Usage:
        rules = await self._rules(home)
        counting = Counting(lambda path, folder: rules.rule(path, folder=folder))
        held = await self._tools.sizes.open(home.path, home.uid)
        try:
            todo = [Visit()]
            while todo and counting.entries < MOST_ENTRIES:
                todo, some = todo[:-AT_ONCE], todo[-AT_ONCE:]
                began = asyncio.get_running_loop().time()
                found = await held.visit([visit.path for visit in some])
                todo += await asyncio.to_thread(counting.feed, list(zip(some, found, strict=True)))
                await pace(asyncio.get_running_loop().time() - began)
        finally:
            await held.close()
        return counting.usage(whole=not todo)

    async def _rules(self, home: HomeRequest) -> Ignores:
        """The person's own beside the house's."""
        held = await self._tools.homes.open(home.path, home.uid)
        try:
            return self._tools.rules((await own_rules(held)).text)
        finally:
            await held.close()


async def rest(worked_seconds: float) -> None:
    await asyncio.sleep(worked_seconds * REST)


async def no_rest(_: float) -> None: ...
