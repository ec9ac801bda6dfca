"""Idleness on real parts, with windows of seconds: real kernels busy and silent, real terminals, real pids on simulated cards, a core that dies."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nbd.host.processes import KernelProcesses
from nbd.host.simulated.cuda import SimulatedCuda
from nbd.host.simulated.simulate import put_busy, put_processes

from .jupyter import jupyter
from .real_box import Person, RealBox, real_box, until

pytestmark = pytest.mark.real
SETTINGS = """
[core]
reconcile_every = "500ms"
[gpus]
release_within = "2s"
[idle]
sample_every = "500ms"
warn_before = "2s"
park_after = "6s"
stop_after = "14s"
"""
GIB = 1 << 30
WINDOWS = 12.0
"""Longer than it takes to park who is idle."""
TRAINING = "import subprocess; print(subprocess.Popen(['nohup', 'sh', '-c', 'while :; do :; done'], start_new_session=True).pid)"


@contextmanager
def idle_box(folder: Path, who: Person) -> Iterator[RealBox]:
    with real_box(folder, who=who, gpus=2, settings=SETTINGS) as box:
        yield box


def start(box: RealBox, name: str = "main") -> dict[str, Any]:
    view: dict[str, Any] = box.ask("start", name, "--profile", "gpu-1")
    return view


def why(box: RealBox, name: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = box.ask("why", name)
    return found


def never_idle_for(box: RealBox, seconds: float, what: str, name: str = "main") -> None:
    """Judged active all the while, and because of that; nothing was announced."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        said = why(box, name)
        assert (said["state"], said["verdict"], said["notice"]) == ("RUNNING", "active", None), said
        assert any(what in reason for reason in said["reasons"]), said


def inner_pid(pid: int) -> int:
    """As the notebook counts."""
    return int(re.findall(r"^NSpid:.*\t(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


async def run_cell(box: RealBox, view: dict[str, Any], code: str) -> str:
    async with jupyter(box.editor_socket(view["id"])) as editor:
        return await editor.run(await editor.new_kernel(), code)


@contextmanager
def cell(box: RealBox, view: dict[str, Any], code: str) -> Iterator[None]:
    """While the block lasts, nobody has a page open, and a kernel runs this."""

    async def begin() -> str:
        async with jupyter(box.editor_socket(view["id"])) as editor:
            kernel = await editor.new_kernel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await editor.run(kernel, code)
            return kernel

    async def end(kernel: str) -> None:
        async with jupyter(box.editor_socket(view["id"])) as editor:
            await editor.end_kernel(kernel)

    kernel = asyncio.run(begin())
    try:
        yield
    finally:
        asyncio.run(end(kernel))


def test_who_works_is_left_alone_and_who_rests_gives_the_card_back(short_path: Path, ada: Person) -> None:
    with idle_box(short_path, ada) as box:
        view = start(box)
        until(lambda: why(box)["verdict"] != "unknown", 20, lambda: why(box))
        with cell(box, view, "import time; time.sleep(600)"):
            until(lambda: any("busy kernel" in reason for reason in why(box)["reasons"]), 20, lambda: why(box))
            never_idle_for(box, WINDOWS, "busy kernel")
        training = int(asyncio.run(run_cell(box, view, TRAINING)))
        until(lambda: any("of a core" in reason for reason in why(box)["reasons"]), 20, lambda: why(box))
        never_idle_for(box, WINDOWS, "of a core")
        asyncio.run(run_cell(box, view, f"import os; os.kill({training}, 9)"))
        announced = until(lambda: why(box)["notice"], 40, lambda: why(box))
        assert "its GPU is given back" in announced["text"]
        box.reaches("main", "PARKED")
        assert box.ask("gpus")["cards"][0]["holders"] == box.ask("gpus")["cards"][1]["holders"] == []
        box.ask("unpark", "main")
        assert box.reaches("main", "RUNNING")["container"] == view["container"]
        box.reaches("main", "STOPPED", seconds=60)
        assert box.show()["stop_reason"] == "idle"


def test_a_cuda_process_is_parked_with_its_memory_and_comes_back(short_path: Path, ada: Person) -> None:
    with idle_box(short_path, ada) as box:
        view = start(box)
        (card,) = view["lease"]["cards"]
        kernel = int(asyncio.run(run_cell(box, view, "import os; print(os.getpid())")))
        (pid,) = [one for one in KernelProcesses().of_container(view["container"]) if inner_pid(one) == kernel]
        cards = box.folder / "simulated/gpus.txt"
        put_processes(cards, card, {pid: 4 * GIB})
        put_busy(cards, card, {pid: 63})
        until(lambda: any(f"pid {pid}" in reason and "63 % of" in reason for reason in why(box)["reasons"]), 20, lambda: why(box))
        never_idle_for(box, WINDOWS, "63 % of")
        put_busy(cards, card, {})
        box.kill_9("core")
        box.reaches("main", "PARKED")
        assert SimulatedCuda(cards.with_suffix(".cuda")).states()[pid] == 2
        other = start(box, "other")
        assert other["state"] in ("STARTING", "RUNNING")
        box.kill_9("core")
        box.reaches("main", "PARKED")
        box.ask("unpark", "main")
        assert box.reaches("main", "RUNNING")["container"] == view["container"]
        assert SimulatedCuda(cards.with_suffix(".cuda")).states()[pid] == 0
        put_processes(cards, card, {})
