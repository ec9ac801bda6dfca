"""Proves a home bit by bit: the folders of its last tree in their order, a few at a time, from where it was left. So a look at everything, which
finds what no event told of, can wait whenever something was saved, and takes as little of the machine as wanted.

A folder that is new meanwhile, or has moved, is found by its parent's being looked at, here or by an event.
"""

from __future__ import annotations

from bisect import bisect_left

from ..model import Entry, Kind
from ..snapshots.repository import Repository
from ..snapshots.snapshotter import home_entry
from ..snapshots.walk import entries_of, join

MOST_ENTRIES = 2_000
MOST_FOLDERS = 200


class Prover:
    def __init__(self) -> None:
        self._after: bytes | None = None
        """The last folder that was given out; None before the first."""

    @property
    def under_way(self) -> bool:
        return self._after is not None

    async def next(self, repository: Repository) -> frozenset[bytes]:
        """The next folders; none when all have been given out, and then it begins again."""
        newest = repository.root.newest()
        top = await home_entry(repository, await repository.snapshot(newest)) if newest else None
        found = await following(repository, top, self._after) if top else []
        self._after = found[-1] if found else None
        return frozenset(found)

    def begin(self) -> None:
        self._after = None


async def following(repository: Repository, top: Entry, after: bytes | None) -> list[bytes]:
    """Folders in the order of their paths' parts, those after `after`, as many as are worth one look."""
    found: list[bytes] = []
    entries = 0
    waiting: list[tuple[bytes, Entry, list[bytes] | None]] = [(b"", top, None if after is None else after.split(b"/") if after else [])]
    while waiting and entries < MOST_ENTRIES and len(found) < MOST_FOLDERS:
        path, folder, passed = waiting.pop()
        inside = [entry for entry in await entries_of(repository, folder.payload) if entry.kind == Kind.FOLDER]
        if passed is None:
            found.append(path)
            entries += 1 + folder.size - sum(entry.size for entry in inside)
        first = passed[0] if passed else None
        at = 0 if first is None else bisect_left([entry.name for entry in inside], first)
        for entry in reversed(inside[at:]):
            below = passed[1:] if passed and entry.name == first else None
            waiting.append((join(path, entry.name), entry, below))
    return found
