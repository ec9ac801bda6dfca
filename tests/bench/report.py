"""What the benchmarks share: where their tables go, on which machine they were made, a free port, waiting for what must come."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
GIB = 1024**3
PATIENCE_SECONDS = 30.0


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def report(title: str, note: str | None, *tables: str) -> None:
    """Print; with a note, even an empty one, add to RESULTS.md too."""
    text = f"\n## {title}, {time.strftime('%Y-%m-%d %H:%M')}\n\n{machine()}{' ' + note if note else ''}\n\n" + "\n".join(tables)
    print(text)
    if note is None:
        return
    with RESULTS.open("a") as results:
        results.write(text)


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    podman = subprocess.run(["podman", "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    load = os.getloadavg()[0]
    parts = f"Linux {platform.release()}, Python {platform.python_version()}, Podman {podman}, load {load:.1f} at the end"
    return f"{os.cpu_count()} cores {platform.machine()}, {memory:.0f} GiB, {parts}."


def p(values: Sequence[float], percent: int) -> float:
    """The percentile, by the nearest rank: one of the values that were seen."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def verdict(value: float, goal: float) -> str:
    return "met" if value <= goal else "MISSED"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(what: str, true: Callable[[], Awaitable[bool]], every_seconds: float = 0.05) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await true():
        if time.monotonic() > deadline:
            raise SystemExit(f"the benchmark gave up waiting: {what}")
        await asyncio.sleep(every_seconds)
