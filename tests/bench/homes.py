"""Homes against restic, both in one run, on one home, into local repositories: `python -m tests.bench.homes [FILES] [MIB]`.

Seconds of the wall clock. nbd's server is a running program, so its start is not counted; restic's is (about 0.7 s of scrypt each, shown apart).
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from nbd.homes.pruner import Pruner
from nbd.homes.repository import Repository
from nbd.homes.restorer import Progress, Restorer
from nbd.homes.retention import Policy
from nbd.homes.snapshotter import Report, Request, Snapshotter
from nbd.homes.verifier import verify
from nbd.host.codec import MasterKeys
from nbd.host.folderstore import FolderStore
from nbd.host.hometree import DescriptorHomes
from nbd.host.homewriter import DescriptorTarget
from nbd.host.ignores import IgnoreRules

KEYS = MasterKeys(bytes(32))


def make_home(home: Path, files: int, mebibytes: int) -> None:
    for number in range(files):
        folder = home / f"d{number % 97}" / f"e{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(2500) + b"text " * 500)
    with (home / "big").open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    os.sync()


class Restic:
    def __init__(self, folder: Path) -> None:
        self.home, self.repository, self.back = folder / "home", folder / "restic", folder / "restic-back"
        self.environment = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(folder / "cache")}

    async def init(self) -> None:
        self("init")

    async def backup(self) -> None:
        self("backup", str(self.home))

    async def restore(self) -> None:
        self("restore", "latest", "--target", str(self.back))

    async def nothing(self) -> None:
        self("cat", "config")

    def __call__(self, *argv: str) -> None:
        subprocess.run(["restic", "-q", "-r", str(self.repository), *argv], env=self.environment, check=True, stdout=subprocess.DEVNULL)


class Nbd:
    def __init__(self, folder: Path) -> None:
        self.home, self.store, self.back = folder / "home", FolderStore(folder / "nbd"), folder / "nbd-back"
        self.report: Report | None = None

    async def init(self) -> None:
        self.repository = await Repository.open(self.store, KEYS)

    async def backup(self, dirty: frozenset[bytes] | None = None) -> None:
        home = await DescriptorHomes().open(str(self.home), None)
        try:
            self.report = await Snapshotter(self.repository, IgnoreRules(), time.time_ns).take(home, Request(dirty=dirty))
        finally:
            await home.close()

    async def restore(self) -> None:
        assert self.report is not None
        self.back.mkdir()
        target, progress = DescriptorTarget(self.back), Progress()
        await Restorer(self.repository).restore(self.report.snapshot, b"", target, progress)
        target.close()
        assert not progress.damaged
        assert not progress.skipped


async def timed(what: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await what()
    return time.perf_counter() - start


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def show(what: str, mine: float, theirs: float, note: str = "") -> None:
    print(f"{what:34} nbd {mine:7.3f} s   restic {theirs:7.3f} s   ratio {mine / theirs:5.2f}   {note}")


async def measure(folder: Path, files: int, mebibytes: int) -> None:
    restic, nbd = Restic(folder), Nbd(folder)
    await restic.init()
    await nbd.init()
    show("(open the repository)", await timed(nbd.init), await timed(restic.nothing))
    show("first snapshot", await timed(nbd.backup), await timed(restic.backup))
    show("nothing changed, all looked at", await timed(nbd.backup), await timed(restic.backup))
    (folder / "home/d3/e3/saved").write_bytes(os.urandom(5000))
    mine = await timed(lambda: nbd.backup(frozenset([b"d3/e3"])))
    show("5 KB file saved, folder known", mine, await timed(restic.backup))
    with (folder / "home/big").open("r+b") as file:
        file.seek((mebibytes // 2) << 20)
        file.write(os.urandom(1024))
    before = size(folder / "nbd"), size(folder / "restic")
    mine, theirs = await timed(lambda: nbd.backup(frozenset([b""]))), await timed(restic.backup)
    after = size(folder / "nbd") - before[0], size(folder / "restic") - before[1]
    show(f"1 KiB changed in {mebibytes} MiB", mine, theirs, f"stored {after[0] >> 10} KiB / {after[1] >> 10} KiB")
    show("restore all", await timed(nbd.restore), await timed(restic.restore))
    show("verify all", await timed(lambda: verify(nbd.store, KEYS)), await timed(lambda: asyncio.to_thread(restic, "check", "--read-data")))
    plan = await Pruner(nbd.repository).plan(Policy(), time.time_ns())
    print(f"plan of a prune: keep {len(plan.keep)}, drop {len(plan.drop)}, rewrite {len(plan.rewrite)} blobs")
    print(f"stored: nbd {size(folder / 'nbd') >> 20} MiB, restic {size(folder / 'restic') >> 20} MiB")
    print(f"nbd's peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


def main() -> None:
    files, mebibytes = (int(word) for word in (sys.argv[1:] or ["5000", "256"]))
    folder = Path(tempfile.mkdtemp(prefix="nbd-bench-"))
    try:
        make_home(folder / "home", files, mebibytes)
        asyncio.run(measure(folder, files, mebibytes))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
