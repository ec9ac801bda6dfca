"""Proves on a real GPU that nbd sees who works on it, with nbd's own helper (`NvmlCards`), and prints each look as one JSON line.

    PYTHONPATH=. python3 tests/gpu/work.py [--gib 1] [--kind torch|driver] [--seconds 10]

A worker holds memory and does nothing, then works, then does nothing again. Ends with 1 when a look said otherwise: work that is not seen gets a
notebook parked, and rest that is taken for work keeps a card for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import threading
import time
from dataclasses import asdict

from nbd.host.nvml import NvmlCards
from nbd.idle.model import GpuUse
from tests.gpu.park import Worker

EVERY_SECONDS = 1.0
SETTLE_LOOKS = 3
"""The driver's figures come a moment late: so many looks after a change are shown and not judged."""


async def watched(cards: NvmlCards, phase: str, pid: int, seconds: float) -> list[GpuUse | None]:
    """What each look said of the worker; None where it was not named."""
    found: list[GpuUse | None] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        look = await cards.work()
        took = time.monotonic() - began
        mine = next((use for use in look.processes if use.pid == pid), None)
        print(json.dumps({"phase": phase, "ms": round(took * 1000, 1), "worker": mine and asdict(mine), "look": asdict(look)}), flush=True)
        found.append(mine)
        await asyncio.sleep(EVERY_SECONDS)
    return found[SETTLE_LOOKS:]


def keep_working(worker: Worker, stop: threading.Event) -> None:
    while not stop.is_set():
        worker.step()


async def prove(kind: str, gib: float, seconds: float) -> list[str]:
    """What was wrong; empty when all was as it must be."""
    cards, worker, stop = NvmlCards(), Worker(kind, gib), threading.Event()
    try:
        worker.step()
        before = await watched(cards, "holds memory", worker.pid, seconds)
        working = threading.Thread(target=keep_working, args=(worker, stop))
        working.start()
        busy = await watched(cards, "works", worker.pid, seconds)
        stop.set()
        working.join()
        after = await watched(cards, "rests", worker.pid, seconds)
    finally:
        stop.set()
        worker.end()
        await cards.close()
    phases = {"holds memory": before, "works": busy, "rests": after}
    wrong = [f"{phase}: not named, or its share is not known" for phase, uses in phases.items() if unknown(uses)]
    if not all(use and use.share for use in busy):
        wrong.append("works: a look saw no work")
    if any(use and use.share for use in (*before, *after)):
        wrong.append("it rests, and is taken to work")
    if not all(use and use.memory_bytes for use in before):
        wrong.append("the memory that it holds is not told")
    return wrong


def unknown(uses: list[GpuUse | None]) -> bool:
    return not uses or any(use is None or use.share is None for use in uses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="torch" if importlib.util.find_spec("torch") else "driver", choices=("torch", "driver"))
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    wrong = asyncio.run(prove(chosen.kind, chosen.gib, chosen.seconds))
    print(json.dumps({"wrong": wrong}))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
