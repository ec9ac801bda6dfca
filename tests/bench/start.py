"""A start, from the request to an editor that answers: nbd, its floor, and JupyterHub, in one run: `python -m tests.bench.start`.

Floor: `podman run` with nbd's own flags and a network like nbd's, made beforehand; once more over Podman's API. nbd: a client asks for a
notebook and waits for the event that says RUNNING; its container, network and folder are made anew each time. JupyterHub: DockerSpawner on the
same Podman and image, its REST answer "the server is up". Rounds are interleaved and the order turns; the first round warms up and is not
counted. Needs root, Podman, the jupyter image and npm; the peer's packages are kept in .venv-bench. Adds its tables to RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from nbd.notebooks.model import Phase

from . import daemon
from .daemon import Daemon
from .floor import Api, Command
from .hub import peer
from .report import middle, p, report, table, verdict

SETTLE_SECONDS = 0.3
"""Between a stop and the next start: the kernel takes namespaces and cgroups down a little later."""
RUN, DIRECT, OURS, HUB = "podman run + editor", "Podman's API + editor", "nbd", "JupyterHub + DockerSpawner"
OVER_FLOOR, OVER_HUB, OWN_SECONDS = 1.15, 0.5, 0.050
OWN_PHASES = (Phase.IMAGE, Phase.HOME, Phase.NETWORK, Phase.LEASE)


class Arm(Protocol):
    async def start(self) -> float:
        """Seconds until people could work."""

    async def stop(self) -> None: ...


class Nbd:
    def __init__(self, running: Daemon) -> None:
        self._daemon = running
        self.phases: list[Mapping[str, float]] = []

    async def start(self) -> float:
        async with self._daemon.events() as events:
            began = time.perf_counter()
            await self._daemon.ask("POST", "/v1/notebooks", {"name": "bench"})
            shown = await reached(events, "RUNNING")
            took = time.perf_counter() - began
        phases = shown["phases"]
        self.phases.append({**phases, "rest": took - sum(phases.values())})
        return took

    async def stop(self) -> None:
        async with self._daemon.events() as events:
            await self._daemon.ask("POST", "/v1/notebooks/bench/stop")
            await reached(events, "STOPPED")


async def reached(events: AsyncIterator[dict[str, Any]], state: str) -> dict[str, Any]:
    async for shown in events:
        if shown["state"] == state:
            return shown
        if shown["state"] in ("FAILED", "ERROR"):
            raise SystemExit(f"nbd: {shown['sentence']}")
    raise SystemExit("nbd's events ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without-hub", action="store_true", help="only nbd and its floor")
    parser.add_argument("--note", default="", help="a sentence for RESULTS.md")
    parser.add_argument("--no-record", action="store_const", const=None, dest="note", help="print only")
    arguments = parser.parse_args()
    if arguments.without_hub:
        asyncio.run(measure(arguments))
        return
    peer.build(peer.install())
    try:
        asyncio.run(measure(arguments))
    finally:
        peer.remove_image()


async def measure(arguments: argparse.Namespace) -> None:
    folder = daemon.scratch()
    async with daemon.running(folder) as running, arms(running, folder, hub=not arguments.without_hub) as all_arms:
        seen: dict[str, list[float]] = {name: [] for name in all_arms}
        names = list(all_arms)
        for number in range(arguments.rounds + 1):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seen[name].append(await all_arms[name].start())
                await all_arms[name].stop()
                await asyncio.sleep(SETTLE_SECONDS)
            print(f"{number:3}  " + "  ".join(f"{name} {took[-1]:.3f}" for name, took in seen.items()), file=sys.stderr, flush=True)
        ours, direct = all_arms[OURS], all_arms[DIRECT]
        assert isinstance(ours, Nbd)
        assert isinstance(direct, Api)
        counted = {name: took[1:] for name, took in seen.items()}
        tables = (times(counted), budgets(counted, ours.phases[1:]), shares(ours.phases[1:], direct.steps))
    report("start.py", arguments.note, *tables)


@asynccontextmanager
async def arms(running: Daemon, folder: Path, *, hub: bool) -> AsyncIterator[dict[str, Arm]]:
    async with AsyncExitStack() as stack:
        floors = (Command(running.podman_socket, folder), Api(running.podman_socket, folder))
        for floor in floors:
            stack.push_async_callback(floor.tear_down)
            await floor.set_up()
        found: dict[str, Arm] = {RUN: floors[0], DIRECT: floors[1], OURS: Nbd(running)}
        if hub:
            other = peer.Hub(running.podman_socket, folder)
            await stack.enter_async_context(other.running())
            found[HUB] = other
        yield found


def times(seen: Mapping[str, Sequence[float]]) -> str:
    rows = [[name, f"{middle(took):.3f}", f"{p(took, 95):.3f}", f"{min(took):.3f}", str(len(took))] for name, took in seen.items()]
    return table(["start to editor, s", "median", "p95", "best", "starts"], rows)


def budgets(seen: Mapping[str, Sequence[float]], phases: Sequence[Mapping[str, float]]) -> str:
    ours, floor = middle(seen[OURS]), middle(seen[RUN])
    rows = [ratio_row("nbd : podman run + editor", ours / floor, OVER_FLOOR)]
    if HUB in seen:
        rows.append(ratio_row("nbd : JupyterHub + DockerSpawner", ours / middle(seen[HUB]), OVER_HUB))
    own = middle([sum(phase[name] for name in (*OWN_PHASES, "rest")) for phase in phases])
    for what, share in (("own share: image + home + network + lease + rest", own), ("own share: nbd - podman run", ours - floor)):
        rows.append([what, f"{share * 1000:.0f} ms", f"<= {OWN_SECONDS * 1000:.0f} ms", verdict(share, OWN_SECONDS)])
    over_api = ours - middle(seen[DIRECT])
    rows.append(["own share: nbd - Podman's API", f"{over_api * 1000:.0f} ms", f"<= {OWN_SECONDS * 1000:.0f} ms", verdict(over_api, OWN_SECONDS)])
    return table(["budget", "value", "goal", ""], rows)


def ratio_row(what: str, value: float, goal: float) -> list[str]:
    return [what, f"{value:.2f}", f"<= {goal:g}", verdict(value, goal)]


def shares(phases: Sequence[Mapping[str, float]], steps: Mapping[str, Sequence[float]]) -> str:
    """Where the time goes; `rest` is the client's way in and out, the writes to the state and all between the phases."""
    names = [*(phase.value for phase in Phase), "rest"]
    milliseconds = [f"{middle([phase[name] for phase in phases]) * 1000:.1f}" for name in names]
    direct = [f"{middle(steps[name][1:]) * 1000:.1f}" if name in steps else "" for name in names]
    return table(["median, ms", *names], [["nbd", *milliseconds], ["Podman's API", *direct]])


if __name__ == "__main__":
    main()
