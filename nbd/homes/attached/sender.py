"""Carries up what a plan says: uploads, conflicts, deletions there. Each says which version it means, so nothing there is overwritten unseen."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ...errors import Conflict
from ..model import Seen
from ..ports import OpenHome
from .content import WHOLE, Content, Large, Small, Torn, digest_of
from .model import Action, Do, Known, Plan
from .names import copy_of
from .ports import Ledger, Objects

log = logging.getLogger(__name__)
BATCH_BYTES, BATCH_FILES = 8 << 20, 64
AT_ONCE = 8
COPIES = 20
ATTEMPTS = 3


@dataclass(slots=True)
class Tally:
    """Grows while something is carried; may be read at any time."""

    files: int = 0
    bytes: int = 0
    total_files: int = 0
    total_bytes: int = 0
    left: dict[str, str] = field(default_factory=dict)
    """By name: why it was not carried."""
    conflicts: list[str] = field(default_factory=list)
    """Names of which a second object was made."""
    again: bool = False
    """What is there was not as the plan had it: it has to be looked at again."""


class Sender:
    def __init__(self, objects: Objects, ledger: Ledger, folder: OpenHome, tally: Tally, host: str) -> None:
        self._objects, self._ledger, self._folder, self._tally, self._host = objects, ledger, folder, tally, host

    async def run(self, plan: Plan) -> None:
        """Raises what the store raises: then what went up so far is known, and the rest is found again."""
        await self._ledger.note((), [action.path for action in plan.of(Do.FORGET)])
        self._tally.again |= any(self._ledger.known.get(action.path) is None for action in plan.of(Do.FORGET))
        for batch in batches(plan.of(Do.UPLOAD, Do.MEET)):
            contents = await self._contents(batch)
            found = await asyncio.gather(*(self._sent(*pair) for pair in zip(batch, contents, strict=True)), return_exceptions=True)
            # What went up before another failed is known, so that it is no conflict with ourselves the next time.
            await self._ledger.note([one for one in found if isinstance(one, Known)])
            for one in found:
                if isinstance(one, BaseException):
                    raise one
        deletions = plan.of(Do.DELETE_THERE)
        for start in range(0, len(deletions), AT_ONCE):
            some = deletions[start : start + AT_ONCE]
            await asyncio.gather(*(self._delete(action) for action in some))
            await self._ledger.note((), [action.path for action in some])

    async def _contents(self, batch: Sequence[Action]) -> list[Content]:
        folder = folder_of(batch[0])
        seen = [seen_of(action) for action in batch]
        if len(batch) == 1 and seen[0].size > WHOLE:
            return [Large(self._folder, folder, seen[0])]
        return [Small(reading) for reading in await self._folder.read(folder, seen)]

    async def _sent(self, action: Action, content: Content) -> Known | None:
        seen = content.reading.seen
        if seen is None:
            if content.reading.trouble:
                self._tally.left[action.path] = content.reading.trouble
            return None  # Gone since: the next look says so.
        try:
            made = await self._one(action, content)
        except Torn as torn:
            self._tally.left[action.path] = str(torn)
            return None
        self._tally.files += 1
        self._tally.bytes += made.size
        return made

    async def _one(self, action: Action, content: Content) -> Known:
        was = self._ledger.known.get(action.path)
        seen = content.reading.seen
        if was is not None and seen is not None and was.size == seen.size and was.digest == await content.digest():
            # Touched, not changed: what is there decides what becomes of it.
            self._tally.again |= action.do is Do.MEET or action.expected is None
            return as_known(action.path, was.key, was.version, content, was.digest)
        if action.do is Do.UPLOAD:
            try:
                version = await content.put(self._objects, action.key, action.expected)
                return as_known(action.path, action.key, version, content, await content.digest())
            except Conflict as error:
                log.info("%s: %s", action.path, error)
        return await self._meet(action, content)

    async def _meet(self, action: Action, content: Content) -> Known:
        """What is there is not what was known: the same as here, or gone, or another's."""
        self._tally.again = True
        for _ in range(ATTEMPTS):
            version = await self._objects.look(action.key)
            try:
                if version is None:
                    version = await content.put(self._objects, action.key, None)
                elif not await self._is_there(action.key, version, content):
                    break
                return as_known(action.path, action.key, version, content, await content.digest())
            except Conflict:
                continue  # It changes while we look.
        return await self._copied(action, content)

    async def _copied(self, action: Action, content: Content) -> Known:
        """A second object, named after this box and the file's own time: who was killed after it went up finds it again."""
        seen = content.reading.seen
        assert seen is not None
        when = datetime.datetime.fromtimestamp(max(0, seen.mtime) / 1e9, datetime.UTC)
        for number in range(COPIES):
            key = copy_of(action.path, self._host, f"{when:%Y%m%dT%H%M%SZ}", number)
            try:
                version = await self._objects.look(key)
                if version is None:
                    version = await content.put(self._objects, key, None)
                elif not await self._is_there(key, version, content):
                    continue
            except Conflict:
                continue
            log.warning("%s was changed on both sides: what is here is kept as %s", action.path, key, extra={"NBD_EVENT": "data_conflict"})
            self._tally.conflicts.append(key)
            return as_known(action.path, key, version, content, await content.digest())
        raise Torn("it was changed on both sides, and no free name is left for a copy")

    async def _is_there(self, key: str, version: str, content: Content) -> bool:
        seen = content.reading.seen
        assert seen is not None
        return await digest_of(self._objects, key, version, seen.size) == await content.digest()

    async def _delete(self, action: Action) -> None:
        try:
            await self._objects.delete(action.key, action.expected or "")
        except Conflict:
            # Changed there since: it is not known any more, so it comes down again.
            self._tally.again = True
        self._tally.files += 1


def as_known(path: str, key: str, version: str, content: Content, digest: str) -> Known:
    seen = content.reading.seen
    assert seen is not None
    return Known(path, key, version, seen.size, seen.mtime if content.reading.settled else -1, seen.ctime, seen.ino, digest)


def seen_of(action: Action) -> Seen:
    assert action.seen is not None
    return action.seen


def folder_of(action: Action) -> bytes:
    return action.path.encode().rpartition(b"/")[0]


def batches(actions: Iterable[Action]) -> Iterator[list[Action]]:
    """Of one folder each, as much as is read at a time."""
    batch: list[Action] = []
    size = 0
    for action in actions:
        weight = seen_of(action).size
        if batch and (folder_of(batch[0]) != folder_of(action) or size + weight > BATCH_BYTES or len(batch) >= BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(action)
        size += weight
    if batch:
        yield batch
