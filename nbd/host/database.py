"""State in one SQLite file: notebooks, runs, leases, quarantines, sign-ins. The only file of nbd that may not be lost, and even it can be:
what runs is rebuilt from the labels of the containers.

WAL with synchronous=FULL: a write is on disk when the call returns. One connection, used by one thread at a time. Rows that are values of
ours are kept in the form they travel in (`wire`), so a field more needs no migration.

`user_version` is the schema's number; MIGRATIONS take an older file forward, one transaction each, after a copy was put beside it. A file
from a newer nbd is refused and not touched.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from .. import wire
from ..errors import HostUnfit, NbdError, StateUnusable
from ..gpus.model import Lease
from ..notebooks.model import Notebook, Run
from ..people.model import BrowserRight
from .blocking import Blocking

T = TypeVar("T")
SECONDS = 10.0
RUNS_KEPT = 100

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE notebooks (id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, row TEXT NOT NULL, UNIQUE (owner, name)) STRICT;
    CREATE TABLE runs (notebook TEXT NOT NULL, number INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (notebook, number)) STRICT;
    CREATE TABLE leases (card TEXT NOT NULL, notebook TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (card, notebook)) STRICT;
    CREATE TABLE quarantines (card TEXT PRIMARY KEY, reason TEXT NOT NULL) STRICT;
    CREATE TABLE rights (sha256 TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
    """,
)


class Database:
    """Implements the stores that the slices ask for: notebooks' `Store`, gpus' `LeaseStore`, people's `RightStore`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._door = Blocking(1)

    async def notebooks(self) -> Sequence[Notebook]:
        rows = await self._read("SELECT row FROM notebooks")
        return [wire.decode(Notebook, row[0]) for row in rows]

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
        rows = await self._read("SELECT row FROM runs WHERE notebook = ? ORDER BY number DESC", (notebook,))
        return [wire.decode(Run, row[0]) for row in rows]

    async def leases(self) -> Sequence[Lease]:
        rows = await self._read("SELECT row FROM leases ORDER BY rowid")
        return [wire.decode(Lease, row[0]) for row in rows]

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
        return [wire.decode(BrowserRight, row[0]) for row in await self._read("SELECT row FROM rights")]

    async def add_right(self, right: BrowserRight) -> None:
        await self._write(("INSERT OR REPLACE INTO rights VALUES (?, ?)", (right.sha256, wire.encode(right))))

    async def end_right(self, sha256: str) -> None:
        await self._write(("DELETE FROM rights WHERE sha256 = ?", (sha256,)))

    async def close(self) -> None:
        await self._run(self._connection.close)

    async def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[str, ...]]:
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
        try:
            return await self._door.run("the state file", SECONDS, call)
        except sqlite3.Error as error:
            raise trouble(error) from None


def open_database(file: Path) -> Database:
    """Open or make the state file, and bring it to this nbd's schema. Raises StateUnusable, HostUnfit (disk full, read-only)."""
    try:
        connection = sqlite3.connect(file, timeout=5.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        migrate(connection, file)
    except sqlite3.Error as error:
        raise trouble(error, file) from None
    file.chmod(0o600)
    return Database(connection)


def migrate(connection: sqlite3.Connection, file: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StateUnusable(
            f"the state in {file} was written by a newer nbd (schema {version}, this one knows {len(MIGRATIONS)})",
            code="state_too_new",
            hint="install that nbd again, or move the file away: what runs is then rebuilt from its containers",
        )
    if 0 < version < len(MIGRATIONS):
        with sqlite3.connect(f"{file}.before-{len(MIGRATIONS)}") as copy:
            connection.backup(copy)
        copy.close()
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def trouble(error: sqlite3.Error, file: Path | None = None) -> NbdError:
    where = f" in {file}" if file else ""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL" or "disk is full" in str(error):
        return HostUnfit(f"no space is left for the state{where}", code="disk_full", hint="make room; nothing that runs was touched")
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        hint = "move it away and start nbd again: what runs is rebuilt from its containers"
        return StateUnusable(f"the state{where} is damaged ({error})", hint=hint)
    return HostUnfit(f"the state{where} cannot be used: {error}", code="state_unwritable", hint="check the folder's owner, mode and free space")
