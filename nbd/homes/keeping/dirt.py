"""Where something changed in a home: marked from any thread, taken by who looks. Bounded: beyond so many folders it is all of the home."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

MOST_FOLDERS = 10_000
MOST_BYTES = 2 << 20
"""Of their paths."""


@dataclass(frozen=True, slots=True)
class Dirt:
    """`everything`: why it is not known where, empty where it is; then `folders` is not all. Moments are of the set's clock."""

    folders: frozenset[bytes]
    everything: str
    first: float
    last: float
    since: float
    """What changed before that is not in here."""


class DirtySet:
    def __init__(self, now: Callable[[], float], wake: Callable[[], None]) -> None:
        """`wake` is called when there is something where there was nothing, and when it is everything, by whoever marks."""
        self._now, self._wake = now, wake
        self._lock = threading.Lock()
        self._folders: set[bytes] = set()
        self._bytes = 0
        self._everything = ""
        self._first = self._last = self._since = 0.0

    def mark(self, folder: bytes) -> None:
        """Something changed in this folder just now. Paths are relative to the home, `b""` is the home itself."""
        with self._lock:
            fresh = self._begin()
            self._since = min(self._since, self._last)
            self._add(folder)
        if fresh:
            self._wake()

    def mark_all(self, why: str, since: float | None = None) -> None:
        """It is not known what changed after `since`; None: for all that is known, ever."""
        with self._lock:
            fresh = self._begin() or not self._everything
            self._everything = self._everything or why
            self._since = min(self._since, float("-inf") if since is None else since)
        if fresh:
            self._wake()

    def take(self) -> Dirt | None:
        """All there is; from then on it is the caller's to see to, or to put back."""
        with self._lock:
            dirt = self._all()
            self._folders, self._bytes, self._everything = set(), 0, ""
        return dirt

    def peek(self) -> Dirt | None:
        with self._lock:
            return self._all()

    def put_back(self, dirt: Dirt) -> None:
        """What was taken and not seen to. No news, so nobody is woken."""
        with self._lock:
            self._begin()
            for folder in dirt.folders:
                self._add(folder)
            self._everything = dirt.everything or self._everything
            self._first, self._since = min(self._first, dirt.first), min(self._since, dirt.since)

    def _begin(self) -> bool:
        """Whether there was nothing."""
        fresh = not self._folders and not self._everything
        self._last = self._now()
        if fresh:
            self._first = self._since = self._last
        return fresh

    def _add(self, folder: bytes) -> None:
        if self._everything or folder in self._folders:
            return
        self._folders.add(folder)
        self._bytes += len(folder)
        if len(self._folders) > MOST_FOLDERS or self._bytes > MOST_BYTES:
            self._everything = "something changed in more folders than are kept in mind"

    def _all(self) -> Dirt | None:
        if not self._folders and not self._everything:
            return None
        return Dirt(frozenset(self._folders), self._everything, self._first, self._last, self._since)
