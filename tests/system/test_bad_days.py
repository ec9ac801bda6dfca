"""Bad days of a real box: memory gone, editor killed, Podman gone, driver silent, disk full. What runs goes on; the person is told; it mends."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

import pytest

from .jupyter import jupyter, run_and_lose
from .real_box import Person, account, add_profile, real_box, until

pytestmark = pytest.mark.real
KILL_THE_EDITOR = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
GENERATE = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


@contextmanager
def small_disk(folder: Path, size: str, who: Person | None = None) -> Iterator[None]:
    owner = f",uid={who.uid},gid={who.gid}" if who else ""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700{owner}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Not one byte is left on its disk."""
    with open(file, "wb", buffering=0) as out:
        for size in (1 << 16, 1 << 12, 1):
            fill_up(out, bytes(size))


def fill_up(out: FileIO, piece: bytes) -> None:
    with suppress(OSError):
        while out.write(piece) == len(piece):
            pass


async def test_a_kernel_that_wants_too_much(short_path: Path, ada: Person) -> None:
    """The kernel pays, the editor stays; shutting it down later is no crash."""
    add_profile(short_path / "d", "tiny", 'title = "Tiny"\nmemory = "200MiB"\nshm = "16MiB"\ntmp = "16MiB"\n')
    with real_box(short_path, who=ada) as box:
        view = box.ask("start", "main", "--profile", "tiny")
        async with jupyter(box.editor_socket(view["id"])) as editor:
            kernel = await editor.new_kernel()
            assert await editor.run(kernel, "print(6*7)") == "42\n"
            assert await editor.run(kernel, "x = b'x' * (1 << 29)") == "died"
            assert box.show()["run"] == 1
            await editor.shut_down()
        shown = box.reaches("main", "STOPPED")
        assert (shown["stop_reason"], shown["failure"]) == ("editor_shutdown", None)


async def test_an_editor_that_is_killed_again_and_again(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, gpus=1) as box:
        view = box.ask("start", "main", "--profile", "gpu-1")
        for run in (1, 2, 3):
            shown = until(lambda run=run: (now := box.show())["state"] == "RUNNING" and now["run"] == run and now, say=box.show)  # type: ignore[misc]
            assert shown["lease"] == view["lease"], "its card was not given away meanwhile"
            await run_and_lose(box.editor_socket(view["id"]), KILL_THE_EDITOR)
        shown = box.reaches("main", "FAILED")
        assert shown["stop_reason"] == "crash_loop"
        assert shown["sentence"] == "the editor ended because something killed it; it ended wrongly 3 times within 10 min"
        assert shown["lease"] is None
        assert box.traces().keys() == {"processes"}
        # The person may try again, and starts with a clean slate.
        assert box.ask("start")["state"] == "RUNNING"


async def test_the_editor_is_shut_down_from_inside(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada) as box:
        view = box.ask("start")
        async with jupyter(box.editor_socket(view["id"])) as editor:
            await editor.shut_down()
        shown = box.reaches("main", "STOPPED")
        assert (shown["stop_reason"], shown["sentence"]) == ("editor_shutdown", "the editor was shut down from inside")
        until(lambda: box.traces().keys() == {"processes"}, 5, box.traces)


async def test_a_full_home(short_path: Path) -> None:
    """Who cannot get in cannot tidy up."""
    with account("nbdtest-eve") as eve, small_disk(eve.home, "64k", eve):
        fill(eve.home / "full")
        with real_box(short_path, who=eve) as box:
            view = box.ask("start")
            async with jupyter(box.editor_socket(view["id"])) as editor:
                assert await editor.run(await editor.new_kernel(), "import os; os.remove('full'); print(6*7)") == "42\n"
            assert not (eve.home / "full").exists()


def test_no_room_for_the_state(short_path: Path, ada: Person) -> None:
    (short_path / "d/state").mkdir(parents=True)
    with small_disk(short_path / "d/state", "8m"):
        with real_box(short_path, who=ada) as box:
            running = box.ask("start")
            fill(box.folder / "state/full")
            for verb in (["start", "second"], ["stop", "main"]):
                code, machine, sentence, hint = box.refused(*verb)
                assert (code, machine, sentence) == (1, "disk_full", "no space is left for the state")
                assert hint == "make room; nothing that runs was touched"
            shown = box.show()
            assert (shown["state"], shown["container"]) == ("RUNNING", running["container"])
            (box.folder / "state/full").unlink()
            box.ask("stop", "main")
            assert box.ask("start", "second")["state"] == "RUNNING"
        shutil.rmtree(short_path / "d/state/logs")


