"""The state file on good days and bad ones: what was written is there, what cannot be is said, and a damaged row costs one row."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from nbd import wire
from nbd.errors import Deadline, HostUnfit, NbdError, StateUnusable
from nbd.gpus.model import Lease
from nbd.host.database import MIGRATIONS, RUNS_KEPT, Database, open_database
from nbd.notebooks.model import Failure, Notebook, Run, State, Want
from nbd.people.model import BrowserRight

ROW = Notebook("nabcdefghi", "main", "ada", "cpu", "jupyterlab", 5.0)
FULL_ROW = Notebook(
    "nzzzzzzzzz", "größer", "ada", "gpu", "jupyterlab", 5.0, State.FAILED, Want.RUNNING, gpus=2, wait=True, container="c" * 64, run=7, started=6.0,
    ended=7.0, phases={"image": 0.25}, stop_reason="user", failure=Failure("editor_exited", "it ended", "look", ("a", "☃")), crashes=(1.0, 2.5),
)  # fmt: skip
RIGHT = BrowserRight("a" * 64, 1000, 9.0, None)


@asynccontextmanager
async def opened(file: Path, migrations: tuple[str, ...] = MIGRATIONS) -> AsyncIterator[Database]:
    database = open_database(file, migrations)
    try:
        yield database
    finally:
        await database.close()


def numbered(number: int) -> Notebook:
    return Notebook(f"n{number:09d}", f"n{number}", "ada", "cpu", "jupyterlab", 5.0)


def query(file: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """As somebody else with sqlite3 at hand would."""
    with closing(sqlite3.connect(file, timeout=5.0)) as connection, connection:
        return connection.execute(statement, values).fetchall()


async def test_all_that_is_written_is_there_after_reopening(tmp_path: Path) -> None:
    lease, run = Lease("GPU-a", ROW.id, "ada/main", 7.0), Run(ROW.id, 1, 5.0, 6.0, "user", "c" * 64, {"ready": 1.5})
    async with opened(tmp_path / "state.db") as database:
        assert await database.notebooks() == []
        for row in (ROW, FULL_ROW):
            await database.save(row)
        await database.save_run(run)
        await database.replace(ROW.id, [lease])
        await database.quarantine("GPU-b", "lost")
        await database.add_right(RIGHT)
    async with opened(tmp_path / "state.db") as database:
        assert list(await database.notebooks()) == [ROW, FULL_ROW]
        assert list(await database.runs(ROW.id)) == [run]
        assert list(await database.leases()) == [lease]
        assert await database.quarantines() == {"GPU-b": "lost"}
        assert list(await database.rights()) == [RIGHT]
        await database.forget(ROW.id)
        await database.lift("GPU-b")
        await database.end_right(RIGHT.sha256)
        assert list(await database.notebooks()) == [FULL_ROW]
        assert (list(await database.runs(ROW.id)), await database.quarantines(), list(await database.rights())) == ([], {}, [])


async def test_a_long_history_keeps_its_newest_runs(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as database:
        for number in range(1, RUNS_KEPT + 6):
            await database.save_run(Run(ROW.id, number, 1.0))
        assert [run.number for run in await database.runs(ROW.id)] == list(range(RUNS_KEPT + 5, 5, -1))


async def test_the_file_is_nbds_alone_and_its_writes_are_durable(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    async with opened(file) as database:
        await database.save(ROW)
        assert query(file, "PRAGMA journal_mode") == [("wal",)]
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
        # A crash now: a copy of what is on the disk, journal and all, is whole.
        for suffix in ("", "-wal"):
            Path(f"{tmp_path}/copy.db{suffix}").write_bytes(Path(f"{file}{suffix}").read_bytes())
    async with opened(tmp_path / "copy.db") as database:
        assert list(await database.notebooks()) == [ROW]


@pytest.mark.parametrize("mode", ["wal", "delete"])
async def test_a_newer_file_is_refused_and_not_touched(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "state.db"
    async with opened(file, (*MIGRATIONS, "CREATE TABLE tomorrow (x TEXT) STRICT;")) as database:
        await database.save(ROW)
    query(file, f"PRAGMA journal_mode = {mode}")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(StateUnusable) as caught:
        open_database(file)
    assert caught.value.code == "state_too_new"
    assert f"schema {len(MIGRATIONS) + 1}" in caught.value.message
    assert "rebuilt from its containers" in caught.value.hint
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert query(file, "SELECT id FROM notebooks") == [(ROW.id,)]


OLDER = MIGRATIONS[:1]
NEWER = (*MIGRATIONS, "ALTER TABLE notebooks ADD COLUMN colour TEXT;")


@pytest.mark.parametrize(("old", "new"), [(OLDER, MIGRATIONS), (OLDER, NEWER), (MIGRATIONS, NEWER)])
async def test_an_older_file_goes_forward_and_a_copy_stays(tmp_path: Path, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    file = tmp_path / "state.db"
    async with opened(file, old) as database:
        await database.save(ROW)
    async with opened(file, new) as database:
        assert list(await database.notebooks()) == [ROW]
    copy = tmp_path / f"state.db.before-{len(new)}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (query(copy, "PRAGMA user_version"), query(file, "PRAGMA user_version")) == ([(len(old),)], [(len(new),)])
    assert query(copy, "SELECT id FROM notebooks") == [(ROW.id,)]
    copy.unlink()
    async with opened(file, new):
        assert not copy.exists(), "nothing was migrated this time"


async def test_a_migration_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    async with opened(file) as database:
        await database.save(ROW)
    with pytest.raises(HostUnfit) as caught:
        open_database(file, (*MIGRATIONS, "CREATE TABLE half (x TEXT) STRICT; CREATE TABLE notebooks (x TEXT) STRICT;"))
    assert caught.value.code == "state_unwritable"
    async with opened(file) as database:
        assert list(await database.notebooks()) == [ROW]
        assert query(file, "SELECT name FROM sqlite_master WHERE name = 'half'") == []


def garbage(file: Path) -> None:
    file.write_bytes(b"this is not a state file\n" * 400)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def scribbled(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096 : 4096 + 2048] = b"\xff" * 2048
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [garbage, truncated, scribbled])
async def test_a_damaged_file_is_said_and_kept(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    file = tmp_path / "state.db"
    async with opened(file) as database:
        for number in range(50):
            await database.save(numbered(number))
    harm(file)
    with pytest.raises(StateUnusable) as caught:
        open_database(file)
    assert caught.value.code == "state_unusable"
    assert str(file) in caught.value.message
    assert "move it away" in caught.value.hint
    assert file.exists()


@pytest.mark.parametrize("kind", ["a folder", "no folder above", "a link to nowhere"])
def test_a_path_that_cannot_be_a_state_file(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "state.db"
    if kind == "a folder":
        file.mkdir()
    elif kind == "no folder above":
        file = tmp_path / "none" / "state.db"
    else:
        file.symlink_to(tmp_path / "none" / "state.db")
    with pytest.raises(HostUnfit) as caught:
        open_database(file)
    assert caught.value.code == "state_unwritable"


@pytest.mark.real
async def test_a_read_only_disk(short_path: Path) -> None:
    with tiny_disk(short_path / "disk", "256k") as disk:
        async with opened(disk / "state.db") as database:
            await database.save(ROW)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for file in (disk / "state.db", disk / "another.db"):
            with pytest.raises(HostUnfit) as caught:
                open_database(file)
            assert caught.value.code == "state_unwritable"


@pytest.mark.real
async def test_a_full_disk_loses_nothing_and_heals(short_path: Path) -> None:
    with tiny_disk(short_path / "disk", "1m") as disk:
        async with opened(disk / "state.db") as database:
            await database.save(ROW)
            filler = disk / "filler"
            fill(filler)
            written: list[Notebook] = []

            async def write_on() -> None:
                for number in range(2000):
                    await database.save(numbered(number))
                    written.append(numbered(number))

            with pytest.raises(HostUnfit) as caught:
                await write_on()
            assert caught.value.code == "disk_full"
            assert list(await database.notebooks()) == [ROW, *written], "what was said to be written is there, the refused one is not"
            with pytest.raises(HostUnfit):
                await database.replace(ROW.id, [Lease(f"GPU-{n}", ROW.id, "ada/main" * 40, 7.0) for n in range(400)])
            assert list(await database.leases()) == []
            filler.unlink()
            await database.save(FULL_ROW)
        async with opened(disk / "state.db") as database:
            assert list(await database.notebooks()) == [ROW, *written, FULL_ROW]


@pytest.mark.real
async def test_no_room_for_the_copy_before_a_migration(short_path: Path) -> None:
    with tiny_disk(short_path / "disk", "8m") as disk:
        async with opened(disk / "state.db", OLDER) as database:
            for number in range(200):
                await database.save(numbered(number))
        fill(disk / "filler")
        with pytest.raises(HostUnfit) as caught:
            open_database(disk / "state.db")
        assert caught.value.code == "disk_full", caught.value
        (disk / "filler").unlink()
        async with opened(disk / "state.db") as database:
            assert len(await database.notebooks()) == 200


@contextmanager
def tiny_disk(at: Path, size: str) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def fill(file: Path) -> None:
    with open(file, "wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 4096)
    assert shutil.disk_usage(file).free == 0


async def test_writes_cancelled_at_random_leave_a_usable_file(tmp_path: Path) -> None:
    chance = random.Random(7)
    finished: set[str] = set()

    async def write(number: int) -> None:
        await database.save(numbered(number))
        finished.add(numbered(number).id)

    async def cancel_some(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async with opened(tmp_path / "state.db") as database:
        for batch in range(100):
            await cancel_some([asyncio.create_task(write(batch * 10 + each)) for each in range(10)])
        await database.save(ROW)
        rows = {row.id for row in await database.notebooks()}
        assert finished | {ROW.id} <= rows
        assert 0 < len(finished) < 1000
        assert query(tmp_path / "state.db", "PRAGMA integrity_check") == [("ok",)]


async def test_a_write_that_hangs_past_its_deadline_is_not_mixed_with_the_next(tmp_path: Path) -> None:
    """The disk hangs in the middle of a transaction; meanwhile others ask. Nobody's half is kept or undone by another's."""
    go_on = threading.Event()
    file = tmp_path / "state.db"
    await (open_database(file)).close()
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.create_function("hang", 0, lambda: go_on.wait(30) and 0)
    connection.execute("CREATE TEMP TRIGGER hangs AFTER INSERT ON leases WHEN new.card = 'GPU-slow' BEGIN SELECT hang(); END")
    database = Database(connection, seconds=0.2)
    try:
        with pytest.raises(Deadline):
            await database.replace(ROW.id, [Lease("GPU-slow", ROW.id, "ada/main", 1.0), Lease("GPU-next", ROW.id, "ada/main", 1.0)])
        with pytest.raises(Deadline):
            await database.save(ROW)
    finally:
        go_on.set()
    async with asyncio.timeout(10):
        while not await database.notebooks():
            await asyncio.sleep(0.001)
    assert [lease.card for lease in await database.leases()] == ["GPU-slow", "GPU-next"]
    await database.close()


async def test_two_processes_write_and_both_are_heard(tmp_path: Path) -> None:
    """A lock keeps two cores apart; a person with the sqlite3 shell is not kept out."""
    file = tmp_path / "state.db"
    script = """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
        for number in range(200):
            connection.execute("INSERT INTO quarantines VALUES (?, 'other')", (f"other-{number}",))
    """
    async with opened(file) as database:
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(script), str(file))
        for number in range(200):
            await database.quarantine(f"ours-{number}", "ours")
        assert await other.wait() == 0
        assert len(await database.quarantines()) == 400


FLIPS: dict[str, object] = {
    "not JSON": b'{"id":"nabcdefghi","name":"ma',
    "not UTF-8": wire.encode(ROW).encode().replace(b"ada", b"a\xe4a"),
    "a state that does not exist": wire.encode(ROW).replace("STOPPED", "STOPPEE"),
    "a field that went": wire.encode(ROW).replace('"name"', '"nane"'),
    "a number that is a word": wire.encode(ROW).replace("5.0", '"5.0"'),
    "nothing": "",
    "another shape": "[]",
}


@pytest.mark.parametrize("flipped", FLIPS.values(), ids=list(FLIPS))
async def test_a_damaged_row_costs_one_row(tmp_path: Path, caplog: pytest.LogCaptureFixture, flipped: str | bytes) -> None:
    file = tmp_path / "state.db"
    async with opened(file) as database:
        await database.save(ROW)
        await database.save(FULL_ROW)
    raw = flipped if isinstance(flipped, bytes) else flipped.encode()
    query(file, "UPDATE notebooks SET row = CAST(? AS TEXT) WHERE id = ?", raw, ROW.id)
    async with opened(file) as database:
        assert list(await database.notebooks()) == [FULL_ROW]
        assert "set aside" in caplog.text
        assert query(file, "SELECT source, row FROM damaged") == [("notebooks", raw)]
        # Its name is free again, and so is its id for the row that is rebuilt from its container.
        await database.save(Notebook("nnewnewnew", ROW.name, ROW.owner, "cpu", "jupyterlab", 6.0))
        caplog.clear()
        assert len(await database.notebooks()) == 2
        assert caplog.text == ""


async def test_every_table_of_rows_survives_a_damaged_one(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    async with opened(file) as database:
        for number in (1, 2):
            await database.save_run(Run(ROW.id, number, 1.0))
            await database.add_right(BrowserRight(f"{number}" * 64, 1000, 9.0))
        await database.replace(ROW.id, [Lease("GPU-1", ROW.id, "ada/main", 1.0), Lease("GPU-2", ROW.id, "ada/main", 1.0)])
        for table in ("runs", "rights", "leases"):
            query(file, f"UPDATE {table} SET row = '{{' WHERE rowid = 1")
        assert [run.number for run in await database.runs(ROW.id)] == [2]
        assert [right.sha256 for right in await database.rights()] == ["2" * 64]
        assert [lease.card for lease in await database.leases()] == ["GPU-2"]
        assert sorted(query(file, "SELECT source FROM damaged")) == [("leases",), ("rights",), ("runs",)]


async def test_trouble_in_the_middle_is_an_error_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    async with opened(file) as database:
        query(file, "DROP TABLE leases")
        with pytest.raises(NbdError) as caught:
            await database.leases()
        assert caught.value.code == "state_unwritable"
