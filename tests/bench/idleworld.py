"""Notebooks for the benchmark of idleness: real processes in control groups and network namespaces of their own, and editors that answer.

Made by hand and not by Podman, which would take a minute for two hundred: what is read of them is the same. At the end nothing of them is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from nbd.host.simulated.simulate import SimulatedCard
from nbd.idle.model import EditorLook, KernelLook, TerminalLook
from nbd.idle.ports import Subject
from nbd.unixdoor import Place
from tests.fakes.jupyter import Jupyter

from .report import PATIENCE_SECONDS

GROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuacct", "memory", "blkio", "pids")
WORK = "read go; for i in 1 2 3 4 5; do sleep 100000 & done; wait"
"""An editor, two kernels, a terminal and what runs in it."""
LOOK = EditorLook((KernelLook("k1", "train.ipynb", busy=False, last_activity=1e9),), (TerminalLook("1", 1e9),))


@contextmanager
def notebooks(count: int, folder: Path) -> Iterator[list[Subject]]:
    init = folder / "catatonit"
    shutil.copy("/bin/sh", init)
    made: list[tuple[str, subprocess.Popen[bytes]]] = []
    try:
        for _ in range(count):
            made.append((secrets.token_hex(32), subprocess.Popen(["unshare", "--net", str(init), "-c", WORK], stdin=subprocess.PIPE)))
            enter(*made[-1])
        yield [subject(number, *one, folder) for number, one in enumerate(made)]
    finally:
        for container, process in made:
            leave(container, process)


def subject(number: int, container: str, process: subprocess.Popen[bytes], folder: Path) -> Subject:
    place = Place(str(folder / f"{number}.sock"), os.geteuid())
    return Subject(f"n{number}", "ada", f"n{number}", container, process.pid, place, "jupyterlab", "p", "RUNNING")


def groups(container: str) -> list[Path]:
    roots = [GROUPS / name for name in CONTROLLERS if (GROUPS / name).is_dir()] or [GROUPS]
    return [root / f"nbd-bench-libpod-{container}" for root in roots]


def enter(container: str, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    for group in groups(container):
        group.mkdir()
        (group / "cgroup.procs").write_text(str(process.pid))
    process.stdin.write(b"\n")
    process.stdin.close()


def leave(container: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    for group in groups(container):
        while not gone(group) and time.monotonic() < deadline:
            process.poll()
    process.wait()


def gone(group: Path) -> bool:
    """Kill all that is in it. Whether it could be removed."""
    for pid in (group / "cgroup.procs").read_text().split() if group.is_dir() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.is_dir()


@contextmanager
def editors(count: int, folder: Path) -> Iterator[None]:
    """In a process of their own: what they cost is not nbd's."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.idleworld", str(count), str(folder)], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def served(count: int, folder: Path) -> AsyncIterator[None]:
    async with AsyncExitStack() as kept:
        for number in range(count):
            await kept.enter_async_context(Jupyter(LOOK).serve(folder / f"{number}.sock"))
        yield


def cards(pids: list[int]) -> list[SimulatedCard]:
    """Eight, each with the first processes of two notebooks."""
    found = {number: pids[2 * number : 2 * number + 2] for number in range(8)}
    return [
        SimulatedCard(f"GPU-{number}", processes=dict.fromkeys(on, 1 << 30), busy=dict.fromkeys(on, 50), utilisation_percent=90)
        for number, on in found.items()
    ]


async def serve(count: int, folder: Path) -> None:
    async with served(count, folder):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
