"""A prune as a process of its own, to be killed: drops what the retention does not keep, three times, each a day later, so that things are deleted.

    python -m tests.system.prune_once STORE MASTER_KEY_FILE DAYS     it begins when a line comes on its standard input
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.retention import DAY, Policy
from nbd.host.codec import MasterKeys
from nbd.host.folderstore import FolderStore


async def main(store: str, key: str, days: str) -> None:
    keys = MasterKeys(bytes.fromhex(Path(key).read_text().strip()))
    print("ready", flush=True)
    sys.stdin.readline()
    for later in range(3):
        repository = await Repository.open(FolderStore(Path(store)), keys)
        pruner = Pruner(repository)
        plan = await pruner.plan(Policy(recent=0, hourly=1, daily=1, weekly=0, monthly=0), time.time_ns() + (int(days) + later) * DAY)
        await pruner.execute(plan)
    print(f"deleted {len(plan.delete)}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
