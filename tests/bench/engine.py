"""nbd's engine as a program of its own, so that its processor time and memory can be told from the benchmark's: `python -m tests.bench.engine`.

One JSON object a line in, one out. It keeps a home as `nbd sync` does: looker, copies and spool on the disk, requests counted; a restore is
written by the child that is the person, over its socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nbd.config import HomeSettings
from nbd.homes.keeping.guardian import Guardian, Means
from nbd.homes.model import HomeRequest
from nbd.homes.snapshots.restorer import Progress, Restorer
from nbd.homes.snapshots.snapshotter import Request
from nbd.homes.stores.traffic import Counts
from nbd.host import frames, memory, restorestart
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.inotify import InotifySource
from nbd.host.remotetarget import RemoteTarget
from nbd.host.vaults import open_vault
from nbd.notebooks.model import Occupant

MANY = 1_000_000_000.0
"""Seconds: looks are made when they are asked for."""


class Engine:
    def __init__(self, home: Path, state: Path, store: str, secrets: str | None) -> None:
        state.mkdir(exist_ok=True)
        opened = open_vault(HomeSettings(store=store, store_secrets=secrets), state)
        self._vault, self._counts = opened.vault, opened.stores.counts
        self._home = HomeRequest("ada", home.stat().st_uid, str(home))
        means = Means(self._vault, DescriptorHomes(), IgnoreRules, time.time_ns, MANY, MANY, (InotifySource(),))
        self._guardian = Guardian(self._home, means)

    async def do(self, words: dict[str, Any]) -> dict[str, Any]:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "backup": self._backup, "restore": lambda: self._restore(words["path"].encode(), Path(words["to"])),
            "watch": self._watch, "save": lambda: self._save(Path(words["path"])),
        }  # fmt: skip
        Path("/proc/self/clear_refs").write_text("5")  # The peak of memory begins anew.
        began, cpu, requests = time.perf_counter(), processor(), total(self._counts)
        await calls[words["do"]]()
        seconds = time.perf_counter() - began
        await memory.give_back()
        return {"seconds": seconds, "cpu": processor() - cpu, "rss": peak(), "requests": total(self._counts) - requests}

    async def close(self) -> None:
        await self._guardian.close()

    async def _backup(self) -> None:
        await self._guardian.work.looker.look(Request(), time.time_ns)

    async def _watch(self) -> None:
        self._guardian.watch()
        while self._guardian.work.unsaved() or self._guardian.known.protected is None:
            await asyncio.sleep(0.01)

    async def _save(self, path: Path) -> None:
        """Until what tells of changes told of this one, and it is in the store."""
        before = self._guardian.known.snapshot
        path.write_bytes(os.urandom(5000))
        while self._guardian.known.snapshot is before:
            await asyncio.sleep(0.002)

    async def _restore(self, path: bytes, to: Path) -> None:
        repository = await self._guardian.work.looker.repository()
        newest = repository.root.newest()
        assert newest
        mine, theirs = socket.socketpair()
        who = Occupant("root", os.geteuid(), os.getegid(), "/root")
        child = await restorestart.start(who, str(to), theirs)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=mine)
        progress = Progress()
        assert await frames.receive(reader, 0) is not None
        await Restorer(repository).restore(await repository.snapshot(newest), path, RemoteTarget(reader, writer), progress)
        writer.close()
        await child.wait()
        assert (progress.damaged, progress.skipped) == ([], [])


def processor() -> float:
    """Seconds of this process and of the children that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def peak() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def total(counts: Counts) -> int:
    return sum(one.requests for one in counts.values())


async def main() -> None:
    memory.keep_buffers()
    home, state, store, secrets = sys.argv[1:5]
    engine = Engine(Path(home), Path(state), store, secrets or None)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await engine.do(json.loads(line))), flush=True)
    finally:
        await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
