"""nbctl home: what it asks, prints, and exits with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.cli.homes import moment_of
from nbd.errors import InvalidInput
from nbd.messages import DifferenceView, EntryView, HomeView, Problem, ProblemAnswer, RestoreRequest, RestoreView, SnapshotView, Unkept, VerifyView
from nbd.wire import dump
from tests.fakes.nbctl_core import FakeCore
from tests.fakes.nbctl_runner import Nbctl, me

ID = "0123456789abcdef" * 4
NOW = time.mktime((2026, 11, 20, 15, 0, 0, 0, 0, -1))
TAKEN = SnapshotView(ID, 1_795_168_800.0, "stop", "main")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def test_status_says_up_to_when_or_why_not(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"": HomeView("/home/ada", watched=True, protected=time.time() - 41, store="/srv/store", sentence="protected", hint="")}
    said = nbctl("home", "status")
    assert said.code == 0
    assert "/home/ada  protected 4" in said.out.splitlines()[0]
    assert "/srv/store" in said.out
    unkept = (Unkept("run/sock", "belongs to uid 0"),)
    sentence = "not protected: the store is away"
    core.home = {"": HomeView("/home/ada", True, None, "s3://b", sentence, "wait", "the store is away", time.time() - 90, ("stop main",), unkept, 1)}  # noqa: FBT003
    said = nbctl("home", "status")
    for word in ("not protected: the store is away", "hint: wait", "stop main", "run/sock: belongs to uid 0", "1 min ago"):
        assert word in said.out
    assert nbctl("home", "status", "--json").json == dump(core.home[""])


def test_snapshots_entries_and_differences_are_tables(core: FakeCore, nbctl: Nbctl) -> None:
    entries = (
        EntryView("a\x1b[2J", "file", 0o640, 3500, 1.0),
        EntryView("work", "folder", 0o700, 12, 1.0),
        EntryView("to", "link", 0o777, 0, 1.0, "work"),
    )
    core.home = {"snapshots": (TAKEN,), "ls": entries, "diff": (DifferenceView("renamed", "new", "old"), DifferenceView("added", "x"))}
    assert nbctl("home", "snapshots").out.splitlines()[1].split()[0] == ID[:12]
    said = nbctl("home", "ls", ID[:6], "a b/ü")
    assert core.asked[-1].query == {"snapshot": ID[:6], "path": "a b/ü"}
    assert "-rw-r-----" in said.out
    assert "3.4 KiB" in said.out
    assert "12 in it" in said.out
    assert "\x1b[2J" not in said.out
    said = nbctl("home", "diff", ID[:6])
    assert core.asked[-1].query == {"a": ID[:6], "b": "latest"}
    assert "was old" in said.out
    core.home = {"snapshots": (), "diff": ()}
    assert nbctl("home", "snapshots").err.startswith("no snapshots")
    assert (nbctl("home", "diff", "a", "b").err, nbctl("home", "diff", "a", "--json").json) == ("no difference\n", [])


def test_a_restore_asks_for_what_was_said_and_tells_what_came_back(core: FakeCore, nbctl: Nbctl) -> None:
    step, last = RestoreView(False, "/home/ada/r", TAKEN, 1), RestoreView(True, "/home/ada/r", TAKEN, 3, 2048, 1)  # noqa: FBT003
    core.home = {"restore": [step, last]}
    said = nbctl("home", "restore", "work", "--at", "90min", "--to", "rel")
    assert said.code == 0
    assert "3 entries (2.0 KiB) are back in /home/ada/r, from snapshot 0123456789ab" in said.out
    body = core.asked[-1].body
    assert (body["path"], body["to"], body["snapshot"]) == ("work", str(Path("rel").absolute()), "")
    assert abs(body["at"] - (time.time() - 5400)) < 60
    assert nbctl("home", "restore", ".", "--json").json == dump(last)
    assert core.asked[-1].body == dump(RestoreRequest("."))


def test_what_did_not_come_back_is_said_and_is_exit_code_1(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"restore": [RestoreView(True, "/r", TAKEN, 1, skipped=(Unkept("s", "a socket"),), damaged=(Unkept("d", "is not what was stored"),))]}  # noqa: FBT003
    said = nbctl("home", "restore", ".")
    assert said.code == 1
    assert "damaged: d: is not what was stored" in said.err
    assert "not restored: s: a socket" in said.err
    core.home = {"restore": [ProblemAnswer(Problem("not_found", "no snapshot has work", "see: nbctl home snapshots"))]}
    assert (nbctl("home", "restore", "work").code, nbctl("home", "restore", "work", "--at", "noon").code) == (4, 2)
    core.home = {"restore": [RestoreView(False, "/r", TAKEN)]}  # noqa: FBT003
    assert nbctl("home", "restore", "work").code == 5


def test_verify(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"verify": VerifyView(True, 3, 4, 5 << 20)}  # noqa: FBT003
    said = nbctl("home", "verify")
    assert (said.code, said.out) == (0, "all is as it was stored: 3 snapshots, 4 packs, 5.0 MiB\n")
    core.home = {"verify": VerifyView(False, 3, 4, 5, ("pack ab is not in the store",), ("work/paper",))}  # noqa: FBT003
    said = nbctl("home", "verify")
    assert said.code == 1
    assert "cannot be restored: work/paper" in said.out


@pytest.mark.parametrize(
    ("text", "before"),
    [("14:05", 3300), ("15:30", 86400 - 1800), ("2026-11-20 14:00", 3600), ("2026-11-19", 39 * 3600), ("90min", 5400), ("2 d", 172800)],
)
def test_moments(text: str, before: float) -> None:
    assert NOW - moment_of(text, NOW) == before


@pytest.mark.parametrize("text", ["", "noon", "25:00", "-1h", "2026-13-01"])
def test_no_moments(text: str) -> None:
    with pytest.raises(InvalidInput):
        moment_of(text, NOW)
