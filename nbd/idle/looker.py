"""One look at all running notebooks: every source is asked once, together, each within its own deadline. One that fails makes its part unknown for
those whom it concerns, and nothing else.

Editors are asked sparingly: two hundred of them every few seconds would be work by itself, theirs and ours. What an editor alone can tell is that a
kernel is busy, and none becomes busy without a keystroke or some CPU time; so it is asked when one of these was seen, while it was busy, when a
step is near, and every EDITOR_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import NbdError, Unreachable
from ..idlemessages import TrafficReport
from .model import Counters, DoorLook, EditorLook, GpuLook, Look, ProbeLook, Unknown
from .ports import EditorStates, Gauges, GpuWork, Subject
from .prober import Prober

T = TypeVar("T")
log = logging.getLogger(__name__)
EDITOR_SECONDS = 60.0
EDITORS_AT_ONCE, AGAIN_SECONDS = 16, 30.0
EDITOR = "the editor of "
SOME_CPU_SECONDS = 0.05
"""More than an editor's kernels use in a sample period for their heartbeat alone."""
DOOR_SECONDS = 15.0
"""It reports every few seconds."""
ALARM_SECONDS = 600.0
"""A source that has failed for so long is worth an admin's night."""


@dataclass(frozen=True, slots=True)
class Sources:
    gauges: Gauges
    gpu: GpuWork
    editors: EditorStates
    prober: Prober


@dataclass(slots=True)
class Known:
    """Of one notebook's earlier looks."""

    run: str
    counters: Counters | None = None
    door: DoorLook | None = None
    editor: EditorLook | None = None
    asked: float = float("-inf")
    """When its editor last answered."""
    failed: tuple[float, str] | None = None
    """When it did not, and why: one that hangs is not waited for at every look."""


@dataclass(slots=True)
class Alarm:
    """A source that fails, and since when."""

    since: float
    why: str
    told: bool = False


