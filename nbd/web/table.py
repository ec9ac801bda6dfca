"""What core told the door: who is signed in where, which notebooks there are, and since when it has been silent.

A new subscription fills a fresh table and swaps it in when core says SYNCED, so nobody is denied half-way through a reconnect and nothing that
ended while the door was deaf survives it. Without a fresh table nothing is decided: requests wait a moment for it, then are refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from ..messages import DoorEvent, DoorKind, NotebookView, SignIn
from ..unixdoor import Place
from .access import Row

SILENCE_SECONDS = 15.0
log = logging.getLogger(__name__)
Watcher = Callable[[Collection[DoorEvent]], None]


class DoorTable:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.sign_ins: dict[str, SignIn] = {}
        self.notebooks: dict[str, Row] = {}
        self._filling: tuple[dict[str, SignIn], dict[str, Row]] | None = None
        self._heard = float("-inf")
        self._synced = asyncio.Event()
        self._watchers: set[Watcher] = set()

    def fresh(self) -> bool:
        return self._synced.is_set() and self._clock() - self._heard <= SILENCE_SECONDS

    async def wait_fresh(self, seconds: float) -> bool:
        """True as soon as the table may be trusted; False when it still may not after `seconds`."""
        if self.fresh():
            return True
        self._synced.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._synced.wait()
        except TimeoutError:
            return False
        return self.fresh()

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with what changed, after it did. Returns what ends it."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def begin(self) -> None:
        """A new subscription: what comes until SYNCED is the whole table."""
        self._filling = ({}, {})
        self._heard = self._clock()

    def heard(self) -> None:
        self._heard = self._clock()
        if self._filling is None:
            self._synced.set()

    def lost(self) -> None:
        """The subscription ended. What is known stays for those already connected; nobody new is let in on it."""
        self._filling = None
        self._synced.clear()

    def apply(self, event: DoorEvent) -> None:
        if event.kind is DoorKind.SYNCED:
            self._swap()
        else:
            sign_ins, notebooks = self._filling or (self.sign_ins, self.notebooks)
            put(event, sign_ins, notebooks)
            if self._filling is None:
                self._tell([event])
        self.heard()

    def mine(self, person: str) -> list[NotebookView]:
        return [row.view for row in self.notebooks.values() if row.view.owner == person]

    def parked(self, notebook: str) -> bool:
        row = self.notebooks.get(notebook)
        return row is not None and row.view.state == "PARKED"

    def _swap(self) -> None:
        if self._filling is None:
            return
        before = (self.sign_ins, self.notebooks)
        self.sign_ins, self.notebooks = self._filling
        self._filling = None
        self._tell(changes(before, (self.sign_ins, self.notebooks)))

    def _tell(self, events: Collection[DoorEvent]) -> None:
        for watcher in tuple(self._watchers):
            watcher(events)


def put(event: DoorEvent, sign_ins: dict[str, SignIn], notebooks: dict[str, Row]) -> None:
    if event.kind is DoorKind.SIGN_IN and event.sign_in is not None:
        sign_ins[event.sign_in.token_sha256] = event.sign_in
    elif event.kind is DoorKind.SIGN_OUT:
        sign_ins.pop(event.key, None)
    elif event.kind is DoorKind.NOTEBOOK and event.notebook is not None:
        notebooks[event.notebook.id] = Row(event.notebook, place_of(event))
    elif event.kind is DoorKind.NOTEBOOK_GONE:
        notebooks.pop(event.key, None)


def changes(before: tuple[dict[str, SignIn], dict[str, Row]], after: tuple[dict[str, SignIn], dict[str, Row]]) -> list[DoorEvent]:
    """What happened between two whole tables, as the events that would have said so."""
    gone = [DoorEvent(DoorKind.SIGN_OUT, key) for key in before[0] if key not in after[0]]
    gone += [DoorEvent(DoorKind.NOTEBOOK_GONE, id) for id in before[1] if id not in after[1]]
    new = [as_event(row) for id, row in after[1].items() if before[1].get(id) != row]
    return gone + new


def place_of(event: DoorEvent) -> Place | None:
    """A path without a word on whose it is leads nowhere."""
    return None if event.socket is None or event.owner_uid is None else Place(event.socket, event.owner_uid)


def as_event(row: Row) -> DoorEvent:
    path, uid = row.place or (None, None)
    return DoorEvent(DoorKind.NOTEBOOK, row.view.id, notebook=row.view, socket=path, owner_uid=uid)
