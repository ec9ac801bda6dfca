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
from .ports import EditorStates, Gauges, GpuWork, Probes, Subject

T = TypeVar("T")
log = logging.getLogger(__name__)
EDITOR_SECONDS = PROBE_SECONDS = 60.0
EDITORS_AT_ONCE, PROBES_AT_ONCE = 8, 2
SOME_CPU_SECONDS = 0.05
"""More than an editor's kernels use in a sample period for their heartbeat alone."""
DOOR_SECONDS = 30.0
"""It reports every few seconds."""
ALARM_SECONDS = 600.0
"""A source that has failed for so long is worth an admin's night."""


@dataclass(frozen=True, slots=True)
class Sources:
    gauges: Gauges
    gpu: GpuWork
    editors: EditorStates
    probes: Probes


@dataclass(slots=True)
class Known:
    """Of one notebook's earlier looks."""

    run: str
    counters: Counters | None = None
    door: DoorLook | None = None
    editor: EditorLook | None = None
    asked: float = float("-inf")
    """When its editor last answered."""
    probe: ProbeLook | None = None
    probed: float = float("-inf")
    """When its probe last did."""


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
    script: Callable[[str], str | None]
    """A profile's probe, by the profile's name."""
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
        await self._asked("the web door", self._door_heard())
        silent = counters if isinstance(counters, str) else "its cgroup is not there"
        by_notebook: Mapping[str, Counters] = {} if isinstance(counters, str) else counters
        curious = [one for one in subjects if one.notebook in near or self._worth_asking(one, by_notebook.get(one.notebook))]
        editors, probes = await asyncio.gather(
            self._each(curious, EDITORS_AT_ONCE, lambda one: self.sources.editors.look(one.place, one.editor)),
            self._each([one for one in subjects if self._worth_probing(one, near)], PROBES_AT_ONCE, self._probe),
        )
        at = self.steady()
        return {one.notebook: self._put(one, at, (by_notebook.get(one.notebook, silent), gpu, editors, probes)) for one in subjects}

    def heard(self, report: TrafficReport) -> list[str]:
        """What the web door counted. Those in which somebody typed or clicked since its last word."""
        before, self._report = self._doors, (report.door, self.steady())
        self._doors = {one.notebook: DoorLook(report.door, one.typed + one.here, one.relayed_bytes, one.clicks, one.tabs) for one in report.notebooks}
        return [notebook for notebook, now in self._doors.items() if touched(before.get(notebook), now)]

    def _door(self, notebook: str) -> DoorLook | None:
        """None while the door is silent: somebody may be typing. One that is not in its report had nothing."""
        door, at = self._report
        return None if self.steady() - at > DOOR_SECONDS else self._doors.get(notebook, DoorLook(door))

    async def _door_heard(self) -> None:
        if self.steady() - self._report[1] > DOOR_SECONDS:
            raise Unreachable("it does not tell who types")

    async def health(self) -> str:
        """ "ok", or what cannot be asked now, and why: no idle notebook is touched meanwhile."""
        return "; ".join(f"{what}: {alarm.why}" for what, alarm in self._alarms.items()) or "ok"

    def _of(self, subject: Subject) -> Known:
        known = self._known.get(subject.notebook)
        return known if known and known.run == subject.container else Known(subject.container)

    def _worth_asking(self, subject: Subject, counters: Counters | None) -> bool:
        known, door = self._known[subject.notebook], self._door(subject.notebook)
        if known.editor is None or self.steady() - known.asked >= EDITOR_SECONDS or any(kernel.busy for kernel in known.editor.kernels):
            return True
        return (door is not None and touched(known.door, door)) or worked(known.counters, counters)

    def _worth_probing(self, subject: Subject, near: Collection[str]) -> bool:
        """Podman keeps something of each for minutes."""
        old = self.steady() - self._known[subject.notebook].probed >= PROBE_SECONDS
        return self.script(subject.profile) is not None and (old or subject.notebook in near)

    async def _probe(self, subject: Subject) -> ProbeLook:
        return await self.sources.probes.ask(subject.container, str(self.script(subject.profile)))

    def _put(self, subject: Subject, at: float, found: tuple[object, object, Mapping[str, object], Mapping[str, object]]) -> Look:
        """The parts of one look together. A part that is text is why there is none."""
        counters, gpu, editors, probes = found
        known, door = self._known[subject.notebook], self._door(subject.notebook)
        editor = editors.get(subject.notebook, known.editor)
        if isinstance(editor, EditorLook) and subject.notebook in editors:
            known.editor, known.asked = editor, at
        known.counters, known.door = counters if isinstance(counters, Counters) else known.counters, door
        probe = probes.get(subject.notebook, known.probe)
        if isinstance(probe, ProbeLook) and subject.notebook in probes:
            known.probe, known.probed = probe, at
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

    async def _each(self, subjects: Sequence[Subject], at_once: int, ask: Callable[[Subject], Awaitable[T]]) -> Mapping[str, T | str]:
        slots = asyncio.Semaphore(at_once)

        async def one(subject: Subject) -> T | str:
            async with slots:
                try:
                    return await ask(subject)
                except NbdError as error:
                    return error.message

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
