"""How long a freeze and a thaw take, by the memory of the kernel, and how long the same notebook takes to start anew: without what it had in memory.

    python -m tests.bench.freeze [--runs 5] [--level 0] [--note TEXT]

In the box of tests/system/freeze_box.py, as root. The memory is random bytes for a third, zeros written for a third, text for a third.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from nbd.host.freezegroup import FreezeGroup
from nbd.host.freezer import PodmanFreezer, Way
from tests.system.freeze_box import FreezeBox, Lab, lab, opened
from tests.system.real_box import short_folder

from .report import GIB, middle, report, table, verdict

SIZES = (0.1, 1.0, 4.0)
GOAL_SECONDS, GOAL_PER_GIB = 0.5, 1.0
HEAD = ("kernel's memory", "image", "freeze", "written at", "thaw until the editor answers", "goal", "cold start")
FILL = """
import os
part = {part}
much = [bytearray(os.urandom(part)), bytearray(part), b"what a person wrote " * (part // 20)]
for place in range(0, part, 4096):
    much[1][place] = 1
"""


async def cold(box: FreezeBox, runs: int) -> list[float]:
    took = []
    for number in range(runs):
        began = time.perf_counter()
        async with lab(box, f"ncold{number:05d}"):
            took.append(time.perf_counter() - began)
    return took


async def once(one: Lab, freezer: PodmanFreezer) -> tuple[float, float, float]:
    """Seconds of the freeze in all, of the thaw until the editor answers; bytes of the image."""
    began = time.perf_counter()
    image = await freezer.freeze(one.container, one.notebook)
    frozen = time.perf_counter()
    await freezer.thaw(one.container, one.notebook)
    await one.ready()
    thawed = time.perf_counter()
    await freezer.forget(one.notebook)
    return frozen - began, thawed - frozen, image.bytes


async def row(box: FreezeBox, size: float, runs: int, level: int, start: float) -> Sequence[str]:
    freezer = PodmanFreezer(box.podman, box.processes, FreezeGroup(), box.frozen, Way(level, box.enter))
    async with lab(box, memory="12GiB") as one:
        async with one.page() as editor:
            one.kernel = await editor.new_kernel()
        await one.run(FILL.format(part=int(size * GIB / 3)))
        seen = [await once(one, freezer) for _ in range(runs)]
        assert await one.run("print(much[1][0])") == "1"
    freeze, thaw, count = (middle([values[place] for values in seen]) for place in range(3))
    goal = GOAL_SECONDS + GOAL_PER_GIB * size
    said = f"≤ {goal:.1f} s {verdict(thaw, goal)}"
    return (
        f"{size:g} GiB",
        f"{count / GIB:.2f} GiB",
        f"{freeze:.2f} s",
        f"{count / GIB / freeze:.2f} GiB/s",
        f"{thaw:.2f} s",
        said,
        f"{start:.2f} s",
    )


async def measured(runs: int, level: int) -> list[Sequence[str]]:
    with short_folder() as folder:
        async with opened(folder) as box:
            start = middle(await cold(box, runs))
            return [await row(box, size, runs, level, start) for size in SIZES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--level", type=int, default=0, help="of zstd; 0: not packed")
    parser.add_argument("--note", help="also add to RESULTS.md, with this note")
    asked = parser.parse_args()
    rows = asyncio.run(measured(asked.runs, asked.level))
    report(f"Freeze and thaw, packed at level {asked.level}" if asked.level else "Freeze and thaw", asked.note, table(HEAD, rows))


if __name__ == "__main__":
    main()
