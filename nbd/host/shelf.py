"""Copies of what is in the stores, in one SQLite file that may be lost at any moment: killed, damaged, deleted, full.

Blobs lie in the order in which they came, and the oldest go first: one that is still used is fetched from the store again, and is young then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import NbdError
from .blocking import Blocking
from .database import LOOSE, open_loose
from .spare import spare

T = TypeVar("T")
log = logging.getLogger(__name__)
SECONDS = 60.0
AT_ONCE = 500
FREED_SHARE = 0.1
PASSING = ("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED")
SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (age INTEGER PRIMARY KEY, part BLOB NOT NULL UNIQUE, content BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS objects (home TEXT NOT NULL, key TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (home, key)) STRICT;
"""


class FileShelf:
    def __init__(self, file: Path, most_bytes: int, room: Callable[[Path], int] = spare, seconds: float = SECONDS) -> None:
        self._file, self._most, self._room, self._seconds = file, most_bytes, room, seconds
        self._connection: Any = None
        self._said = ""
        self._door = Blocking(1)
        self._using = threading.Lock()
        """A call that passed its deadline may still be at it, and SQLite takes the process with it where a connection is closed under a call."""

    async def blobs(self, parts: Sequence[bytes]) -> dict[bytes, bytes]:
        def look() -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for some in (parts[at : at + AT_ONCE] for at in range(0, len(parts), AT_ONCE)):
                marks = ",".join("?" * len(some))
                found |= self._execute(f"SELECT part, content FROM blobs WHERE part IN ({marks})", some).fetchall()
            return found

        return await self._run(look, {})

    async def keep_blobs(self, blobs: Mapping[bytes, bytes]) -> None:
        def put() -> None:
            if self._room(self._file.parent) > sum(map(len, blobs.values())):
                self._all([("INSERT OR IGNORE INTO blobs (part, content) VALUES (?, ?)", row) for row in blobs.items()])
            self._bound()

        await self._run(put, None)

    async def kept(self, home: str, key: str) -> bytes | None:
        row = await self._run(lambda: self._execute("SELECT content FROM objects WHERE home = ? AND key = ?", (home, key)).fetchone(), None)
        return row[0] if row else None

    async def keep_objects(self, home: str, new: Mapping[str, bytes], others: Collection[str]) -> None:
        def put() -> None:
            there = {key for (key,) in self._execute("SELECT key FROM objects WHERE home = ?", (home,))}
            gone = there - new.keys() - set(others)
            drop = [("DELETE FROM objects WHERE home = ? AND key = ?", (home, key)) for key in gone]
            self._all([*drop, *(("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (home, key, content)) for key, content in new.items())])

        await self._run(put, None)

    async def close(self) -> None:
        await self._run(self._close, None)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, values: Sequence[object] = ()) -> Any:
        if self._connection is None:
            self._connection = open_loose(self._file, SCHEMA)
        return self._connection.execute(statement, values)

    def _all(self, statements: Iterable[tuple[str, Sequence[object]]]) -> None:
        self._execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                self._execute(statement, values)
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def _bound(self) -> None:
        """The oldest go until a part of the room is free again."""
        if self._bytes() <= self._most:
            return
        ages, freed = [], 0
        for age, size in self._execute("SELECT age, LENGTH(content) FROM blobs ORDER BY age"):
            ages.append(age)
            freed += size
            if freed > FREED_SHARE * self._most:
                break
        if ages:
            self._all([("DELETE FROM blobs WHERE age <= ?", (ages[-1],))])

    def _bytes(self) -> int:
        (pages,), (unused,), (size,) = (self._execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size"))
        return int((pages - unused) * size)

    async def _run(self, call: Callable[[], T], nothing: T) -> T:
        def attempt() -> T:
            if not self._using.acquire(blocking=False):
                return nothing  # The disk hangs; the stores have it all.
            try:
                return call()
            except LOOSE as error:
                self._renew(error)
                return nothing
            finally:
                self._using.release()

        try:
            # A caller that goes away must not leave a thread inside a transaction when the next one begins.
            return await asyncio.shield(self._door.run("the shelf", self._seconds, attempt))
        except NbdError as error:
            log.warning("the copies in %s are passed over: %s", self._file, error)
            return nothing

    def _renew(self, error: Exception) -> None:
        """Everything in it is in the stores, too: a new one is filled by itself. A full disk is no reason for one, nor a sync that is just ending."""
        passes = getattr(error, "sqlite_errorname", "").startswith(PASSING)
        if str(error) != self._said:
            log.warning("the copies in %s cannot be used%s: %s", self._file, "" if passes else ", and are begun anew", error)
        self._said = str(error)
        try:
            self._close()
            for name in () if passes else ("", "-wal", "-shm"):
                Path(f"{self._file}{name}").unlink(missing_ok=True)
        except LOOSE:
            return  # As the first error said.
