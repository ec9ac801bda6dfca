"""Which names an object and a file can share, what a conflict's copy is called. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .model import Remote, There

MOST_KEY = 1024
"""Bytes of a whole key; the same in S3, Azure and GCS."""
MOST_PART = 255
ASIDE = ".nbd-restore-"
"""What a file is called until it is whole."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
COPY = re.compile(r"\.conflict-[a-z0-9-]+-\d{8}T\d{6}Z(-\d+)?$")
COPY_ROOM = 80


def unfit(key: str, prefix: str = "") -> str:
    """Why no file below a folder can have this path, or no object below `prefix` this key; empty if both can."""
    try:
        size = len(key.encode()) + len(prefix.encode()) + bool(prefix)
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if size > MOST_KEY:
        return f"its key has more than {MOST_KEY} bytes"
    if CONTROL.search(key):
        return "its name has a control character in it"
    return next((why for why in map(unfit_part, key.split("/")) if why), "")


def unfit_part(part: str) -> str:
    if not part:
        return "its path has an empty part"
    if part in (".", ".."):
        return f"its path has {part!r} in it"
    if len(part.encode()) > MOST_PART:
        return f"a part of its path has more than {MOST_PART} bytes"
    return "nbd uses such names itself" if part.startswith(ASIDE) else ""


def above(path: str) -> Iterator[str]:
    """The folders that it is in, nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


class Named(NamedTuple):
    key: str
    remote: Remote


def sorted_out(listing: Iterable[Named], closed: dict[str, str], prefix: str = "") -> There:
    """A listing as what can be a folder of files. An empty object that is named like a folder is how some tools mark one: it is nothing."""
    found: dict[str, Named] = {}
    for named in listing:
        key = named.key.removesuffix("/")
        # A marker and an object may share a name, and some libraries show both without the slash: what has content is the object.
        if key and (key not in found or (named.remote.size, found[key].key != key) > (found[key].remote.size, named.key != key)):
            found[key] = named
    folders = {folder for key in found for folder in above(key)}
    objects: dict[str, Remote] = {}
    covered: dict[str, Remote] = {}
    left: dict[str, str] = {}
    for key, named in found.items():
        marks_folder = key in folders or named.key.endswith("/")
        if marks_folder and not named.remote.size:
            continue
        why = unfit(key, prefix)
        if not why and marks_folder:
            covered[key], why = named.remote, "it cannot be a file and a folder: objects lie below it too"
        if why:
            left[key] = why
        else:
            objects[key] = named.remote
    return There(objects, left, covered, closed)


def copy_of(path: str, host: str, when: str, number: int = 0) -> str:
    """The name under which this box keeps its side of a conflict. `when` is like 20261120T140500Z."""
    folder, slash, name = path.rpartition("/")
    tail = f".conflict-{re.sub('[^a-z0-9-]', '-', host.lower())[:40] or 'box'}-{when}" + (f"-{number}" if number else "")
    room = MOST_PART - max(len(tail), COPY_ROOM)
    return f"{folder}{slash}{name.encode()[:room].decode('utf-8', 'ignore')}{tail}"


def is_copy(path: str) -> bool:
    return COPY.search(path) is not None
