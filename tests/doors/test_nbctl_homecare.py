"""nbctl home prune and forget: what they ask, print, and exit with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.homemessages import KeptView, PruneView
from nbd.messages import SnapshotView
from nbd.wire import dump
from tests.fakes.nbctl_core import FakeCore
from tests.fakes.nbctl_runner import Nbctl, me

ONE, TWO = "01" * 32, "02" * 32
NEWEST, NAMED, OLD = (SnapshotView(ID, 1_795_168_800.0 - age, event, name) for ID, age, event, name in (
    (ONE, 0, "save", ""), (TWO, 60, "stop", "main run 1"), ("03" * 32, 120, "save", "")))  # fmt: skip
PLAN = PruneView("ada", False, (KeptView(NEWEST, ("the newest", "recent")), KeptView(NAMED, ("named main run 1",)), KeptView(OLD, ())), 5 << 20, 0)  # noqa: FBT003


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def test_a_dry_run_says_why_each_stays_or_goes(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"prune": PLAN}
    said = nbctl("home", "prune", "--dry-run")
    assert said.code == 0
    assert core.asked[-1].body == {"dry_run": True, "user": ""}
    head, newest, named, old, end = said.out.splitlines()
    assert "KEPT AS" in head
    for line, words in ((newest, "the newest, recent"), (named, "named main run 1"), (old, "would be dropped")):
        assert line.endswith(words)
    assert end == "1 of 3 snapshots would be dropped; 5.0 MiB are needed by nothing then, and deleted a day after that was seen."
    assert nbctl("home", "prune", "--user", "eve", "--json").json == dump(PLAN)
    assert core.asked[-1].body == {"dry_run": False, "user": "eve"}


def test_a_prune_says_what_it_did(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"prune": PruneView("ada", True, PLAN.snapshots, 5 << 20, 7)}  # noqa: FBT003
    said = nbctl("home", "prune")
    assert said.out.splitlines()[-1].startswith("1 of 3 snapshots is dropped; ")
    core.home = {"prune": PruneView("ada", True, (), 0, 0)}  # noqa: FBT003
    assert nbctl("home", "prune").out.startswith("0 of 0 snapshots are dropped")


def test_forgetting_asks_for_the_id(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"snapshots": (NEWEST, NAMED, OLD), "forget": NAMED}
    said = nbctl("home", "forget", "02")
    assert (said.code, "--yes forgets it without asking" in said.err) == (2, True)
    for typed, code in (("main", 1), (TWO[:12], 0)):
        with nbctl.on_terminal("home", "forget", "02") as terminal:
            seen = terminal.until(f"Type {TWO[:12]} to forget it: ")
            assert "stop main run 1" in seen
            terminal.type(f"{typed}\n")
            assert terminal.ended()[0] == code
        assert [one.path for one in core.asked].count("/v1/home/forget") == (code == 0)
    assert core.asked[-1].body == {"snapshot": TWO}
    assert nbctl("home", "forget", "02", "--yes").code == 0
    asked = len(core.asked)
    assert [nbctl("home", "forget", what, "--yes").code for what in ("0", "ff", "")] == [2, 4, 4]
    assert {one.path for one in core.asked[asked:]} == {"/v1/home/snapshots"}
