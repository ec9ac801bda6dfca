"""What parking remembers of notebooks between two tasks, for as long as this process lives: failures and their back-off, and who was refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import NbdError
from ..model import State
from ..ports import Process
from ..roster import Roster
from .park_plan import MOST_RETRIES, retry_after

log = logging.getLogger(__name__)
UNMOVABLE = frozenset({"cannot_move"})


@dataclass(slots=True)
class Memory:
    failures: int = 0
    """Unparks and repairs in a row that came to nothing."""
    not_before: float = 0.0
    unsettled: bool = False
    """It is somewhere between: neither all of it runs nor all is parked, or its lease is not where it should be."""
    stays: bool = False
    """The driver did not move it to another card."""
    refused: tuple[frozenset[Process], str] | None = None
    """Who could not be parked, and why: not tried again before it is somebody else."""
    promised: int = 0
    """Bytes of the box's memory that its park is about to take."""


class Memories:
    def __init__(self, roster: Roster, steady: Callable[[], float]) -> None:
        self._roster, self._steady = roster, steady
        self._known: dict[str, Memory] = {}

    def of(self, notebook: str) -> Memory:
        return self._known.setdefault(notebook, Memory())

    def forget(self, notebook: str) -> None:
        self._known.pop(notebook, None)

    def promised_to_others(self, notebook: str) -> int:
        return sum(memory.promised for other, memory in self._known.items() if other != notebook)

    def failed(self, notebook: str, error: NbdError) -> None:
        memory = self.of(notebook)
        memory.failures += 1
        memory.stays = memory.stays or error.code in UNMOVABLE
        memory.not_before = self._steady() + retry_after(memory.failures)

    def unsettled(self, notebook: str, error: NbdError) -> None:
        self.failed(notebook, error)
        self.of(notebook).unsettled = True
        fields = {"NBD_NOTEBOOK": notebook, "NBD_EVENT": "park_unsettled"}
        log.error("%s is neither all parked nor all running: %s; it is tried again", notebook, error, extra=fields)

    def due(self) -> tuple[str, ...]:
        rows = {row.id: row for row in self._roster.all()}
        self._known = {notebook: memory for notebook, memory in self._known.items() if notebook in rows}
        found = []
        for row in rows.values():
            memory = self._known.get(row.id, Memory())
            half = row.state is State.RUNNING and row.parked is not None
            waits = row.state is State.PARKED and row.parked is not None and row.parked.wanted and memory.failures < MOST_RETRIES
            if (half or waits or memory.unsettled) and self._steady() >= memory.not_before:
                found.append(row.id)
        return tuple(found)
