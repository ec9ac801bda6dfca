"""nbctl home status: what is on its way to the store, what tells of changes, and why nothing better does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nbd.messages import HomeView, UnsavedView
from tests.fakes.nbctl_core import FakeCore
from tests.fakes.nbctl_runner import Nbctl, me

HOME = HomeView("/home/ada", watched=True, protected=1.0, store="/srv/store", sentence="protected", hint="", source="fanotify")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


def rows(core: FakeCore, view: HomeView) -> dict[str, str]:
    """What is told of a view, by its heading."""
    core.home = {"": view}
    lines = Nbctl(core.path)("home", "status").out.splitlines()[1:]
    pairs = [line.strip().split("  ", 1) for line in lines if line.startswith("  ")]
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


@pytest.mark.parametrize(
    ("unsaved", "seconds", "told"),
    [
        (UnsavedView(0.0, 1, 1, 5120), 0.3, "1 file (5.0 KiB), since "),
        (UnsavedView(0.0, 2, 3, 10_240), 70, "3 files (10 KiB), since 1 min"),
        (UnsavedView(0.0, 1, 0), 0.3, "changes in 1 folder, since "),
        (UnsavedView(0.0, 400), 0.3, "changes in 400 folders, since "),
        (UnsavedView(0.0, 0), 0.3, "all is looked at, since "),
        (UnsavedView(None, 0), 0, "all is looked at"),
    ],
)
def test_what_is_being_saved(core: FakeCore, unsaved: UnsavedView, seconds: float, told: str) -> None:
    now = time.time()
    since = None if unsaved.since is None else now - seconds
    found = rows(core, replace(HOME, protected=now - seconds, unsaved=replace(unsaved, since=since)))
    assert found["being saved"].startswith(told)
    found = rows(core, replace(HOME, sentence="not protected: the store is away", trouble="the store is away", unsaved=replace(unsaved, since=since)))
    assert found["not saved"].startswith(told)


def test_what_tells_of_changes(core: FakeCore) -> None:
    now = time.time()
    found = rows(core, replace(HOME, protected=now, proved=now - 120))
    assert "being saved" not in found
    assert "because" not in found
    assert (found["changes told by"], found["all looked at"][-11:]) == ("the kernel (fanotify)", "(2 min ago)")
    why = "fanotify: it needs root's rights on the host (CAP_SYS_ADMIN)"
    found = rows(core, replace(HOME, protected=now, source="inotify", source_why=why))
    assert (found["changes told by"], found["because"]) == ("the kernel, folder by folder (inotify)", why)
    assert rows(core, replace(HOME, protected=now, source="looks"))["changes told by"].startswith("nothing")
