"""CudaParker on bad days: helpers that are killed, callers that go away, a core that dies in the middle, a library that is not there."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from nbd.errors import Conflict, HostUnfit, NotFound, Unreachable
from nbd.host.cudapark import NVIDIA_MAJOR, CudaParker, card_minors
from nbd.host.cudapark_helper import GpuPair, LockArgs, RestoreArgs, uuid_bytes
from nbd.host.cudapark_lines import Act, Answer
from nbd.host.cudawords import refusal
from nbd.host.headroom import KernelMemory
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.ports import CudaState, Headroom
from tests.contracts.parkers import A, B, SimulatedWorld, simulated_world

INFORMATION = "Model: \t\t NVIDIA RTX A4000\nIRQ:   \t\t 91\nGPU UUID: \t {uuid}\nBus Location: \t 0000:01:00.0\nDevice Minor: \t {minor}\n"


@pytest.fixture
async def world(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SimulatedWorld]:
    async with simulated_world(tmp_path_factory.getbasetemp() / "simulated-cuda", tmp_path) as made:
        yield made


def helpers(below: psutil.Process | None = None) -> list[psutil.Process]:
    found = []
    for child in (below or psutil.Process()).children(recursive=True):
        try:
            found += [child] if "nbd.host.cudapark_helper" in child.cmdline() else []
        except psutil.Error:
            continue
    return found


async def until(world: SimulatedWorld, process: Process, state: CudaState) -> None:
    async with asyncio.timeout(20):
        while (await world.parker.states([process])).get(process.pid) is not state:
            await asyncio.sleep(0.01)


async def called(world: SimulatedWorld, call: str, process: Process) -> None:
    """The call is under way."""
    async with asyncio.timeout(20):
        while (call, process.pid) not in world.calls():
            await asyncio.sleep(0.01)


async def test_a_helper_that_is_killed_is_followed_by_another(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    await world.parker.lock(process, 1.0)
    (first,) = helpers()
    first.kill()
    first.wait(5)
    with pytest.raises(Unreachable):  # what it did before its end nobody knows: the caller looks
        await world.parker.checkpoint(process)
    assert await world.parker.states([process]) == {process.pid: CudaState.LOCKED}
    await world.parker.checkpoint(process)
    assert await world.parker.states([process]) == {process.pid: CudaState.CHECKPOINTED}


async def test_a_helper_that_answered_is_used_again(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    await world.parker.states([process])
    before = [helper.pid for helper in helpers()]
    await world.parker.lock(process, 1.0)
    assert [helper.pid for helper in helpers()] == before


async def test_a_caller_that_goes_away_leaves_the_call_to_its_end(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    await world.parker.lock(process, 1.0)
    world.cuda.say("slow checkpoint 700")
    call = asyncio.create_task(world.parker.checkpoint(process))
    await called(world, "checkpoint", process)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    with pytest.raises(Conflict, match="still under way") as caught:
        await world.parker.unlock(process)
    assert caught.value.retryable
    await until(world, process, CudaState.CHECKPOINTED)
    assert world.on_cards() == set()


async def test_what_a_killed_core_began_is_finished(world: SimulatedWorld) -> None:
    """Nobody says what a process is like whose checkpoint was cut off."""
    process = world.begin(a=1)
    await world.parker.lock(process, 1.0)
    world.cuda.say("slow checkpoint 1000")
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom nbd.host.cudapark import CudaParker\nfrom nbd.notebooks.ports import Process\n"
        "folder, box, cuda, pid, ticks = sys.argv[1:]\n"
        "parker = CudaParker(library_folder=Path(folder), simulated_box=Path(box), simulated_cuda=Path(cuda))\n"
        "asyncio.run(parker.checkpoint(Process(int(pid), int(ticks))))\n"
    )
    folder = Path(world.parker._environment["LD_LIBRARY_PATH"].split(os.pathsep)[0])
    arguments = [str(part) for part in (folder, world.box, world.cuda.file, process.pid, process.start_ticks)]
    core = await asyncio.create_subprocess_exec(sys.executable, "-c", script, *arguments)
    await called(world, "checkpoint", process)
    (working,) = helpers(psutil.Process(core.pid))
    core.kill()
    await core.wait()
    assert world.cuda.states()[process.pid] == 1
    async with asyncio.timeout(20):
        while world.cuda.states()[process.pid] == 1:
            await asyncio.sleep(0.01)
        while working.is_running() and working.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
    assert world.cuda.states()[process.pid] == 2
    assert world.on_cards() == set()


async def test_no_signal_but_kill_ends_a_call(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    await world.parker.lock(process, 1.0)
    world.cuda.say("slow checkpoint 500")
    call = asyncio.create_task(world.parker.checkpoint(process))
    await called(world, "checkpoint", process)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for helper in helpers():
            helper.send_signal(number)
    await call
    assert world.on_cards() == set()


async def test_a_hang_ends_by_the_helpers_own_alarm_when_nobody_waits(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    world.cuda.say("hang lock")
    call = asyncio.create_task(world.parker.lock(process, 0.1))
    await called(world, "lock", process)
    (helper,) = helpers()
    async with asyncio.timeout(20):
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        while helper.is_running() and helper.status() != psutil.STATUS_ZOMBIE:  # 0.1 s for the lock, 1 s for the call, 5 s of grace
            await asyncio.sleep(0.05)
    world.cuda.unsay("hang")
    await world.parker.lock(process, 1.0)


async def test_another_process_of_that_pid_is_not_touched(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    other = Process(process.pid, process.start_ticks + 1)
    assert await world.parker.states([other]) == {}
    with pytest.raises(NotFound):
        await world.parker.lock(other, 1.0)
    assert world.calls() == []


async def test_after_the_end_nothing_is_asked(world: SimulatedWorld) -> None:
    process = world.begin(a=1)
    await world.parker.states([process])
    await world.parker.close()
    assert helpers() == []
    with pytest.raises(Exception, match="closed"):
        await world.parker.states([process])


async def test_a_box_without_the_library_says_so(tmp_path: Path) -> None:
    parker = CudaParker(library_folder=tmp_path)
    try:
        text = await parker.obstacle()
        with pytest.raises(HostUnfit):
            await parker.states([Process(os.getpid(), 1)])
        assert await parker.reaches(Process(os.getpid(), 1), [A]) == frozenset()
    finally:
        await parker.close()
    assert "libcuda.so.1 is not installed" in text
    assert "apt-get install" in text


async def test_the_proof_for_a_real_gpu_says_why_there_is_none_here() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is one here: run tests/gpu/park.py")
    root = Path(__file__).resolve().parents[2]
    run = [sys.executable, str(root / "tests/gpu/park.py")]
    process = await asyncio.create_subprocess_exec(*run, env={**os.environ, "PYTHONPATH": str(root)}, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    found = json.loads(output)
    assert process.returncode == 1
    assert (found["kept"], bool(found["obstacle"])) == (False, True)


@pytest.mark.parametrize(("line", "word"), [("driver 12040", "has CUDA 12.4, 12.8 is needed"), ("error init 999", "CUDA_ERROR_UNKNOWN")])
async def test_why_a_driver_cannot_park(world: SimulatedWorld, line: str, word: str) -> None:
    world.cuda.say(line)
    assert word in await world.parker.obstacle()


@pytest.mark.parametrize(
    ("act", "code", "kind"),
    [
        (Act.LOCK, 600, "gpu_busy"),
        (Act.LOCK, 3, "no_context"),
        (Act.LOCK, 800, "not_permitted"),
        (Act.CHECKPOINT, 2, "host_memory"),
        (Act.RESTORE, 2, "gpu_memory"),
        (Act.RESTORE, 1, "cannot_move"),
        (Act.CHECKPOINT, 801, "cannot_park"),
        (Act.UNLOCK, 401, "cuda_state"),
        (Act.RESTORE, 304, "driver_failed"),
        (Act.CHECKPOINT, 1, "driver_failed"),
    ],
)
def test_what_the_codes_mean(act: Act, code: int, kind: str) -> None:
    error = refusal(act, Answer(1, code=code, name="CUDA_ERROR_X"), 7)
    assert error is not None
    assert error.code == kind
    assert "pid 7" in error.message
    assert error.hint or isinstance(error, NotFound)


def test_the_drivers_structures() -> None:
    """cuda.h: every args structure has 64 bytes, a uuid is 16 bytes as they are written."""
    assert [ctypes.sizeof(kind) for kind in (LockArgs, RestoreArgs, GpuPair)] == [64, 64, 32]
    assert (RestoreArgs.gpuPairs.offset, RestoreArgs.gpuPairsCount.offset, GpuPair.newUuid.offset, LockArgs.timeoutMs.offset) == (0, 8, 16, 0)
    assert uuid_bytes("GPU-00112233-4455-6677-8899-aabbccddeeff") == bytes(range(0, 256, 17))


def test_success_is_no_refusal() -> None:
    assert refusal(Act.LOCK, Answer(1), 7) is None


# --- which cards a container reaches ------------------------------------------------------------------------------------------------------------


def put_card(proc: Path, bus: str, uuid: str, minor: int) -> None:
    folder = proc / "driver/nvidia/gpus" / bus
    folder.mkdir(parents=True)
    (folder / "information").write_text(INFORMATION.format(uuid=uuid, minor=minor))


def test_the_number_of_a_cards_device(tmp_path: Path) -> None:
    put_card(tmp_path, "0000:01:00.0", A, 0)
    put_card(tmp_path, "0000:02:00.0", B, 1)
    assert card_minors(tmp_path / "driver/nvidia/gpus") == {A: 0, B: 1}


def test_only_a_real_device_in_its_own_dev_is_reached(tmp_path: Path) -> None:
    put_card(tmp_path, "0000:01:00.0", A, 0)
    put_card(tmp_path, "0000:02:00.0", B, 1)
    dev = tmp_path / "77/root/dev"
    dev.mkdir(parents=True)
    try:
        os.mknod(dev / "nvidia0", 0o20666, os.makedev(NVIDIA_MAJOR, 0))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    (dev / "nvidia1").symlink_to("nvidia0")
    parker = CudaParker(proc=tmp_path)
    assert parker._openable(Process(77, 1), [A, B]) == {A}


def test_a_dev_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    put_card(tmp_path, "0000:01:00.0", A, 0)
    (tmp_path / "77/root").mkdir(parents=True)
    (tmp_path / "77/root/dev").symlink_to("/dev")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        CudaParker(proc=tmp_path)._openable(Process(77, 1), [A])


# --- memory -------------------------------------------------------------------------------------------------------------------------------------

MEMINFO = "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


def tree(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "files", "own"),
    [
        ("0::/box/in", {"box__memory_dot_max": "1000", "box__memory_dot_current": "700", "box__memory_dot_stat": "inactive_file 200\n"}, 500),
        ("0::/box/in", {"box__memory_dot_max": "max", "box__in__memory_dot_max": "900", "box__in__memory_dot_current": "100"}, 800),
        ("0::/box/in", {"box__memory_dot_max": "500", "box__in__memory_dot_max": "900", "box__in__memory_dot_current": "100"}, 500),
        ("0::/box", {"box__memory_dot_max": "max"}, None),
        ("0::/", {}, None),
        ("4:memory:/b\n0::/", {"memory__b__memory_dot_limit_in_bytes": "900", "memory__b__memory_dot_usage_in_bytes": "400"}, 500),
        ("4:memory:/b\n0::/", {"memory__b__memory_dot_limit_in_bytes": str(2**63 - 4096)}, None),
    ],
)
async def test_how_much_memory_is_left(tmp_path: Path, cgroup: str, files: dict[str, str], own: int | None) -> None:
    tree(tmp_path, meminfo=MEMINFO, **{"7__cgroup": f"{cgroup}\n"})
    tree(tmp_path / "groups", **files)
    found = await KernelMemory(tmp_path, tmp_path / "groups").headroom(Process(7, 1))
    assert found == Headroom(8_000_000 * 1024, own)


async def test_this_box_tells_its_memory() -> None:
    found = await KernelMemory().headroom(Process(os.getpid(), 1))
    assert found.box > 0


async def test_who_is_gone_has_no_memory_to_tell(tmp_path: Path) -> None:
    tree(tmp_path, meminfo=MEMINFO)
    with pytest.raises(Exception, match="cannot be read"):
        await KernelMemory(tmp_path, tmp_path).headroom(Process(7, 1))