@dataclass(slots=True)
class Looker:
    sources: Sources
    steady: Callable[[], float]
    _known: dict[str, Known] = field(default_factory=dict)
    _doors: dict[str, DoorLook] = field(default_factory=dict)
    _report: tuple[str, float] = ("", float("-inf"))
    """Of which life of the door the last one was, and when it came."""
    _alarms: dict[str, Alarm] = field(default_factory=dict)

    async def look(self, subjects: Sequence[Subject], near: Collection[str]) -> Mapping[str, Look]:
        """By notebook. `near`: those about which something may be decided soon."""
        self._known = {one.notebook: self._of(one) for one in subjects}
        holders = [one for one in subjects if one.cards]
        counters, gpu = await asyncio.gather(
            self._asked("the kernel's counters", self.sources.gauges.counters(subjects)),
            self._asked("the GPU driver", self.sources.gpu.look() if holders else nothing(GpuLook())),
        )
        at = self.steady()  # What an act rests on is as old as this, however long editors take.
        await self._asked("the web door", self._door_heard())
        silent = counters if isinstance(counters, str) else "its cgroup is not there"
        read: Mapping[str, Counters] = {} if isinstance(counters, str) else counters
        by_notebook = {one.notebook: self.sources.prober.less(one, read[one.notebook]) for one in subjects if one.notebook in read}
        self.sources.prober.begin(subjects, near)  # Not before: what they cost is taken from what was read by then.
        curious = [one for one in subjects if self._curious(one, near, by_notebook.get(one.notebook))]
        doors = {one.notebook: self._door(one.notebook) for one in subjects}
        editors = await self._editors(curious)
        return {one.notebook: self._put(one, at, (by_notebook.get(one.notebook, silent), gpu, editors, doors[one.notebook])) for one in subjects}

    def heard(self, report: TrafficReport) -> list[str]:
        """What the web door counted. Those in which somebody typed or clicked since its last word."""
        before, self._report = self._doors, (report.door, self.steady())
        self._doors = {one.notebook: DoorLook(report.door, one.typed + one.here, one.relayed_bytes, one.clicks, one.tabs) for one in report.notebooks}
        return [notebook for notebook, now in self._doors.items() if touched(before.get(notebook), now)]

    def touched_since(self, look: Look, notebook: str) -> bool:
        """Whether somebody did something since this look, as far as the door has told; or the editor was not asked in it."""
        door, known = self._door(notebook), self._known.get(notebook)
        if known is None or known.asked < look.at:
            return True
        return door is None or (look.door is not None and touched(look.door, door))

    def _door(self, notebook: str) -> DoorLook | None:
        """None while the door is silent: somebody may be typing. One that is not in its report had nothing."""
        door, at = self._report
        return None if self.steady() - at > DOOR_SECONDS else self._doors.get(notebook, DoorLook(door))

    async def _door_heard(self) -> None:
        if self.steady() - self._report[1] > DOOR_SECONDS:
            raise Unreachable("it does not tell who types")

    async def health(self) -> str:
        """ "ok", or what cannot be asked now, and why: no idle notebook is touched meanwhile."""
        wide = [f"{what}: {alarm.why}" for what, alarm in self._alarms.items() if not what.startswith(EDITOR)]
        editors = sum(what.startswith(EDITOR) for what in self._alarms)
        return "; ".join([*wide, *([f"{editors} editor{'s' if editors > 1 else ''} cannot be asked"] if editors else [])]) or "ok"

    def _of(self, subject: Subject) -> Known:
        known = self._known.get(subject.notebook)
        return known if known and known.run == subject.container else Known(subject.container)

    def _curious(self, subject: Subject, near: Collection[str], counters: Counters | None) -> bool:
        known = self._known[subject.notebook]
        if known.failed:
            return self.steady() - known.failed[0] >= AGAIN_SECONDS
        return subject.notebook in near or self._worth_asking(subject, counters)

    def _worth_asking(self, subject: Subject, counters: Counters | None) -> bool:
        known, door = self._known[subject.notebook], self._door(subject.notebook)
        if known.editor is None or self.steady() - known.asked >= EDITOR_SECONDS or any(kernel.busy for kernel in known.editor.kernels):
            return True
        return (door is not None and touched(known.door, door)) or worked(known.counters, counters)

    def _put(self, subject: Subject, at: float, found: tuple[object, object, Mapping[str, object], DoorLook | None]) -> Look:
        """The parts of one look together. A part that is text is why there is none."""
        counters, gpu, editors, door = found
        known, probe = self._known[subject.notebook], self.sources.prober.answer(subject)
        editor = editors.get(subject.notebook, known.failed[1] if known.failed else known.editor)
        if isinstance(editor, EditorLook) and subject.notebook in editors:
            known.editor, known.asked, known.failed = editor, at, None
        elif isinstance(editor, str) and subject.notebook in editors:
            known.failed = (self.steady(), editor)
        known.counters, known.door = counters if isinstance(counters, Counters) else known.counters, door
        sources = {"cgroup": counters, "gpu": gpu if subject.cards else None, "editor": editor, "probe": probe}
        return Look(
            at=at,
            run=subject.container,
            state=subject.state,
            kept_until=subject.kept_until,
            counters=counters if isinstance(counters, Counters) else None,
            gpu=gpu if isinstance(gpu, GpuLook) and subject.cards else None,
            editor=editor if isinstance(editor, EditorLook) else None,
            door=door,
            probe=probe if isinstance(probe, ProbeLook) else None,
            unknown=tuple(Unknown(source, why) for source, why in sources.items() if isinstance(why, str)),
        )

    async def _editors(self, subjects: Sequence[Subject]) -> Mapping[str, EditorLook | str]:
        slots = asyncio.Semaphore(EDITORS_AT_ONCE)

        async def one(subject: Subject) -> EditorLook | str:
            async with slots:
                what = f"{EDITOR}{subject.owner}/{subject.name}"
                return await self._asked(what, self.sources.editors.look(subject.place, subject.editor))

        return dict(zip([one.notebook for one in subjects], await asyncio.gather(*map(one, subjects)), strict=True))

    async def _asked(self, what: str, question: Awaitable[T]) -> T | str:
        """The answer, or why there is none. One that is missing for long is said aloud, once."""
        try:
            answer = await question
        except NbdError as error:
            alarm = self._alarms.setdefault(what, Alarm(self.steady(), error.message))
            if not alarm.told and self.steady() - alarm.since >= ALARM_SECONDS:
                alarm.told = True
                fields = {"NBD_EVENT": "idle_blind"}
                log.error("%s has not answered for %d min (%s): no idle notebook is touched", what, ALARM_SECONDS / 60, error, extra=fields)
            return error.message
        if what in self._alarms and self._alarms.pop(what).told:
            log.warning("%s answers again", what)
        return answer


async def nothing(value: T) -> T:
    return value


def touched(before: DoorLook | None, now: DoorLook) -> bool:
    """Whether a person did something since. Counts of another life of the door begin at zero."""
    if before is None or before.door != now.door:
        return now.typed + now.clicks > 0
    return (now.typed, now.clicks) != (before.typed, before.clicks)


def worked(before: Counters | None, now: Counters | None) -> bool:
    """Whether there was some CPU time beside the editor's own."""
    if before is None or now is None or None in (before.cpu_seconds, now.cpu_seconds):
        return True
    return others(now) - others(before) > SOME_CPU_SECONDS


def others(counters: Counters) -> float:
    return (counters.cpu_seconds or 0.0) - (counters.editor_cpu_seconds or 0.0)
