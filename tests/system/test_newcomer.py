"""What a newcomer does: one command and there is a notebook; Ctrl-C leaves it running; the same command finds it again; one more ends all."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from .jupyter import jupyter
from .real_box import Person, RealBox, free_port, podman, real_box, until

pytestmark = pytest.mark.real
LINK = "/.nbd/enter?ticket="


def first_process(view: Mapping[str, Any]) -> tuple[int, float]:
    """Of the notebook's container: its pid and when it began, which no other process shares."""
    pid = int(podman("inspect", "--format", "{{.State.Pid}}", view["container"]))
    return pid, psutil.Process(pid).create_time()


async def test_the_first_day(short_path: Path, ada: Person) -> None:
    box = RealBox(short_path / "d", ada, gpus=2)
    printed = box.up("--start", sign=LINK)
    try:
        first = box.show()
        assert f"{first['url']}.nbd/enter?ticket=" in printed
        assert (first["state"], first["owner"]) == ("RUNNING", ada.name)
        train = box.ask("start", "train", "--profile", "gpu-1")
        processes = [first_process(view) for view in (first, train)]
        async with jupyter(box.editor_socket(first["id"])) as editor:
            kernel = await editor.new_kernel()
            assert await editor.run(kernel, "import os; kept = 6 * 7; print(os.getcwd(), os.getuid())") == f"{ada.home} {ada.uid}\n"
        assert box.down(signal.SIGINT) == 0
        assert "notebooks go on" in box.output
        assert [first_process(view) for view in (first, train)] == processes
        assert {process.name() for process in box.processes()} == {"conmon"}
        # The lease is on record while nobody serves.
        assert box.leases() == [f"{train['lease']['cards'][0]} {train['id']}"]
        printed = box.up("--start", sign=LINK)
        again = box.show()
        same = ("id", "url", "container", "run", "started", "state")
        assert {key: again[key] for key in same} == {key: first[key] for key in same}
        assert box.reaches("train", "RUNNING")["lease"] == train["lease"]
        assert [first_process(view) for view in (first, train)] == processes
        async with jupyter(box.editor_socket(first["id"])) as editor:
            assert [found["id"] for found in await editor.kernels()] == [kernel]
            assert await editor.run(kernel, "print(kept)") == "42\n"
    finally:
        box.end_everything()
    assert "nbd is up" in printed
    assert not any(psutil.pid_exists(pid) for pid, _ in processes)


async def test_a_killed_terminal_leaves_the_notebook(short_path: Path, ada: Person) -> None:
    """kill -9 of `nbd dev`: its programs end with it, the notebook does not, and the same command adopts it."""
    with real_box(short_path, "--start", who=ada) as box:
        first = box.reaches("main", "RUNNING")
        process = first_process(first)
        assert box.process
        box.process.kill()
        box.process.wait()
        until(lambda: {process.name() for process in box.processes()} == {"conmon"}, say=lambda: list(box.processes()))
        box.up("--start", sign=LINK)
        assert box.reaches("main", "RUNNING")["container"] == first["container"]
        assert first_process(first) == process


def test_a_second_nbd_is_told_so(short_path: Path) -> None:
    with real_box(short_path) as box:
        same_port = RealBox(short_path / "other", port=box.port).run()
        assert same_port.returncode == 1
        assert same_port.stderr.startswith(f"nbd: cannot listen on 127.0.0.1:{box.port}: Address already in use\nhint: ")
        same_folder = RealBox(box.folder, port=free_port()).run()
        assert same_folder.returncode == 1
        assert same_folder.stderr == f"nbd: another nbd works on {box.folder}/run\nhint: stop that one, or choose another --dir\n"
        assert box.ask("status")["version"]


def test_stop_when_nothing_runs(short_path: Path) -> None:
    box = RealBox(short_path / "d")
    said = box.run("--stop")
    assert (said.returncode, said.stdout) == (0, "Nothing runs any more.\n")
    assert box.traces() == {}


def test_what_it_made_of_itself(short_path: Path) -> None:
    """State is for root alone; the socket is for everybody, who is told apart by the kernel."""
    with real_box(short_path) as box:
        assert (box.folder / "state").stat().st_mode & 0o777 == 0o700
        assert (box.folder / "state/state.db").stat().st_mode & 0o777 == 0o600
        assert box.socket.stat().st_mode & 0o777 == 0o666
        assert box.ask("status")["person"]["uid"] == os.getuid()
        with closing(sqlite3.connect(box.folder / "state/state.db")) as state:
            assert state.execute("PRAGMA journal_mode").fetchone() == ("wal",)
