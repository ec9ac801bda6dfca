"""State in one SQLite file: notebooks, runs, leases, quarantines, sign-ins. The only file of nbd that may not be lost, and even it can be:
what runs is rebuilt from the labels of the containers.

WAL with synchronous=FULL: a write is on disk when the call returns. One connection, used by one thread at a time. Rows that are values of
ours are kept in the form they travel in (`wire`), so a field more needs no migration.

`user_version` is the schema's number; MIGRATIONS take an older file forward, one transaction each, after a copy was put beside it. A file
from a newer nbd is refused and not touched.

A row that cannot be read any more (a bit fell over, a hand slipped) is set aside in the table `damaged` and said in the log: one row must
not keep the rest from being served.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .. import wire
from ..errors import HostUnfit, InvalidInput, NbdError, StateUnusable
from ..gpus.model import Lease
from ..notebooks.model import Notebook, Run
from ..people.model import BrowserRight
from .blocking import Blocking

T = TypeVar("T")
log = logging.getLogger(__name__)
SECONDS = 10.0
RUNS_KEPT = 100
NO_SPACE = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
"""The second: no room for the index of the journal, met when the file is opened."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE notebooks (id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, row TEXT NOT NULL, UNIQUE (owner, name)) STRICT;
    CREATE TABLE runs (notebook TEXT NOT NULL, number INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (notebook, number)) STRICT;
    CREATE TABLE leases (card TEXT NOT NULL, notebook TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (card, notebook)) STRICT;
    CREATE TABLE quarantines (card TEXT PRIMARY KEY, reason TEXT NOT NULL) STRICT;
    CREATE TABLE rights (sha256 TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
    """,
    """
    CREATE TABLE damaged (source TEXT NOT NULL, row BLOB NOT NULL, found TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT;
    """,
)


class Database:
    """Implements the stores that the slices ask for: notebooks' `Store`, gpus' `LeaseStore`, people's `RightStore`."""

    def __init__(self, connection: sqlite3.Connection, seconds: float = SECONDS) -> None:
        self._connection = connection
        self._seconds = seconds
        self._door = Blocking(1)
        self._using = threading.Lock()
        """A call that passed its deadline, or whose caller went away, may still be in the middle of a transaction."""

    async def notebooks(self) -> Sequence[Notebook]:
        return await self._values(Notebook, "notebooks")

    async def save(self, notebook: Notebook) -> None:
        values = (notebook.id, notebook.owner, notebook.name, wire.encode(notebook))
        await self._write(("INSERT INTO notebooks VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET row = excluded.row", values))

    async def forget(self, notebook: str) -> None:
        await self._write(("DELETE FROM notebooks WHERE id = ?", (notebook,)), ("DELETE FROM runs WHERE notebook = ?", (notebook,)))

    async def save_run(self, run: Run) -> None:
        await self._write(
            ("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (run.notebook, run.number, wire.encode(run))),
            ("DELETE FROM runs WHERE notebook = ? AND number <= ?", (run.notebook, run.number - RUNS_KEPT)),
        )

    async def runs(self, notebook: str) -> Sequence[Run]:
        return await self._values(Run, "runs", "WHERE notebook = ? ORDER BY number DESC", (notebook,))

    async def leases(self) -> Sequence[Lease]:
        return await self._values(Lease, "leases", "ORDER BY rowid")

    async def replace(self, notebook: str, leases: Iterable[Lease]) -> None:
        added = [("INSERT INTO leases VALUES (?, ?, ?)", (lease.card, lease.notebook, wire.encode(lease))) for lease in leases]
        await self._write(("DELETE FROM leases WHERE notebook = ?", (notebook,)), *added)

    async def quarantines(self) -> Mapping[str, str]:
        return {row[0]: row[1] for row in await self._read("SELECT card, reason FROM quarantines")}

    async def quarantine(self, card: str, reason: str) -> None:
        await self._write(("INSERT OR REPLACE INTO quarantines VALUES (?, ?)", (card, reason)))

    async def lift(self, card: str) -> None:
        await self._write(("DELETE FROM quarantines WHERE card = ?", (card,)))

    async def rights(self) -> Sequence[BrowserRight]:
        return await self._values(BrowserRight, "rights")

    async def add_right(self, right: BrowserRight) -> None:
        await self._write(("INSERT OR REPLACE INTO rights VALUES (?, ?)", (right.sha256, wire.encode(right))))

    async def end_right(self, sha256: str) -> None:
        await self._write(("DELETE FROM rights WHERE sha256 = ?", (sha256,)))

    async def close(self) -> None:
        await self._run(self._connection.close)

    async def _values(self, kind: type[T], table: str, which: str = "", values: tuple[object, ...] = ()) -> list[T]:
        """The rows of `table` as values; the unreadable ones are set aside."""
        found, damaged = [], []
        # As bytes: what is not UTF-8 any more would otherwise fail the whole query.
        for rowid, row in await self._read(f"SELECT rowid, CAST(row AS BLOB) FROM {table} {which}", values):
            try:
                found.append(wire.decode(kind, row))
            except InvalidInput as error:
                log.error("a row of %s cannot be read and is set aside in the table damaged: %s", table, error)
                damaged.append(rowid)
        for rowid in damaged:
            keep = f"INSERT INTO damaged (source, row) SELECT '{table}', CAST(row AS BLOB) FROM {table} WHERE rowid = ?"
            await self._write((keep, (rowid,)), (f"DELETE FROM {table} WHERE rowid = ?", (rowid,)))
        return found

    async def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return await self._run(lambda: self._connection.execute(statement, values).fetchall())

    async def _write(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        """All of it or nothing."""

        def work() -> None:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    self._connection.execute(statement, values)

        # A cancelled caller must not leave a thread inside a transaction when the next one begins.
        await asyncio.shield(self._run(work))

    async def _run(self, call: Callable[[], T]) -> T:
        def alone() -> T:
            with self._using:
                return call()

        try:
            return await self._door.run("the state file", self._seconds, alone)
        except sqlite3.Error as error:
            raise trouble(error) from None


def open_database(file: Path, migrations: Sequence[str] = MIGRATIONS) -> Database:
    """Open or make the state file, and bring it to this nbd's schema. Raises StateUnusable, HostUnfit (disk full, read-only)."""
    try:
        refuse_newer(file, len(migrations))
        connection = sqlite3.connect(file, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            prepare(connection, file, migrations)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise trouble(error, file) from None
    return Database(connection)


def prepare(connection: sqlite3.Connection, file: Path, migrations: Sequence[str]) -> None:
    file.chmod(0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damage(file, found)
    migrate(connection, file, migrations)


def refuse_newer(file: Path, known: int) -> None:
    """Looked at through a connection that cannot write: not even the journal's mode of a newer file is changed."""
    if not file.exists():
        return
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    finally:
        connection.close()
    if version > known:
        raise StateUnusable(
            f"the state in {file} was written by a newer nbd (schema {version}, this one knows {known})",
            code="state_too_new",
            hint="install that nbd again, or move the file away: what runs is then rebuilt from its containers",
        )


def migrate(connection: sqlite3.Connection, file: Path, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < len(migrations):
        kept = Path(f"{file}.before-{len(migrations)}")
        copy = sqlite3.connect(kept)
        try:
            kept.chmod(0o600)
            connection.backup(copy)
        finally:
            copy.close()
    for number, script in enumerate(migrations[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def damage(file: Path | None, what: object) -> StateUnusable:
    where = f" in {file}" if file else ""
    return StateUnusable(f"the state{where} is damaged ({what})", hint="move it away and start nbd again: what runs is rebuilt from its containers")


def trouble(error: sqlite3.Error | OSError, file: Path | None = None) -> NbdError:
    where = f" in {file}" if file else ""
    name = getattr(error, "sqlite_errorname", "")
    if name in NO_SPACE or getattr(error, "errno", None) == errno.ENOSPC:
        return HostUnfit(f"no space is left for the state{where}", code="disk_full", hint="make room; nothing that runs was touched")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return damage(file, error)
    return HostUnfit(f"the state{where} cannot be used: {error}", code="state_unwritable", hint="check the folder's owner, mode and free space")


LOOSE = (sqlite3.Error, OSError)
BUSY_SECONDS = 0.5
"""Who holds it does so for good: another program of the same kind that is just ending."""


def open_loose(file: Path, schema: str) -> sqlite3.Connection:
    """A file of copies, which may be lost: safe from a killed program, not written through at each change. Raises what is in LOOSE."""
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        file.chmod(0o600)
        # Alone with it, SQLite maps no file: a page of one that a full disk cannot hold is the end of the whole process (SIGBUS).
        alone = "locking_mode = EXCLUSIVE"
        pragmas = ("page_size = 16384", alone, "journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 256")
        connection.executescript("".join(f"PRAGMA {pragma};" for pragma in pragmas) + schema)
    except BaseException:
        connection.close()
        raise
    return connection
