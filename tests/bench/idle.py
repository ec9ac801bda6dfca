"""What it costs to know who works: looks at 10, 50 and 200 notebooks.

    python -m tests.bench.idle [--note "on an idle box"]

Each notebook has an init, an editor and four more processes, control groups and a network namespace of its own, and an editor that answers; the box
has eight simulated cards. Time is the processor's, of this process and its helper for the driver, in per cent of one core when all is looked at every
ten seconds. Editors are asked here at every look; nbd asks only those about which the answer may matter.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from nbd.host.gauges import KernelGauges
from nbd.host.gpuwork import NvmlWork
from nbd.host.idlerecords import RecordFiles
from nbd.host.jupyter import JupyterStates
from nbd.host.nvml import NvmlCards
from nbd.host.simulated.simulate import compile_library, write_cards
from nbd.idle.ports import Subject
from tests.services.idle_world import IdleWorld

from .api import children, cpu_seconds
from .daemon import scratch
from .idleworld import cards, editors, notebooks
from .report import middle, report, table, verdict

COUNTS = (10, 50, 200)
PERIOD_SECONDS = 10.0
MOST_PERCENT = 1.0
ROUNDS = 20


async def sampling(count: int, folder: Path) -> list[str]:
    folder.mkdir()
    with notebooks(count, folder) as subjects, editors(count, folder):
        library = compile_library(folder / "library")
        write_cards(folder / "box", *cards([subject.pid for subject in subjects]))
        driver = NvmlCards(library_folder=library.parent, simulated_box=folder / "box")
        states, gauges, work = JupyterStates(), KernelGauges(), NvmlWork(driver)
        try:
            parts = [
                await cost(lambda: whole(gauges, subjects)),
                await cost(work.look),
                await cost(lambda: asyncio.gather(*(states.look(one.place, one.editor) for one in subjects))),
            ]
        finally:
            await states.close()
            await driver.close()
    total = sum(percent for percent, _ in parts)
    goal = [f"<= {MOST_PERCENT:g}", verdict(total, MOST_PERCENT)] if count == max(COUNTS) else ["", ""]
    return [str(count), *(f"{percent:.2f} ({took * 1000:.0f})" for percent, took in parts), f"{total:.2f}", *goal]


async def judging(count: int, folder: Path) -> list[str]:
    """All that is made of a look: sample, verdict, decision, a line of the diary on the disk. The looks themselves are another table's."""
    world = IdleWorld()
    world.records = RecordFiles(folder / f"idle-{count}")  # type: ignore[assignment]
    world.build()
    for number in range(count):
        world.put(f"n{number}", cards=())
    await world.passes(60)
    before, began = time.process_time(), time.perf_counter()
    await world.passes(ROUNDS * PERIOD_SECONDS)
    spent, took = time.process_time() - before, time.perf_counter() - began
    percent = spent / ROUNDS / PERIOD_SECONDS * 100
    return [str(count), f"{percent:.2f}", f"{count * ROUNDS / took:,.0f}", f"{1e6 * took / count / ROUNDS:.0f}"]


async def whole(gauges: KernelGauges, subjects: Sequence[Subject]) -> None:
    """What was not read costs nothing: all of it must be there."""
    found = await gauges.counters(subjects)
    known = [one for one in found.values() if None not in (one.cpu_seconds, one.editor_cpu_seconds, one.disk_bytes, one.network_bytes, one.pids)]
    if len(known) != len(subjects):
        raise SystemExit(f"only {len(known)} of {len(subjects)} notebooks could be read: {next(iter(found.values()), None)}")


async def cost(look: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """In per cent of a core when done once a period, and the middle one's seconds by the wall's clock."""
    for _ in range(2):
        await look()
    took, before, helper = [], time.process_time(), of_helper()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await look()
        took.append(time.perf_counter() - began)
    spent = time.process_time() - before + of_helper() - helper
    return spent / ROUNDS / PERIOD_SECONDS * 100, middle(took)


def of_helper() -> float:
    return sum(cpu_seconds(pid) for pid in children(own()) if b"nvml_helper" in Path(f"/proc/{pid}/cmdline").read_bytes())


def own() -> int:
    return int(Path("/proc/self").readlink().name)


async def measure(note: str | None) -> None:
    folder = scratch()
    try:
        rows = [await sampling(count, folder / str(count)) for count in COUNTS]
    finally:
        shutil.rmtree(folder)
    folder.mkdir()
    try:
        judged = [await judging(count, folder) for count in COUNTS]
    finally:
        shutil.rmtree(folder)
    head = ["notebooks; % of a core (ms a look)", "cgroups, networks", "GPUs", "all editors", "together", "goal", ""]
    more = ["notebooks", "judging and recording, % of a core", "verdicts a second", "microseconds each"]
    report("idle.py", note, table(head, rows), table(more, judged))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--note")
    uvloop.run(measure(parser.parse_args().note))


if __name__ == "__main__":
    main()
