"""A person's home: what is saved is in a snapshot soon, what is deleted comes back as theirs, a stop is a snapshot with a name."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .real_box import Person, RealBox, account, real_box, until

pytestmark = pytest.mark.real
SETTINGS = '[homes]\nlook_every = "1s"\n'


@pytest.fixture
def ada() -> Iterator[Person]:
    """A person whose home no other test has a hand in."""
    with account("nbdtest-ida") as person:
        yield person


@pytest.fixture
def box(short_path: Path, ada: Person) -> Iterator[RealBox]:
    with real_box(short_path, who=ada, settings=SETTINGS) as box:
        yield box


def save(who: Person, path: Path, text: str) -> None:
    path.write_text(text)
    os.chown(path, who.uid, who.gid)


def kept(box: RealBox, name: str) -> str | None:
    """The snapshot, once the newest one has the file."""
    snapshots = box.ask("home", "snapshots")
    found = snapshots and any(entry["name"] == name for entry in box.ask("home", "ls", snapshots[0]["id"]))
    return str(snapshots[0]["id"]) if found else None


def stops(box: RealBox) -> list[Mapping[str, Any]]:
    return [one for one in box.ask("home", "snapshots") if one["event"] == "stop"]


def test_a_home_is_kept_and_comes_back(box: RealBox, ada: Person) -> None:
    assert "NEW MASTER KEY" in box.output
    assert stat.S_IMODE((box.folder / "state/sync/master.key").stat().st_mode) == 0o600
    assert box.ask("home", "snapshots") == []
    box.ask("start")
    paper = ada.home / "paper.txt"
    save(ada, paper, "forty-two\n")
    first = until(lambda: kept(box, "paper.txt"), 15, lambda: box.output[-4000:])
    status = box.ask("home", "status")
    assert status["watched"]
    assert status["sentence"] == "protected"
    save(ada, paper, "forty-three\n")
    until(lambda: box.ask("home", "diff", first), 15)
    assert [(one["change"], one["path"]) for one in box.ask("home", "diff", first) if one["path"] == "paper.txt"] == [("changed", "paper.txt")]
    paper.unlink()
    until(lambda: not kept(box, "paper.txt"), 15)
    restored = box.ask("home", "restore", "paper.txt")
    back = Path(restored["to"]) / "paper.txt"
    assert back.read_text() == "forty-three\n"
    assert back.parent.parent == ada.home
    for path in (back, back.parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (ada.uid, ada.gid)
    # To its own place, as it was at first.
    assert box.ask("home", "restore", "paper.txt", "--snapshot", first, "--to", str(ada.home))["entries"] == 1
    assert (paper.read_text(), paper.stat().st_uid) == ("forty-two\n", ada.uid)
    box.ask("stop", "main")
    assert [one["name"] for one in stops(box)] == ["main run 1"]
    assert box.ask("home", "verify")["good"]


def test_any_name_can_be_named(box: RealBox, ada: Person) -> None:
    """Names are bytes: no UTF-8, line feeds, a leading dash, a percent sign that is no escape."""
    names = [os.fsdecode(name) for name in (b"no utf-8 \xff\xfe", b"new\nline", b"-dash", b"100%41", b"\xc3\xbcml\xc3\xa4ut", b"back\\xff")]
    folder = ada.home / os.fsdecode(b"odd \xff\n")
    folder.mkdir()
    for number, name in enumerate(names):
        save(ada, folder / name, str(number))
    os.chown(folder, ada.uid, ada.gid)
    box.ask("start")
    box.ask("stop", "main")
    listed = box.ask("home", "ls", "latest", folder.name)
    assert len(listed) == len(names)
    for number, name in enumerate(names):
        (entry,) = box.ask("home", "ls", "latest", f"{folder.name}/{name}")
        assert entry["size"] == 1
        (folder / name).unlink()
        restored = box.ask("home", "restore", f"{folder.name}/{name}", "--to", str(ada.home))
        assert (restored["skipped"], (folder / name).read_text()) == ([], str(number))


def test_only_the_person_and_only_with_their_rights(box: RealBox, ada: Person) -> None:
    box.ask("start")
    secret = ada.home / "secret.txt"
    save(ada, secret, "hers alone\n")
    until(lambda: kept(box, "secret.txt"), 15)
    with account("nbdtest-ivo") as eve:
        assert box.ask("home", "snapshots", who=eve) == []
        assert box.refused("home", "restore", "secret.txt", who=eve)[1] == "not_found"
        assert box.refused("home", "restore", str(secret), who=eve)[0] == 2
        said = box.nbctl("home", "restore", "secret.txt", "--to", str(eve.home))
        assert said.returncode == 1
        assert "not restored: secret.txt: Permission denied" in said.stderr
        assert not (eve.home / "secret.txt").exists()
        assert box.refused("home", "restore", "secret.txt", "--to", "/etc/nbd-test")[:2] == (1, "no_target")
        (ada.home / "trap").symlink_to("/etc")
        assert box.refused("home", "restore", "secret.txt", "--to", str(ada.home / "trap"))[1] == "no_target"


def test_a_sync_that_dies_is_told_again_and_a_stop_without_a_store_still_stops(box: RealBox, ada: Person) -> None:
    box.ask("start")
    box.program("sync").kill()
    save(ada, ada.home / "later.txt", "after the kill\n")

    def told_again() -> bool:
        said = box.nbctl("--json", "home", "ls", "latest")
        return '"later.txt"' in said.stdout

    until(told_again, 40, lambda: box.output[-4000:])
    store = box.folder / "state/sync/store"
    store.rename(store.with_name("away"))
    store.write_text("not a folder")
    try:
        save(ada, ada.home / "last.txt", "while the store is away\n")
        assert box.ask("stop", "main")["state"] == "STOPPED"
        assert box.ask("home", "status")["waiting"]["snapshots"]
        assert "its home waits on this box for a store that is away" in box.ask("show", "main")["sentence"]
        assert box.ask("status")["parts"]["snapshots"] == "1 home waiting on this box for the store"
    finally:
        store.unlink()
        store.with_name("away").rename(store)
    until(lambda: box.ask("home", "status")["waiting"] is None, 90, lambda: box.output[-4000:])
    assert [one["name"] for one in stops(box)] == ["main run 1"]
    assert kept(box, "last.txt")
    until(lambda: "waits" not in box.ask("show", "main")["sentence"], 30, lambda: box.ask("show", "main"))


def test_make_stop_takes_the_snapshots_too(box: RealBox, ada: Person) -> None:
    box.ask("start")
    save(ada, ada.home / "evening.txt", "good night\n")
    box.end_everything()
    save(ada, ada.home / "night.txt", "nobody looks\n")
    box.up()
    assert [one["name"] for one in stops(box)] == ["main run 1"]
    names = {entry["name"] for entry in box.ask("home", "ls", stops(box)[0]["id"])}
    assert "evening.txt" in names
    assert "night.txt" not in names
    assert box.ask("home", "status")["sentence"].startswith("no notebook runs; the last snapshot is of ")


def test_what_goes_and_what_stays(short_path: Path, ada: Person) -> None:
    """Retention, a deletion, the drill and the figures, as an admin and as a person see them."""
    keep: tuple[str, ...] = ("keep_daily = 0", "keep_weekly = 0", "keep_monthly = 0", "keep_hourly = 1")
    keep += ('keep_recent = "0s"', 'prune_every = "2s"', 'drill_every = "2s"')
    with real_box(short_path, who=ada, settings=SETTINGS + "\n".join(keep)) as box:
        box.ask("start")
        for number in range(4):
            before = newest(box)
            save(ada, ada.home / "paper.txt", f"{number}\n")
            until(lambda before=before: newest(box) != before, 15, lambda: box.output[-4000:])  # type: ignore[misc]
        box.ask("stop", "main")
        until(lambda: len(box.ask("home", "snapshots")) == 1, 20, lambda: box.nbctl("home", "prune", "--dry-run").stdout)
        (kept_one,) = box.ask("home", "snapshots")
        assert kept_one["name"] == "main run 1"
        box.ask("rm", "main", "--yes")
        assert (ada.home / "paper.txt").read_text() == "3\n"
        assert [one["id"] for one in box.ask("home", "snapshots")] == [kept_one["id"]], "a notebook takes nothing of its home with it"
        assert box.refused("home", "forget", kept_one["id"], "--yes")[1] == "newest"
        assert box.ask("status")["parts"]["snapshots"] == "ok"
        packs = sorted((short_path / "d/state/sync/store").glob("*/data/**/*"), key=lambda path: path.stat().st_size)
        data = bytearray(packs[-1].read_bytes())
        data[len(data) // 2] ^= 1
        packs[-1].chmod(0o600)
        packs[-1].write_bytes(data)
        until(lambda: "damage" in box.ask("status")["parts"]["snapshots"], 60, lambda: box.output[-4000:])
        assert any("nbctl home verify" in alarm for alarm in box.ask("home", "status")["alarms"])
        figures = subprocess.run(
            ["curl", "--silent", "--unix-socket", box.socket, "http://nbd/metrics"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        assert f'nbd_home_damages{{user="{ada.name}"}} 0.0' not in figures
        assert f'nbd_home_dropped_snapshots_total{{user="{ada.name}"}}' in figures


def newest(box: RealBox) -> str:
    return "".join(one["id"] for one in box.ask("home", "snapshots")[:1])
