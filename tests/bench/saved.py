"""A file saved in a home of many: until it is durable in the store. `python -m tests.bench.saved [--files N] [--saves N] [--note TEXT]`, as root.

The real `nbd sync`, asked as core asks it, with a local store; the moment in which a save is durable is seen at the store's pointer, which is
replaced when all that it names is on the disk. Then the same in one process, over a store that counts, for the requests. Last, what sync does while
nothing changes in the home, on a disk on which others go on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from nbd.homes.keeping.guardian import Guardian, Means
from nbd.homes.model import HomeRequest
from nbd.homes.stores.traffic import Counts
from nbd.homes.vault import Vault
from nbd.host.codec import MasterKeys
from nbd.host.counting import CountingStore
from nbd.host.eventgroup import EventGroup
from nbd.host.folderstore import FolderStore
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from nbd.host.syncclient import SyncHomes
from nbd.messages import HomeView
from nbd.notebooks.model import Occupant
from nbd.places import Places, under
from nbd.wire import load
from tests.contracts.change_sources import fanotify_source

from .report import GIB, middle, p, report, table, until, verdict

PER_FOLDER = 80
SIZE = 5 * 1024
GOAL_SECONDS, GOAL_REQUESTS = 0.3, 4
POLL_SECONDS = 0.001
IDLE_SECONDS = 20.0


@dataclass(frozen=True)
class Saves:
    seconds: list[float]
    cpu: list[float]
    source: str


def furnish(home: Path, files: int) -> None:
    dice = random.Random(1)
    for number in range(files):
        folder = home / f"project{number // PER_FOLDER % 16}" / f"run{number // PER_FOLDER}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}.py").write_bytes(dice.randbytes(2500) + b"text " * 500)
    os.sync()


class Sync:
    """The real program, and core's side of it."""

    def __init__(self, places: Places, home: Path, events: str) -> None:
        self.places, self.home, self.who = places, home, Occupant("bench", os.getuid(), os.getgid(), str(home))
        self.homes = SyncHomes(places.sync_socket, places.restore_socket, EventGroup(places.events_socket, wanted=events == "auto"))

    async def view(self) -> HomeView:
        return load(HomeView, await self.homes.ask("status", HomeRequest("bench", os.getuid(), str(self.home))))

    async def settled(self) -> bool:
        view = await self.view()
        return view.proved is not None and view.unsaved is None

    @property
    def pointer(self) -> Path:
        return self.places.sync_state / "store/bench/latest"


@asynccontextmanager
async def sync(folder: Path, home: Path, events: str) -> AsyncIterator[tuple[Sync, psutil.Process]]:
    argv = [sys.executable, "-m", "nbd", "sync", "--dir", str(folder), "--set", f'homes.events="{events}"', "--set", 'homes.look_every="60s"']
    with (folder / "out").open("ab") as out:
        process = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=out)
    asked = Sync(under(folder), home, events)
    try:
        await until("sync answers", lambda: is_up(asked))
        await asked.homes.watch([asked.who])
        await until("the first snapshot is taken", asked.settled)
        yield asked, psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def is_up(asked: Sync) -> bool:
    return await asked.homes.health() == "ok"


async def saves(asked: Sync, process: psutil.Process, count: int) -> Saves:
    dice, seconds, cpu = random.Random(2), list[float](), list[float]()
    folders = sorted(asked.home.glob("project*/run*"))
    for number in range(count):
        await until("all is saved", asked.settled)
        await asyncio.sleep(dice.uniform(0.3, 0.6))
        before, used = version(asked.pointer), cpu_of(process)
        with (dice.choice(folders) / f"saved{number}.ipynb").open("wb") as file:
            file.write(os.urandom(SIZE))
        began = time.perf_counter()
        while version(asked.pointer) == before:
            await asyncio.sleep(POLL_SECONDS)
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)
        cpu.append(cpu_of(process) - used)
    return Saves(seconds, cpu, (await asked.view()).source)


