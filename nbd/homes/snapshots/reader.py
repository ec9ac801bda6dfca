"""Looks into kept files: the text of one as it was, and the states that a path had."""

from __future__ import annotations

import asyncio
import codecs
from dataclasses import dataclass

from ...errors import NotFound
from ..model import NO_ID, Entry, Kind, Listed
from .contents import extents_of, shown
from .repository import Repository
from .snapshotter import home_entry
from .walk import entries_of

MOST_TEXT = 1 << 20
LOOKED_AT = 200
"""So many of the newest snapshots are asked for the states of a path."""
AT_ONCE = 8
UTF8 = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True, slots=True)
class Text:
    entry: Entry
    text: str = ""
    cut: bool = False
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What a path was from snapshot `first` to snapshot `last`; None: it was not there."""

    entry: Entry | None
    first: Listed
    last: Listed


async def entry_at(repository: Repository, listed: Listed, path: bytes) -> Entry | None:
    """What was there; None: nothing."""
    entry = await home_entry(repository, await repository.snapshot(listed))
    for name in path.split(b"/") if path else ():
        inside = await entries_of(repository, entry.payload) if entry and entry.kind == Kind.FOLDER else []
        entry = next((one for one in inside if one.name == name), None)
    return entry


async def text_of(repository: Repository, listed: Listed, path: bytes) -> Text:
    """Raises NotFound."""
    entry = await entry_at(repository, listed, path)
    if entry is None:
        raise NotFound(f"{shown(path)} is not in this snapshot", hint="see: nbctl home snapshots")
    if entry.kind != Kind.FILE:
        return Text(entry, why_not="it is no file")
    data = await beginning(repository, entry)
    whole = len(data) == entry.size
    try:
        # What is cut in the middle of a letter is text all the same.
        text = UTF8().decode(data, final=whole)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return Text(entry, why_not="it is no text")
    return Text(entry, text, cut=not whole)


async def beginning(repository: Repository, entry: Entry) -> bytes:
    extents, size = [], 0
    for extent in await extents_of(repository, entry):
        if size >= MOST_TEXT:
            break
        extents.append(extent)
        size += extent.length
    blobs = await repository.blobs(extent.id for extent in extents if extent.id != NO_ID)
    data = b"".join(blobs[extent.id] if extent.id != NO_ID else bytes(min(extent.length, MOST_TEXT)) for extent in extents)
    return data[: min(MOST_TEXT, entry.size)]


async def states(repository: Repository, newest_first: list[Listed], path: bytes) -> list[State]:
    """Newest first. States in which it was not there stand between others only."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(listed: Listed) -> Entry | None:
        async with slots:
            return await entry_at(repository, listed, path)

    looked = newest_first[:LOOKED_AT]
    found = await asyncio.gather(*(one(listed) for listed in looked))
    made: list[State] = []
    for listed, entry in zip(looked, found, strict=True):
        if made and same(made[-1].entry, entry):
            made[-1] = State(made[-1].entry, listed, made[-1].last)
        else:
            made.append(State(entry, listed, listed))
    while made and made[-1].entry is None:
        made.pop()
    return made


def same(one: Entry | None, other: Entry | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.kind, one.payload, one.mode) == (other.kind, other.payload, other.mode)
