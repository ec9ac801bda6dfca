"""What is at the top of a home, and what each of it says of whether somebody has worked there."""

from __future__ import annotations

from dataclasses import replace

from ..errors import Refused
from .fitness import Top, worked_in
from .keeping.guardian import Means
from .model import Kind, Seen
from .ports import OpenHome

SKELETON = "/etc/skel"
MOST_BYTES = 1 << 20
MOST_FOLDERS = 100
"""A skeleton is small; what is larger is somebody's work."""


async def tops_of(home: OpenHome, means: Means, skeleton: str) -> list[Top]:
    """Folders are looked into only while there is no other sign of work: each may be large."""
    (listing,) = await home.look([(b"", True)])
    own, rules = listing.folder.uid if listing.folder else -1, means.rules("")
    same = await as_in_skeleton(home, listing.entries, means, skeleton)
    tops = {
        seen.name: Top(seen.name, seen.kind, seen.uid == own, rules.ignored(seen.name, folder=seen.kind == Kind.FOLDER), seen.name in same)
        for seen in listing.entries
    }
    folders = [top for top in tops.values() if top.kind == Kind.FOLDER and worked_in([top])]
    if worked_in(top for top in tops.values() if top not in folders):
        return list(tops.values())
    for top in folders:
        (below,) = await home.look([(top.name, True)])
        if below.entries or below.trouble:
            break
        tops[top.name] = replace(top, empty=True)
    return list(tops.values())


async def as_in_skeleton(home: OpenHome, entries: tuple[Seen, ...], means: Means, skeleton: str) -> set[bytes]:
    """The names that are just as in the skeleton, with all that is in them."""
    try:
        model = await means.homes.open(skeleton, None)
    except Refused:
        return set()
    try:
        return {seen.name for seen in entries if await same(home, model, seen)}
    finally:
        await model.close()


async def same(home: OpenHome, model: OpenHome, top: Seen) -> bool:
    todo = [(b"", top.name)]
    for _ in range(MOST_FOLDERS):
        if not todo:
            return True
        path, only = todo.pop()
        (mine,), (theirs,) = await home.look([(path, True)]), await model.look([(path, True)])
        known = {seen.name: seen for seen in theirs.entries}
        entries = [seen for seen in mine.entries if only in (b"", seen.name)]
        if not all(seen.name in known and alike(seen, known[seen.name]) for seen in entries):
            return False
        todo += [(path + b"/" + seen.name if path else seen.name, b"") for seen in entries if seen.kind == Kind.FOLDER]
        rest = [seen for seen in entries if seen.kind != Kind.FOLDER]
        readings = zip(await home.read(path, rest), await model.read(path, [known[seen.name] for seen in rest]), strict=True)
        if not all(one.seen and other.seen and one.data == other.data for one, other in readings):
            return False
    return False


def alike(seen: Seen, model: Seen) -> bool:
    if seen.kind == model.kind == Kind.FOLDER:
        return True
    return seen.kind == model.kind and seen.kind in (Kind.FILE, Kind.LINK) and seen.size == model.size <= MOST_BYTES
