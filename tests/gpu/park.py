"""Proves on a real GPU what nbd's parking promises, with nbd's own adapter (`CudaParker`), and prints what it measured as one JSON object.

    PYTHONPATH=. python3 tests/gpu/park.py [--gib 8] [--steps 20] [--cycles 3] [--kind torch|driver] [--all]

A worker trains; it is parked in the middle, the card's memory is seen to be free, it is restored, and its losses are those of a worker that was never
parked. `--all` also tries what is said to be impossible (see README.md), each on a worker of its own. Ends with 1 when a promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from nbd.errors import NbdError
from nbd.host.cudapark import CudaParker
from nbd.host.processes import KernelProcesses
from nbd.notebooks.ports import Process

WORKER = Path(__file__).with_name("worker.py")
MIB, GIB = 1 << 20, 1 << 30
FREED_MIB = 64
"""So much less than before may stay used on the card, for what the driver keeps of its own."""


class Worker:
    def __init__(self, kind: str, gib: float) -> None:
        command = [sys.executable, str(WORKER), kind, str(gib)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def step(self) -> float:
        self.begin()
        return self.result()

    def begin(self) -> None:
        """Ask for a step and do not wait: while it is parked it does not come."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with {self._process.wait()}")
        return float(line.split()[1])

    @property
    def process(self) -> Process:
        ticks = KernelProcesses().start_ticks(self.pid)
        assert ticks is not None, "the worker is gone"
        return Process(self.pid, ticks)

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def smi(*fields: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    first = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()[0]
    return [field.strip() for field in first.split(",")]


def used_mib() -> int:
    return int(smi("memory.used")[0])


def host_memory(pid: int) -> dict[str, Any]:
    """Where the card's memory goes: into the process, into its control group, or only out of what the box has free."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    uvm = [line for line in maps if "/dev/nvidia-uvm" in line]
    found: dict[str, Any] = {"rss_mib": int(status["VmRSS"].split()[0]) // 1024, "available_mib": int(available.split()[1]) // 1024}
    return {**found, "cgroup_mib": cgroup_mib(pid), "uvm_mappings": len(uvm), "uvm_mapped_mib": sum(map(span, uvm)) // MIB}


def span(line: str) -> int:
    first, last = (int(word, 16) for word in line.split(" ", 1)[0].split("-"))
    return last - first


def cgroup_mib(pid: int) -> int | None:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for root, name in (("/sys/fs/cgroup", "memory.current"), ("/sys/fs/cgroup/memory", "memory.usage_in_bytes")):
            file = Path(root) / path.lstrip("/") / name
            if ("memory" in names or not names) and file.exists():
                return int(file.read_text()) // MIB
    return None


async def timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return round(time.perf_counter() - began, 3)


async def cycle(parker: CudaParker, worker: Worker, gib: float) -> dict[str, Any]:
    """Park, look, bring back. While it is parked, a step is asked for: it has to wait, and to come afterwards."""
    size, process = int(gib * GIB), worker.process
    before, memory_before = used_mib(), host_memory(worker.pid)
    seconds = {"lock": await timed(parker.lock(process, 20.0)), "checkpoint": await timed(parker.checkpoint(process, size))}
    parked, memory_parked = used_mib(), host_memory(worker.pid)
    states = [str(state) for state in (await parker.states([process])).values()]
    worker.begin()
    await asyncio.sleep(0.5)
    seconds |= {"restore": await timed(parker.restore(process, {}, size)), "unlock": await timed(parker.unlock(process))}
    restored = used_mib()
    value = await asyncio.to_thread(worker.result)
    used = {"before": before, "parked": parked, "restored": restored}
    return {"seconds": seconds, "used_mib": used, "states": states, "host": {"before": memory_before, "parked": memory_parked}, "value": value}


async def proof(parker: CudaParker, options: argparse.Namespace) -> dict[str, Any]:
    empty = used_mib()
    reference = Worker(options.kind, options.gib)
    count = options.steps * 2 + options.cycles
    wanted = [reference.step() for _ in range(count)]
    reference.end()
    worker = Worker(options.kind, options.gib)
    try:
        got, cycles = [worker.step() for _ in range(options.steps)], []
        for _ in range(options.cycles):
            cycles.append(await cycle(parker, worker, options.gib))
            got.append(cycles[-1]["value"])
        got += [worker.step() for _ in range(options.steps)]
    finally:
        worker.end()
    freed = all(one["used_mib"]["parked"] <= empty + FREED_MIB for one in cycles)
    return {"empty_mib": empty, "cycles": cycles, "steps": count, "same_losses": got == wanted, "last_loss": got[-1], "memory_was_freed": freed}


async def attempt(parker: CudaParker, kind: str) -> dict[str, Any]:
    """What a driver does with a process of that kind: each step's answer, and whether the process outlived it."""
    worker = Worker(kind, 0.1)
    try:
        worker.step()
        process = worker.process
        answers: dict[str, Any] = {"memory": host_memory(worker.pid), "state": await told(lambda: parker.states([process]))}
        answers["lock"] = await told(lambda: parker.lock(process, 5.0))
        answers["checkpoint"] = await told(lambda: parker.checkpoint(process))
        answers["after"] = await told(lambda: parker.states([process]))
        answers["restore"] = await told(lambda: parker.restore(process, {}))
        answers["unlock"] = await told(lambda: parker.unlock(process))
        answers["alive"] = worker.alive()
        answers["goes_on"] = await told(lambda: asyncio.wait_for(asyncio.to_thread(worker.step), 10.0)) if worker.alive() else "no"
        return answers
    finally:
        worker.end()


async def full_card(parker: CudaParker) -> dict[str, Any]:
    """A restore without room, and another one when there is room again: https://github.com/NVIDIA/cuda-checkpoint/issues/44."""
    worker, answers = Worker("driver", 2.0), dict[str, Any]()
    hog: Worker | None = None
    try:
        worker.step()
        await parker.lock(worker.process, 5.0)
        await parker.checkpoint(worker.process)
        total, used = (int(word) for word in smi("memory.total", "memory.used"))
        hog = Worker("driver", (total - used - 1500) / 1024)
        hog.step()
        answers["without_room"] = await told(lambda: parker.restore(worker.process, {}))
        answers["state"] = await told(lambda: parker.states([worker.process]))
        hog.end()
        answers["with_room"] = await told(lambda: parker.restore(worker.process, {}))
        answers["unlock"] = await told(lambda: parker.unlock(worker.process))
        answers["goes_on"] = await told(lambda: asyncio.wait_for(asyncio.to_thread(worker.step), 10.0)) if worker.alive() else "no"
        return answers
    finally:
        worker.end()
        if hog and hog.alive():
            hog.end()


async def told(call: Callable[[], Awaitable[object]]) -> str:
    try:
        return str(await call())
    except NbdError as error:
        return f"{error.code}: {error.message}"
    except (TimeoutError, RuntimeError, OSError) as error:
        return f"{type(error).__name__}: {error}"


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    parker = CudaParker()
    try:
        if obstacle := await parker.obstacle():
            return {"obstacle": obstacle, "kept": False}
        name, driver, uuid = smi("name", "driver_version", "uuid")
        found: dict[str, Any] = {"card": name, "driver": driver, "uuid": uuid, "kind": options.kind, "gib": options.gib}
        found["proof"] = await proof(parker, options)
        if options.all:
            found["attempts"] = {kind: await attempt(parker, kind) for kind in ("idle", "managed")}
            found["full_card"] = await full_card(parker)
        return {**found, "kept": found["proof"]["same_losses"] and found["proof"]["memory_was_freed"]}
    finally:
        await parker.close()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Park a training on a real GPU and bring it back.")
    parser.add_argument("--gib", type=float, default=4.0, help="ballast on the card beside the model")
    parser.add_argument("--steps", type=int, default=20, help="before the first park and after the last one")
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--kind", choices=("torch", "driver"), default="torch" if importlib.util.find_spec("torch") else "driver")
    parser.add_argument("--all", action="store_true", help="also what is said to be impossible")
    found = asyncio.run(measure(parser.parse_args(arguments)))
    print(json.dumps(found, indent=2))
    return 0 if found["kept"] else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
