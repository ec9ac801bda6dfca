"""The kernel's view of processes: real ones that end, and a /proc of the tests' own for what is hard to bring about."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.host.processes import KernelProcesses
from nbd.notebooks.ports import Process

CONTAINER, OTHER = "c" * 64, "d" * 64
CGROUPS: dict[str, str] = {
    "v2, systemd": f"0::/machine.slice/libpod-{CONTAINER}.scope/container\n",
    "v2, cgroupfs": f"0::/libpod_parent/libpod-{CONTAINER}\n",
    "v2, below a service": f"0::/user.slice/user-0.slice/nbd.service/libpod-{CONTAINER}.scope\n",
    "v1": f"12:pids:/libpod_parent/libpod-{CONTAINER}\n11:memory:/libpod_parent/libpod-{CONTAINER}\n1:name=systemd:/init.scope\n0::/\n",
    "hybrid": f"3:cpu,cpuacct:/machine.slice/libpod-{CONTAINER}.scope\n0::/machine.slice/libpod-{CONTAINER}.scope\n",
}
HOST = ("0::/init.scope\n", "0::/\n", "", f"0::/libpod-conmon-{CONTAINER}x/{OTHER}\n", f"0::/machine.slice/libpod-{CONTAINER[:63]}.scope\n")


def put(proc: Path, pid: int, *, cgroup: str, ticks: int = 77, state: str = "S", name: str = "python3") -> None:
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    fields = [state, *(str(number) for number in range(4, 22)), str(ticks), *("0" for _ in range(30))]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    (folder / "cgroup").write_text(cgroup)


@pytest.mark.parametrize("cgroup", CGROUPS.values(), ids=list(CGROUPS))
def test_a_process_of_the_container(tmp_path: Path, cgroup: str) -> None:
    put(tmp_path, 7, cgroup=cgroup)
    processes = KernelProcesses(tmp_path)
    assert processes.container_of(7) == CONTAINER
    assert processes.of_pid(7, CONTAINER) == Process(7, 77)
    assert processes.of_pid(7, OTHER) is None


@pytest.mark.parametrize("cgroup", HOST)
def test_a_process_of_somebody_else(tmp_path: Path, cgroup: str) -> None:
    put(tmp_path, 7, cgroup=cgroup)
    processes = KernelProcesses(tmp_path)
    assert processes.container_of(7) is None
    assert processes.of_pid(7, OTHER + "x") is None
    assert processes.of_pid(7, "") is None, "no container at all has no processes, least of all every one"
    assert processes.of_container("") == frozenset()


def test_all_of_a_container_and_nothing_else(tmp_path: Path) -> None:
    for pid, cgroup in ((3, CGROUPS["v1"]), (4, HOST[0]), (5, CGROUPS["v2, systemd"]), (6, CGROUPS["v1"].replace(CONTAINER, OTHER))):
        put(tmp_path, pid, cgroup=cgroup)
    (tmp_path / "8").mkdir()  # ended between the listing and the look
    (tmp_path / "sys").mkdir()
    assert KernelProcesses(tmp_path).of_container(CONTAINER) == {3, 5}


@pytest.mark.parametrize("name", ["a b", "a) S 1 2", "((", ")", "x" * 15, ""])
def test_a_name_cannot_lie_about_its_start(tmp_path: Path, name: str) -> None:
    put(tmp_path, 7, cgroup=CGROUPS["v1"], ticks=4711, name=name)
    assert KernelProcesses(tmp_path).start_ticks(7) == 4711


def test_what_has_ended_is_nobody(tmp_path: Path) -> None:
    put(tmp_path, 7, cgroup=CGROUPS["v1"], state="Z")
    processes = KernelProcesses(tmp_path)
    assert processes.of_pid(7, CONTAINER) is None
    assert processes.of_pid(8, CONTAINER) is None
    assert processes.of_pid(0, CONTAINER) is None
    assert processes.start_ticks(8) is None


@pytest.fixture
async def child() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def process_of(pid: int) -> Process:
    ticks = KernelProcesses().start_ticks(pid)
    assert ticks is not None
    return Process(pid, ticks)


async def told(process: Process) -> asyncio.Event:
    gone = asyncio.Event()
    KernelProcesses().on_exit(process, gone.set)
    return gone


async def test_an_end_is_heard_of(child: asyncio.subprocess.Process) -> None:
    gone = await told(process_of(child.pid))
    assert not gone.is_set()
    child.kill()
    async with asyncio.timeout(10):
        await gone.wait()


async def test_an_end_is_heard_of_although_nobody_has_reaped_it() -> None:
    """A child of conmon that hangs is a zombie: it does no work, and that is what counts."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        process = process_of(pid)
        gone = await told(process)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            await gone.wait()
        assert KernelProcesses().start_ticks(pid) is None
        async with asyncio.timeout(10):
            await (await told(process)).wait()
    finally:
        os.waitpid(pid, 0)
    async with asyncio.timeout(10):
        await (await told(process)).wait()


async def test_another_process_of_that_number_is_not_waited_for(child: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(10):
        await (await told(Process(child.pid, 1))).wait()
    assert child.returncode is None


@pytest.mark.parametrize("ends", [False, True])
async def test_who_no_longer_wants_to_know_is_not_told(child: asyncio.subprocess.Process, *, ends: bool) -> None:
    before = descriptors()
    told_of: list[str] = []
    process = process_of(child.pid) if not ends else Process(child.pid, 1)
    cancel = KernelProcesses().on_exit(process, lambda: told_of.append("end"))
    cancel()
    cancel()
    child.kill()
    await child.wait()
    await asyncio.sleep(0)
    assert told_of == []
    assert descriptors() <= before, "a descriptor is left"


async def test_being_told_leaves_no_descriptor(child: asyncio.subprocess.Process) -> None:
    before = descriptors()
    events = [await told(process_of(child.pid)) for _ in range(20)]
    child.kill()
    for event in events:
        async with asyncio.timeout(10):
            await event.wait()
    assert descriptors() <= before
