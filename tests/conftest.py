"""Every test leaves a quiet world: no task, no child process; a test on real parts also no container, network, mount, rule or CDI file.

Without this, leaks show up as somebody else's flake.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

SETTLE_SECONDS = 3.0
BOX_SETTLE_SECONDS = 10.0


@pytest.fixture(autouse=True)
async def quiet_world(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if request.node.get_closest_marker("real"):
        request.getfixturevalue("podman_socket")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    me = asyncio.current_task()
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        tasks = [task for task in asyncio.all_tasks() if task is not me]
        children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        if not tasks and not children:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: tasks {tasks}, processes {children}")
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quiet_box(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tests marked `real`: what the machine shows afterwards is what it showed before."""
    if request.node.get_closest_marker("real") is None:
        yield
        return
    before = box()
    yield
    deadline = time.monotonic() + BOX_SETTLE_SECONDS
    while changes := changed(before, box()):
        if time.monotonic() > deadline:
            pytest.fail(f"the box is not as it was: {changes}")
        time.sleep(0.1)


LASTING = ("containers", "networks", "tables", "cdi")
"""What was there and is somebody's. The others (conmon, its mounts, links) outlive their container by a moment: an earlier test's may go now."""


def changed(before: dict[str, frozenset[str]], after: dict[str, frozenset[str]]) -> dict[str, list[str]]:
    new = {f"new {what}": sorted(after[what] - before[what]) for what in after}
    gone = {f"gone {what}": sorted(before[what] - after[what]) for what in LASTING}
    return {what: items for what, items in {**new, **gone}.items() if items}


def box() -> dict[str, frozenset[str]]:
    return {
        "containers": lines_of("podman", "ps", "--all", "--external", "--quiet", "--no-trunc"),
        "networks": lines_of("podman", "network", "ls", "--quiet"),
        "tables": lines_of("nft", "list", "tables"),
        "links": frozenset(link.name for link in Path("/sys/class/net").iterdir()) - {"podman0"},
        "mounts": frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "cdi": frozenset(str(path) for folder in ("/etc/cdi", "/var/run/cdi") for path in Path(folder).glob("*")),
        "conmons": frozenset(str(process.pid) for process in psutil.process_iter(["name"]) if process.info["name"] == "conmon"),
    }


def lines_of(*argv: str) -> frozenset[str]:
    """Empty where the program is not installed: then it left nothing."""
    try:
        return frozenset(subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout.split("\n")) - {""}
    except FileNotFoundError:
        return frozenset()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name (107 characters in all), which pytest's own does not."""
    folder = Path(tempfile.mkdtemp(prefix="nbd-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def podman_socket() -> Iterator[Path]:
    """A Podman service of the tests' own, on this machine's storage."""
    folder = Path(tempfile.mkdtemp(prefix="nbd-podman-", dir="/tmp"))
    socket = folder / "podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{socket}"], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 30
    while not socket.exists():
        assert time.monotonic() < deadline, "Podman's service does not come up"
        time.sleep(0.02)
    yield socket
    service.terminate()
    service.wait(30)
    shutil.rmtree(folder)
