"""The last day of each notebook, kept over restarts: what history.py makes of it, in the files that `Records` keeps. It may be lost, and what cannot
be written is only said: no notebook is judged otherwise for it, but for the time since nbd was last started.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from ..errors import NbdError
from . import history, replay
from .history import Entry, Stamp, Stretch
from .model import Decision, Policy, Sample, Verdict
from .ports import Clock, Records, Resumed, Subject

log = logging.getLogger(__name__)


class RecordedDiary:
    def __init__(self, records: Records, clock: Clock) -> None:
        self._records, self._clock = records, clock
        self._growing: dict[str, Stretch] = {}
        """By notebook: the row that is not written down yet."""
        self._trouble = ""

    async def resume(self, subject: Subject, policy: Policy) -> Resumed | None:
        entries = await self.entries(subject.notebook)
        return await asyncio.to_thread(replay.resume, entries, subject.container, self._clock.boot, policy, subject.began)

    async def note(self, notebook: str, run: str, sample: Sample, verdict: Verdict) -> None:
        row = history.seen(run, self._stamp(sample.at), sample, verdict.mood)
        growing, lines = history.noted(self._growing.pop(notebook, None), row)
        if growing:
            self._growing[notebook] = growing
        await self._write(notebook, *lines)

    async def happened(self, notebook: str, run: str, decision: Decision) -> None:
        growing = self._growing.pop(notebook, None)
        step = history.happened(run, self._stamp(self._clock.steady()), decision)
        await self._write(notebook, *((history.encode(growing),) if growing else ()), history.encode(step))

    async def entries(self, notebook: str) -> tuple[Entry, ...]:
        """All that is known of it, oldest first."""
        try:
            lines = list(await self._records.read(notebook))
        except NbdError as error:
            self._say(error)
            lines = []
        growing = self._growing.get(notebook)
        lines += [history.encode(growing)] if growing else []
        now = self._stamp(self._clock.steady())
        return await asyncio.to_thread(lambda: history.entries(history.recent(lines, now)))

    async def keep_only(self, notebooks: Collection[str]) -> None:
        self._growing = {notebook: row for notebook, row in self._growing.items() if notebook in notebooks}
        try:
            await self._records.keep_only(notebooks)
        except NbdError as error:
            self._say(error)

    async def close(self) -> None:
        """What has not been written down yet is."""
        for notebook, row in self._growing.items():
            await self._write(notebook, history.encode(row))
        self._growing.clear()

    def _stamp(self, at: float) -> Stamp:
        """The wall's clock is as of that moment."""
        return Stamp(self._clock.boot, at, self._clock.wall() - (self._clock.steady() - at))

    async def _write(self, notebook: str, *lines: bytes) -> None:
        try:
            for line in lines:
                await self._records.append(notebook, line)
        except NbdError as error:
            self._say(error)

    def _say(self, error: NbdError) -> None:
        if error.message != self._trouble:
            log.warning("the evidence of the last day cannot be kept: %s", error)
        self._trouble = error.message
