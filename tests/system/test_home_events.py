"""A save is in the store a moment later because the kernel told of it: by core's queue of events, after a kill of either program, and otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .real_box import Person, RealBox, account, real_box, until
from .test_home import kept, save

pytestmark = pytest.mark.real
ONLY_EVENTS = '[homes]\nlook_every = "1h"\nprove_every = "1h"\n'
"""What is not told is not found while the test runs."""
SECONDS = 15.0


@pytest.fixture(scope="module")
def ada() -> Iterator[Person]:
    with account("nbdtest-ola") as person:
        yield person


def source(box: RealBox) -> tuple[str, str]:
    status = box.ask("home", "status")
    return status["source"], status["source_why"]


def saved(box: RealBox, who: Person, name: str) -> None:
    save(who, who.home / name, f"{name}\n")
    until(lambda: kept(box, name), SECONDS, lambda: f"{name} is not kept\n{box.output[-4000:]}")


def test_a_save_is_told_of_by_the_kernel_whatever_is_killed(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, settings=ONLY_EVENTS) as box:
        box.ask("start")
        until(lambda: source(box) == ("fanotify", ""), SECONDS, lambda: f"{source(box)}\n{box.output[-4000:]}")
        until(lambda: box.ask("home", "status")["proved"], SECONDS)
        saved(box, ada, "first.txt")
        for program in ("sync", "core"):
            box.kill_9(program)
            until(lambda: box.nbctl("--json", "home", "status").returncode == 0, SECONDS)
            until(lambda: source(box) == ("fanotify", ""), 30, lambda: f"{source(box)}\n{box.output[-4000:]}")
            saved(box, ada, f"after-{program}.txt")
        status = box.ask("home", "status")
        assert status["unsaved"] is None or status["unsaved"]["folders"]
        shown = box.nbctl("home", "status").stdout
        assert "changes told by    the kernel (fanotify)" in shown
        box.ask("stop", "main")


@pytest.mark.parametrize(("events", "name", "why"), [("inotify", "inotify", ""), ("none", "looks", "")])
def test_other_ways(short_path: Path, ada: Person, events: str, name: str, why: str) -> None:
    every = "1h" if events == "inotify" else "1s"
    settings = f'[homes]\nevents = "{events}"\nlook_every = "{every}"\nprove_every = "1h"\n'
    with real_box(short_path, who=ada, settings=settings) as box:
        box.ask("start")
        until(lambda: source(box) == (name, why), SECONDS, lambda: f"{source(box)}\n{box.output[-4000:]}")
        until(lambda: box.ask("home", "status")["proved"], SECONDS)
        saved(box, ada, f"by-{events}.txt")
        box.ask("stop", "main")
