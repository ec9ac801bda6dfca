"""Takes snapshots of a home that is under attack: attack_reader.py HOME STORE OWNER SECONDS. Prints how many there are; an
empty OWNER is anybody.

A process of its own, so that it can be root, or a user with CAP_DAC_READ_SEARCH, or in another mount namespace. It ends after so many seconds and
when it has stored what is harmless, too: who never gets anything read has no proof that nothing leaks.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.snapshotter import Request, Snapshotter
from nbd.host.folderstore import FolderStore
from nbd.host.ignores import IgnoreRules

from .world import KEYS, opened

HARMLESS = b"harmless"
LONGEST_SECONDS = 120.0


async def main(home: Path, store: Path, owner: int | None, seconds: float) -> None:
    repository = await Repository.open(FolderStore(store), KEYS)
    harmless, began, taken = repository.codec.identify(b"d", HARMLESS), time.monotonic(), 0
    while time.monotonic() < began + seconds or repository.find(harmless) is None:
        assert time.monotonic() < began + LONGEST_SECONDS + seconds, "nothing of the home could be read"
        async with opened(home, owner) as held:
            await Snapshotter(repository, IgnoreRules(), time.time_ns).take(held, Request(confirmed=True))
        taken += 1
    print(taken)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3] else None, float(sys.argv[4])))
