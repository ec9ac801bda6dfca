"""What is in an attached folder, by names and times: nothing is read."""

from __future__ import annotations

from ..model import Kind, Seen
from ..ports import Listing, OpenHome
from ..snapshots.contents import shown
from ..snapshots.walk import join
from .model import Here
from .names import ASIDE, unfit

AT_ONCE = 64
WORDS = {Kind.LINK: "it is a symbolic link", Kind.PIPE: "it is a pipe", Kind.SOCKET: "it is a socket"}


async def scan(folder: OpenHome, prefix: str = "") -> Here:
    """`prefix`: what stands before each key, for its length."""
    files: dict[str, Seen] = {}
    closed: dict[str, str] = {}
    leftovers: list[Seen] = []
    folders: list[bytes] = []
    waiting = [b""]
    while waiting:
        some, waiting = waiting[-AT_ONCE:], waiting[:-AT_ONCE]
        for path, listing in zip(some, await folder.look([(one, True) for one in some]), strict=True):
            if listing.folder is None and (listing.trouble or not path):
                closed[shown(path)] = listing.trouble or "it is not there"
            below = _sorted(path, listing, prefix, (files, closed, leftovers)) if listing.folder else []
            waiting += below
            folders += below
    return Here(files, closed, frozenset(folder.decode() for folder in folders), tuple(leftovers))


def _sorted(path: bytes, listing: Listing, prefix: str, found: tuple[dict[str, Seen], dict[str, str], list[Seen]]) -> list[bytes]:
    """Puts each entry where it belongs; returns the folders."""
    files, closed, leftovers = found
    folders = []
    for seen in listing.entries:
        whole = join(path, seen.name)
        name = whole.decode("utf-8", "surrogateescape")
        if seen.name.startswith(ASIDE.encode()):
            leftovers.append(seen._replace(name=whole))
        elif why := (unfit(name, prefix) or ("" if seen.kind in (Kind.FILE, Kind.FOLDER) else WORDS.get(seen.kind, "it is a device"))):
            closed[shown(whole)] = why
        elif seen.kind is Kind.FOLDER:
            folders.append(whole)
        else:
            files[name] = seen
    return folders
