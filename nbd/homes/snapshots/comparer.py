"""What differs between two snapshots. Folders with one tree are not entered: the cost follows the difference."""

from __future__ import annotations

from ..model import Entry, Kind, Snapshot
from .diff import Change, Difference, pairs, renamed, same_content
from .repository import Repository
from .walk import entries_of, join

MOST = 10_000


async def compare(repository: Repository, before: Snapshot, after: Snapshot) -> list[Difference]:
    """By path; a renamed file or folder is one difference, and what is below a new or deleted folder is not told again. At most MOST."""
    found: list[Difference] = []
    stack: list[tuple[bytes, bytes, bytes]] = [(b"", bytes.fromhex(before.tree), bytes.fromhex(after.tree))]
    while stack and len(found) < MOST:
        path, one, two = stack.pop()
        for old, new in pairs(await entries_of(repository, one), await entries_of(repository, two)):
            where = join(path, (new or old).name) if path or one.hex() != before.tree else b""  # type: ignore[union-attr]
            if old and new and old.kind == new.kind == Kind.FOLDER and old.payload != new.payload:
                stack.append((where, old.payload, new.payload))
            found += difference(where, old, new)
    return sorted(renamed(found), key=lambda one: one.path)[:MOST]


def difference(path: bytes, old: Entry | None, new: Entry | None) -> list[Difference]:
    if old is None or new is None:
        return [Difference(Change.ADDED if old is None else Change.DELETED, path, old, new)]
    folders = old.kind == new.kind == Kind.FOLDER
    if same_content(old, new._replace(payload=old.payload) if folders else new):
        return []
    return [Difference(Change.CHANGED, path, old, new)]
