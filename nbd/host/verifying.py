"""A store that does not take "200 OK" for a proof: a write has succeeded when the store has shown that it holds these bytes.

The proof costs nothing where the new version names the content's MD5, as S3, its compatibles and GCS do for an object that came in one piece. Where
it does not (Azure; encryption under a key of the cloud's key service), the object is read back: whole if it is small or if so wished, else its end
with its exact length, which finds what was cut; and whole where another MD5 than ours is named by a store that names the right one otherwise.
An object that is damaged is put in order at once, while its bytes are here; one that could not be is remembered, so that nobody reads it before.
"""

from __future__ import annotations

import asyncio
import hashlib
import re

from ..errors import Conflict, NotFound, Unreachable
from ..homes.ports import ObjectStore, Versioned
from .wrapping import WrappedStore

WHOLE = 256 << 10
END = 16 << 10
ATTEMPTS = 3
THREADED = 1 << 20


class VerifyingStore(WrappedStore):
    """Of one person, and the only one in this process: what is damaged and not yet mended is in its memory alone."""

    def __init__(self, store: ObjectStore, *, read_back: bool = False) -> None:
        super().__init__(store)
        self._read_back = read_back
        self._names_md5: bool | None = None
        """Whether this store's versions do; None before the first was compared."""
        self._doubtful: dict[str, tuple[str, bytes]] = {}
        """Of what was replaced, and is not proven to be there: the version that the store gave, and the bytes that it should have."""
        self._unanswered: dict[str, bytes] = {}
        """The bytes of a replacing that failed, and may have had effect."""

    async def create(self, key: str, data: bytes) -> str | None:
        version = await self._store.create(key, data)
        if version is not None and await self._holds(key, data, version):
            return version
        present = await self._present(key)  # It was there: perhaps of an earlier try of ours, that was cut.
        return version if present.data == data else await self._mended(key, data, present.version)

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        await self._mend(key)
        try:
            version = await self._store.replace(key, data, expected)
        except Unreachable:
            self._unanswered[key] = data
            raise
        if not self._read_back and await self._proves(version, data):
            return version
        self._doubtful[key] = (version, data)
        return await self._settled(key, data, version)

    async def fetch(self, key: str) -> Versioned:
        await self._mend(key)
        return await self._store.fetch(key)

    async def _mend(self, key: str) -> None:
        """Before anybody reads or replaces what this process may have left damaged."""
        if key in self._doubtful:
            version, data = self._doubtful[key]
            await self._settled(key, data, version)
        if key in self._unanswered:
            await self._mend_cut(key, self._unanswered[key])

    async def _mend_cut(self, key: str, data: bytes) -> None:
        """A replacing that was never answered may be there in part: sealed bytes that begin as ours do are ours, and nobody else can mend them."""
        try:
            present = await self._store.fetch(key)
        except NotFound:
            present = None
        if present is not None and present.data != data and data.startswith(present.data):
            await self._mended(key, data, present.version)
        self._unanswered.pop(key, None)

    async def _settled(self, key: str, data: bytes, version: str) -> str:
        """Reads back what was replaced. That another has replaced it since is a proof, too: they began from our version."""
        present = await self._present(key)
        if present.version == version and present.data != data:
            version = await self._mended(key, data, version)
        self._doubtful.pop(key, None)
        return version

    async def _mended(self, key: str, data: bytes, version: str) -> str:
        for _ in range(ATTEMPTS):
            try:
                version = await self._store.replace(key, data, version)
            except Conflict:
                self._doubtful.pop(key, None)
                break
            if key in self._doubtful:
                self._doubtful[key] = (version, data)
            if await self._holds(key, data, version):
                return version
        raise Unreachable(f"the store keeps damaging {key}", code="store_damages", hint="it answers that all is well, and holds other bytes")

    async def _holds(self, key: str, data: bytes, version: str) -> bool:
        if not self._read_back and await self._proves(version, data):
            return True
        another = looks_like_md5(version) and self._names_md5 is not False
        start = 0 if self._read_back or another or len(data) <= WHOLE else len(data) - END
        try:
            holds = await self._store.read(key, start, len(data) - start + 1) == data[start:]
        except NotFound:
            raise gone(key) from None
        if holds and another:
            self._names_md5 = False
        return holds

    async def _proves(self, version: str, data: bytes) -> bool:
        """Whether the version that the store gave names these bytes. No is no proof of the contrary, but a reason to read it all."""
        if not looks_like_md5(version) or tag_of(version) != (await asyncio.to_thread(md5, data) if len(data) > THREADED else md5(data)):
            return False
        self._names_md5 = True
        return True

    async def _present(self, key: str) -> Versioned:
        try:
            return await self._store.fetch(key)
        except NotFound:
            raise gone(key) from None


def gone(key: str) -> Unreachable:
    return Unreachable(f"{key} was written and is not in the store", code="store_stale")


def tag_of(version: str) -> str:
    return version.partition("\n")[0].removeprefix("W/").strip('"').lower()


def looks_like_md5(version: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", tag_of(version)) is not None


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
