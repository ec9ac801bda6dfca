"""The content of one file on its way up: whole in memory, or too large for that and read again for each pass."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Protocol

from ..model import Seen
from ..ports import LargeFile, OpenHome, Reading
from .ports import Objects

WHOLE = 64 << 20
"""What is no larger is put in one request, on condition."""
PART = 8 << 20


class Torn(Exception):
    """It changed while it was read; or why it cannot be read."""


class Content(Protocol):
    reading: Reading

    async def digest(self) -> str:
        """Of what `reading` is about. Raises Torn."""

    async def put(self, objects: Objects, key: str, expected: str | None) -> str:
        """Raises Conflict(store_changed), Torn; then what is there stayed as it was."""


class Small:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._digest = ""

    async def digest(self) -> str:
        if not self._digest:
            self._digest = await digested(self.reading.data)
        return self._digest

    async def put(self, objects: Objects, key: str, expected: str | None) -> str:
        return await objects.put(key, self.reading.data, expected)


class Large:
    def __init__(self, folder: OpenHome, path: bytes, seen: Seen) -> None:
        self.reading = Reading(seen)
        self._folder, self._path, self._seen = folder, path, seen
        self._digest = ""

    async def digest(self) -> str:
        if not self._digest:
            async for _ in self._parts():
                pass
        return self._digest

    async def put(self, objects: Objects, key: str, expected: str | None) -> str:
        assert self.reading.seen is not None
        return await objects.put_large(key, self._parts(), self.reading.seen.size, expected)

    async def _parts(self) -> AsyncIterator[bytes]:
        """From its beginning to its end, as it was at one moment: else Torn is raised in place of an end."""
        file = await self._folder.open_large(self._path, self._seen)
        if isinstance(file, Reading):
            raise Torn(file.trouble or "it is gone")
        hashed, at = hashlib.sha256(), 0
        try:
            opened = file.opened.seen
            assert opened is not None
            while at < opened.size and (data := await file.read(at, min(PART, opened.size - at))):
                hashed.update(data)
                at += len(data)
                yield data
        except BaseException:
            await file.finish()
            raise
        await self._settled(file, at, hashed.hexdigest())

    async def _settled(self, file: LargeFile, size: int, digest: str) -> None:
        last = await file.finish()
        if last is None or last.seen is None or last.seen.size != size:
            raise Torn("it keeps changing while it is read")
        if self._digest and digest != self._digest:
            raise Torn("it changed between two readings")
        self.reading, self._digest = last, digest


async def digested(data: bytes) -> str:
    """In a thread where it takes long enough to be noticed."""
    if len(data) < PART // 8:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


async def digest_of(objects: Objects, key: str, version: str, size: int) -> str:
    """Of the content there; empty where that has another size. Raises Conflict(store_changed)."""
    hashed, at = hashlib.sha256(), 0
    while data := await objects.read(key, version, at, PART):
        hashed.update(data)
        at += len(data)
        if at > size or len(data) < PART:
            break
    return hashed.hexdigest() if at == size else ""
