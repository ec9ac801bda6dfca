"""Core with 200 notebooks: how fast its API answers, what it weighs, what it costs at rest: `python -m tests.bench.api`.

The rows are written with nbd's own Database before core starts; a few notebooks really run. Each question has a connection of its own, as
nbctl's have. At rest means: the web program is subscribed and nobody asks anything; the time of children that ended (nft) counts as core's.
Needs root, Podman and the jupyter image. Adds its table to RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nbd.core import prepare
from nbd.host import unixhttp
from nbd.host.database import open_database
from nbd.notebooks.model import Notebook, Phase, Run, State, Want
from nbd.places import Places, under

from . import daemon
from .daemon import Daemon
from .report import middle, p, report, table, verdict
from .start import reached

NOTEBOOKS, RUNNING = 200, 3
CLIENTS = 8
ANSWER_SECONDS, CORE_MB, CPU_PERCENT, NBCTL_SECONDS = 0.020, 90.0, 1.0, 0.120
QUESTIONS = ("/v1/notebooks", "/v1/notebooks/n100", "/v1/notebooks/n100/runs", "/v1/status", "/v1/gpus", "/v1/profiles")
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="questions of each kind")
    parser.add_argument("--rest-seconds", type=float, default=60.0)
    parser.add_argument("--note", default="", help="a sentence for RESULTS.md")
    parser.add_argument("--no-record", action="store_const", const=None, dest="note", help="print only")
    asyncio.run(measure(parser.parse_args()))


async def measure(arguments: argparse.Namespace) -> None:
    folder = daemon.scratch()
    await fill(under(folder))
    async with daemon.running(folder) as core:
        for number in range(RUNNING):
            await up(core, f"n{number:03}")
        answers = [await answer_row(core, path, arguments.rounds, 1) for path in QUESTIONS]
        answers += [await answer_row(core, QUESTIONS[0], arguments.rounds, CLIENTS)]
        weight = [memory_row(core.core_pid), await rest_row(core.core_pid, arguments.rest_seconds), await nbctl_row(core)]
    answers_table = table([f"with {NOTEBOOKS} notebooks, {RUNNING} of them running, ms", "median", "p99", "goal", ""], answers)
    report("api.py", arguments.note, answers_table, table(["core", "value", "goal", ""], weight))


async def fill(places: Places) -> None:
    prepare(places)
    database = open_database(places.state / "state.db")
    owner, now = pwd.getpwuid(os.getuid()).pw_name, time.time()
    phases = {phase.value: 0.1 for phase in Phase}
    for number in range(NOTEBOOKS):
        row = Notebook(f"bench{number:05}", f"n{number:03}", owner, "cpu-small", "jupyterlab", now - number * 60, State.STOPPED, Want.STOPPED)
        await database.save(row)
        await database.save_run(Run(row.id, 1, row.created, row.created + 30, "user", "0" * 64, phases))
    await database.close()


async def up(core: Daemon, name: str) -> None:
    async with core.events() as events:
        await core.ask("POST", "/v1/notebooks", {"name": name})
        await reached(events, "RUNNING")


async def answer_row(core: Daemon, path: str, rounds: int, clients: int) -> list[str]:
    took = [seconds for each in await asyncio.gather(*(asked(core, path, rounds // clients) for _ in range(clients))) for seconds in each]
    slow = p(took, 99)
    judged = (f"<= {ANSWER_SECONDS * 1000:.0f}", verdict(slow, ANSWER_SECONDS)) if clients == 1 else ("", "")
    what = f"GET {path}" + (f", {clients} at once" if clients > 1 else "")
    return [what, f"{middle(took) * 1000:.1f}", f"{slow * 1000:.1f}", *judged]


async def asked(core: Daemon, path: str, rounds: int) -> Sequence[float]:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        answer = await unixhttp.ask(str(core.places.socket), "GET", path)
        took.append(time.perf_counter() - began)
        assert answer.status == 200, answer.body
    return took


def memory_row(pid: int) -> list[str]:
    megabytes = resident_megabytes(pid)
    helpers = sum(resident_megabytes(child) for child in children(pid))
    return ["RSS, MB (its helper for the GPU driver: " + f"{helpers:.0f})", f"{megabytes:.0f}", f"<= {CORE_MB:.0f}", verdict(megabytes, CORE_MB)]


async def rest_row(pid: int, seconds: float) -> list[str]:
    before, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    percent = (cpu_seconds(pid) - before) / (time.monotonic() - began) * 100
    return [f"of one core at rest, {seconds:.0f} s, %", f"{percent:.2f}", f"<= {CPU_PERCENT:g}", verdict(percent, CPU_PERCENT)]


async def nbctl_row(core: Daemon) -> list[str]:
    command = (str(Path(sys.executable).with_name("nbctl")), "--socket", str(core.places.socket), "ls")
    took = []
    for _ in range(20):
        began = time.perf_counter()
        await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    usual = middle(took)
    return ["nbctl ls, from the shell and back, ms", f"{usual * 1000:.0f}", f"<= {NBCTL_SECONDS * 1000:.0f}", verdict(usual, NBCTL_SECONDS)]


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """Its own, and that of its children: those that ended, and those that are there."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK + sum(cpu_seconds(child) for child in children(pid))


if __name__ == "__main__":
    main()