def version(pointer: Path) -> tuple[int, int]:
    status = pointer.stat()
    return status.st_ino, status.st_mtime_ns


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def requests(folder: Path, home: Path, count: int) -> tuple[list[int], Counts]:
    """So many for each save, and what they were."""
    counts: Counts = {}
    keys = MasterKeys(bytes(32))
    vault = Vault("local", lambda _: CountingStore(FolderStore(folder / "store"), counts), keys, SequenceFile(folder / "seen.json"))
    request = HomeRequest("bench", os.getuid(), str(home))
    async with fanotify_source(folder, request) as source:
        guardian = Guardian(request, Means(vault, DescriptorHomes(), IgnoreRules, time.time_ns, 60.0, sources=[source]))

        async def saved() -> bool:
            return guardian.work.all_saved()

        guardian.watch()
        await until("the first snapshot is taken", saved)
        counts.clear()
        found, before = list[int](), 0
        for number in range(count):
            (home / f"project1/counted{number}").write_bytes(os.urandom(SIZE))
            await until("it is saved", saved)
            now = sum(one.requests for one in counts.values())
            found.append(now - before)
            before = now
        await guardian.close()
    return found, counts


async def idle(process: psutil.Process, folder: Path) -> tuple[float, float]:
    """CPU seconds a second, while nothing happens, and while somebody writes elsewhere on the same disk without a pause."""
    used = cpu_of(process)
    await asyncio.sleep(IDLE_SECONDS)
    still = (cpu_of(process) - used) / IDLE_SECONDS
    used, end = cpu_of(process), time.monotonic() + IDLE_SECONDS / 2
    number = 0
    while time.monotonic() < end:
        (folder / f"elsewhere{number % 50}").mkdir(exist_ok=True)
        (folder / f"elsewhere{number % 50}/log").write_text(f"{number}")
        number += 1
        await asyncio.sleep(POLL_SECONDS)
    return still, (cpu_of(process) - used) / (IDLE_SECONDS / 2)


async def measure(folder: Path, files: int, count: int) -> list[str]:
    home = folder / "home"
    furnish(home, files)
    rows = []
    for events in ("auto", "inotify"):
        (folder / events).mkdir()
        async with sync(folder / events, home, events) as (asked, process):
            found = await saves(asked, process, count)
            still, noisy = await idle(process, folder)
            memory = process.memory_info().rss / GIB * 1024
        half, most = middle(found.seconds), p(found.seconds, 95)
        rows.append([
            found.source, f"{half:.3f}", f"{most:.3f}", f"{max(found.seconds):.3f}", f"{GOAL_SECONDS}", verdict(most, GOAL_SECONDS),
            f"{1000 * middle(found.cpu):.0f}", f"{100 * still:.2f} %", f"{100 * noisy:.2f} %", f"{memory:.0f}",
        ])  # fmt: skip
    head = ["told by", "median s", "p95 s", "worst s", "goal s", "p95", "CPU ms each", "core, nothing changes", "core, others write", "RSS MiB"]
    (folder / "counted").mkdir()
    asked_for, counts = await requests(folder / "counted", home, count)
    kinds = ", ".join(f"{what} {one.requests / count:.1f}" for what, one in sorted(counts.items()) if one.requests)
    most_requests = p(asked_for, 95)
    second = [[f"{middle(asked_for):.0f}", f"{most_requests}", f"{GOAL_REQUESTS}", verdict(most_requests, GOAL_REQUESTS), kinds]]
    return [table(head, rows), table(["requests a save, median", "p95", "goal", "", "a save on average"], second)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--saves", type=int, default=30)
    parser.add_argument("--note")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nbd-saved-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        tables = asyncio.run(measure(folder, args.files, args.saves))
    finally:
        shutil.rmtree(folder)
    report(f"A 5 KB file saved in a home of {args.files:,} files, {args.saves} times", args.note, *tables)


if __name__ == "__main__":
    main()
