"""Owns the rows: the only place that changes a notebook. A change is durable before anybody hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import NotFound
from ..feed import Feed
from ..messages import IdleBrief, Progress, Waiting
from .model import Notebook, Run, State, move
from .ports import Store


@dataclass(frozen=True, slots=True)
class Passing:
    """What is true for a moment only and not worth a write: where a start is."""

    progress: Progress | None = None
    waiting: Waiting | None = None
    idle: IdleBrief | None = None
    """What the idle engine says of it."""


@dataclass(frozen=True, slots=True)
class Change:
    notebook: Notebook
    gone: bool = False


NOTHING = Passing()


class Roster:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, Notebook] = {}
        self._passing: dict[str, Passing] = {}
        self._judged: dict[str, IdleBrief] = {}
        self._unplugged: set[str] = set()
        self._writing = asyncio.Lock()
        """Held from reading a row to having replaced it: without it, who writes last undoes what another wrote meanwhile."""
        self.changes: Feed[Change] = Feed()

    async def load(self) -> None:
        self._rows = {row.id: row for row in await self._store.notebooks()}

    def all(self) -> tuple[Notebook, ...]:
        return tuple(self._rows.values())

    def get(self, notebook: str) -> Notebook:
        """Raises NotFound. After an `await`, ask again: somebody may have changed or deleted it."""
        if notebook not in self._rows:
            raise NotFound(f"there is no notebook {notebook}")
        return self._rows[notebook]

    def find(self, owner: str, name: str) -> Notebook | None:
        return next((row for row in self._rows.values() if row.owner == owner and row.name == name), None)

    def passing(self, notebook: str) -> Passing:
        passing, judged = self._passing.get(notebook, NOTHING), self._judged.get(notebook)
        return passing if passing.idle is judged else replace(passing, idle=judged)

    def show(self, notebook: str, passing: Passing) -> None:
        """Tell where a start is; nothing is written."""
        if notebook in self._rows and self._passing.get(notebook) != passing:
            self._passing[notebook] = passing
            self.changes.publish(Change(self._rows[notebook]))

    def judged(self, notebook: str, brief: IdleBrief | None) -> None:
        """What the idle engine says of it now; None where it says nothing. Nothing is written."""
        if notebook in self._rows and self._judged.get(notebook) != brief:
            if brief is None:
                del self._judged[notebook]
            else:
                self._judged[notebook] = brief
            self.changes.publish(Change(self._rows[notebook]))

    def unplug(self, notebook: str, *, unplugged: bool) -> None:
        """Whether nobody may reach its editor just now, though it runs: connections into it would be frozen with it."""
        if notebook in self._rows and (notebook in self._unplugged) != unplugged:
            self._unplugged ^= {notebook}
            self.changes.publish(Change(self._rows[notebook]))

    def reachable(self, notebook: str) -> bool:
        """Whether the door may lead to its editor, if there is one."""
        return notebook not in self._unplugged

    def again(self, owners: Collection[str]) -> None:
        """What is shown of their notebooks may be otherwise now, though the rows are as they were."""
        for row in self._rows.values():
            if row.owner in owners:
                self.changes.publish(Change(row))

    async def add(self, row: Notebook) -> None:
        """The row is known to this process before it is durable, so that two callers cannot both make it."""
        self._rows[row.id] = row
        try:
            await self._store.save(row)
        except BaseException:
            del self._rows[row.id]
            raise
        self.changes.publish(Change(row))

    async def change(self, notebook: str, to: State | None = None, /, **values: Any) -> Notebook:
        """Move and amend in one durable write. Raises Conflict for an illegal move and NotFound; then nothing changed."""
        async with self._writing:
            await self._store.save(changed(self.get(notebook), to, values))
            # Read again: `note_phase` does not wait for anybody.
            row = self._rows[notebook] = changed(self.get(notebook), to, values)
            if to is not None:
                self._unplugged.discard(notebook)
            if to not in (None, State.STARTING):
                self._passing.pop(notebook, None)
            self.changes.publish(Change(row))
            return row

    def note_phase(self, notebook: str, phase: str, seconds: float) -> None:
        """Remember how long a phase took; written with the next change."""
        row = self.get(notebook)
        self._rows[notebook] = replace(row, phases={**row.phases, phase: seconds})

    async def forget(self, notebook: str) -> None:
        async with self._writing:
            row = self.get(notebook)
            await self._store.forget(notebook)
            del self._rows[notebook]
            self._passing.pop(notebook, None)
            self._judged.pop(notebook, None)
            self._unplugged.discard(notebook)
            self.changes.publish(Change(row, gone=True))

    async def record_run(self, row: Notebook) -> None:
        if row.started is not None:
            await self._store.save_run(Run(row.id, row.run, row.started, row.ended, row.stop_reason, row.container, row.phases))

    async def runs(self, notebook: str) -> Iterable[Run]:
        return await self._store.runs(notebook)


def changed(row: Notebook, to: State | None, values: Mapping[str, Any]) -> Notebook:
    row = replace(row, **values)
    return move(row, to) if to else row
