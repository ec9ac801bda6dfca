"""Profiles' own scripts, asked beside the looks: one that hangs holds nobody up, and what it costs is no work of the notebook's.

Each is asked once in PROBE_SECONDS, sooner when a step is near, a few at a time. A script that fails is asked again no sooner than one that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from ..errors import NbdError
from .model import Counters, ProbeLook
from .ports import Gauges, Probes, Subject

PROBE_SECONDS, NEAR_SECONDS = 60.0, 15.0
OLD_SECONDS = 150.0
"""An answer that is older says nothing any more."""
AT_ONCE = 2
SILENT = "it has not answered yet"


@dataclass(slots=True)
class Probed:
    run: str
    task: asyncio.Task[None] | None = None
    began: float = float("-inf")
    answered: float = float("-inf")
    answer: ProbeLook | str = SILENT
    cost: float = 0.0
    """Seconds of CPU time that its probes took in its cgroup so far."""

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()


@dataclass(slots=True)
class Prober:
    probes: Probes
    gauges: Gauges
    steady: Callable[[], float]
    script: Callable[[str], str | None]
    """By the profile's name."""
    _probed: dict[str, Probed] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def begin(self, subjects: Sequence[Subject], near: Collection[str]) -> None:
        """Ask those that are due; nobody waits for them."""
        known, self._probed = self._probed, {}
        for subject in subjects:
            script = self.script(subject.profile)
            if script is None:
                continue
            old = known.pop(subject.notebook, None)
            if old and old.run != subject.container:
                cancel(old)
                old = None
            probed = self._probed[subject.notebook] = old or Probed(subject.container)
            due = probed.began + (NEAR_SECONDS if subject.notebook in near else PROBE_SECONDS)
            if not probed.running and self.steady() >= due:
                probed.began = self.steady()
                probed.task = asyncio.create_task(self._ask(subject, script, probed), name=f"the probe of {subject.notebook}")
        for gone in known.values():
            cancel(gone)

    def answer(self, subject: Subject) -> ProbeLook | str | None:
        """What it last said, or why there is nothing; None where there is no probe."""
        probed = self._probed.get(subject.notebook)
        if probed is None:
            return None
        return probed.answer if self.steady() - probed.answered <= OLD_SECONDS else SILENT

    def less(self, subject: Subject, counters: Counters) -> Counters:
        """The same without what probes took. While one is at it, that cannot be told apart."""
        probed = self._probed.get(subject.notebook)
        if probed is None or counters.cpu_seconds is None:
            return counters
        return replace(counters, cpu_seconds=None if probed.running else max(0.0, counters.cpu_seconds - probed.cost))

    async def close(self) -> None:
        tasks = [probed.task for probed in self._probed.values() if probed.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, subject: Subject, script: str, probed: Probed) -> None:
        async with self._slots:
            before = await self._cpu(subject)
            try:
                probed.answer = await self.probes.ask(subject.container, script)
            except NbdError as error:
                probed.answer = error.message
            after = await self._cpu(subject)
        probed.answered = self.steady()
        probed.cost += max(0.0, after - before) if before is not None and after is not None else 0.0

    async def _cpu(self, subject: Subject) -> float | None:
        try:
            counters = (await self.gauges.counters([subject])).get(subject.notebook)
        except NbdError:
            return None
        return counters.cpu_seconds if counters else None


def cancel(probed: Probed) -> None:
    if probed.task:
        probed.task.cancel()
