"""What differs: a stored entry against what stat says now, a stored folder against another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..model import Entry, Kind, Seen
from .encoding import UNVOUCHED


class Change(StrEnum):
    ADDED = "added"
    DELETED = "deleted"
    CHANGED = "changed"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Difference:
    change: Change
    path: bytes
    before: Entry | None = None
    after: Entry | None = None
    source: bytes = b""
    """Where it was before, for a renamed one."""


def untouched(entry: Entry | None, seen: Seen) -> bool:
    """The times and the inode vouch for it: nothing to read. mtime alone could be set back; ctime cannot."""
    if entry is None or entry.flags & UNVOUCHED or entry.kind != seen.kind:
        return False
    if entry.kind != Kind.FOLDER and entry.size != seen.size:
        return False
    same = entry.ctime == seen.ctime and entry.mtime == seen.mtime and entry.ino == seen.ino
    return same and entry.mode == seen.mode and entry.uid == seen.uid and entry.gid == seen.gid


def same_content(before: Entry, after: Entry) -> bool:
    """Equal to a person: kind, rights, owner, time, content. What only one host can know (inode, ctime) does not count."""
    size = before.kind == Kind.FOLDER or before.size == after.size
    rights = (before.kind, before.mode, before.uid, before.gid, before.mtime, before.xattrs)
    return size and before.payload == after.payload and rights == (after.kind, after.mode, after.uid, after.gid, after.mtime, after.xattrs)


def pairs(before: Sequence[Entry], after: Sequence[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Both folders side by side, by name."""
    old: Mapping[bytes, Entry] = {entry.name: entry for entry in before}
    new: Mapping[bytes, Entry] = {entry.name: entry for entry in after}
    for name in sorted(old.keys() | new.keys()):
        yield old.get(name), new.get(name)


Mark = tuple[int, ...]


def mark(one: Entry | Seen) -> Mark:
    """By which a name is known again under another one. Inodes are used again, so for a file its time and size count too."""
    return (one.ino, int(one.kind), *((one.size, one.mtime) if one.kind == Kind.FILE else ()))


def identity(entry: Entry) -> tuple[int, int, bytes]:
    return (entry.ino, entry.kind, b"" if entry.kind == Kind.FOLDER else entry.payload)


def renamed(differences: Sequence[Difference]) -> list[Difference]:
    """Deleted here and added there with one inode, and for a file one content (inodes are used again): one rename."""
    gone: dict[tuple[int, int, bytes], Difference] = {}
    for difference in differences:
        if difference.change is Change.DELETED and difference.before:
            gone.setdefault(identity(difference.before), difference)
    moved: dict[int, Difference] = {}
    for number, difference in enumerate(differences):
        if difference.change is not Change.ADDED or difference.after is None:
            continue
        source = gone.pop(identity(difference.after), None)
        if source is not None:
            moved[number] = Difference(Change.RENAMED, difference.path, source.before, difference.after, source.path)
    sources = {difference.source for difference in moved.values()}
    kept = [(number, difference) for number, difference in enumerate(differences)]
    return [moved.get(number, item) for number, item in kept if not (item.change is Change.DELETED and item.path in sources)]