def test_podman_dies_under_a_running_notebook(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada) as box:
        running = box.ask("start")
        box.kill_9("podman")
        until(lambda: box.ask("status")["parts"]["podman"] == "ok")
        assert box.ask("start", "second")["state"] == "RUNNING"
        assert box.show()["container"] == running["container"]


def test_podman_is_away(short_path: Path, ada: Person) -> None:
    """Its service is the box's own here, as an admin would have it, and is stopped for a while."""
    socket = short_path / "podman.sock"
    argv = ["podman", "system", "service", "--time", "0", f"unix://{socket}"]
    service = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    until(socket.exists)
    try:
        with real_box(short_path, who=ada, settings=f'[core]\npodman_socket = "{socket}"\nreconcile_every = "500ms"\n') as box:
            running = box.ask("start")
            service.kill()
            service.wait()
            socket.unlink()
            assert "Podman cannot be reached" in until(lambda: (said := box.ask("status")["parts"]["podman"]) != "ok" and said)
            code, machine, sentence, hint = box.refused("start", "second")
            assert (code, machine) == (1, "unreachable")
            assert "Podman cannot be reached" in sentence
            assert hint.startswith("start it: systemctl start podman.socket")
            shown = box.show()
            assert (shown["state"], shown["container"]) == ("RUNNING", running["container"])
            assert box.show("second")["state"] == "ERROR"
            service = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
            until(lambda: box.ask("status")["parts"]["podman"] == "ok")
            assert box.ask("start", "second")["state"] == "RUNNING"
            assert box.show()["container"] == running["container"]
    finally:
        service.terminate()
        service.wait()


def test_the_driver_hangs(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, gpus=2, settings='[gpus]\nnvml_timeout = "300ms"\n') as box:
        running = box.ask("start", "main", "--profile", "gpu-1")
        cards = box.folder / "simulated/gpus.txt"
        healthy = cards.read_text()
        cards.write_text("hang *\n" + healthy)
        assert until(lambda: box.ask("gpus")["reason"])
        assert box.ask("status")["parts"]["gpus"] != "ok"
        assert box.refused("start", "second", "--profile", "gpu-1")[0] in (1, 3, 5)
        # Who needs no card notices nothing.
        assert box.ask("start", "third", "--profile", "cpu-small")["state"] == "RUNNING"
        shown = box.show()
        assert (shown["container"], shown["lease"]) == (running["container"], running["lease"])
        cards.write_text(healthy)
        until(lambda: not box.ask("gpus")["reason"])
        assert box.ask("start", "second", "--profile", "gpu-1")["lease"]["cards"] != running["lease"]["cards"]


def test_no_cdi_specification(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, gpus=1) as box:
        uuid = box.ask("gpus")["cards"][0]["uuid"]
        mine = next(path for path in Path("/var/run/cdi").iterdir() if uuid in path.read_text())
        text = mine.read_text()
        mine.unlink()
        code, machine, sentence, hint = box.refused("start", "main", "--profile", "gpu-1")
        assert (code, machine, hint) == (1, "cdi_missing", GENERATE)
        assert f"lists {uuid}: containers cannot be given it" in sentence
        assert box.ask("ls") == [], "found before anything was made"
        assert box.leases() == []
        mine.write_text(text)
        assert box.ask("start", "main", "--profile", "gpu-1")["lease"]["cards"] == [uuid]


def test_more_gpus_than_there_are(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, gpus=2) as box:
        for wait in ([], ["--wait"]):
            code, machine, sentence, hint = box.refused("start", "main", "--profile", "gpu-1", "--gpus", "9", *wait)
            assert (code, machine) == (3, "no_capacity")
            assert "9" in sentence
            assert hint == "waiting cannot help; see: nbctl gpus"
        assert box.refused("start", "main", "--profile", "gpu-1", "--gpus", "-1")[0] == 2
        assert box.traces().keys() == {"processes"}


def test_sync_dies(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada) as box:
        running = box.ask("start")
        box.kill_9("sync")
        until(lambda: box.ask("status")["parts"]["homes"] == "ok")
        assert box.ask("start", "second")["state"] == "RUNNING"
        assert box.show()["container"] == running["container"]
