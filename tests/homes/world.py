"""A home, a store and what is done with them, on the real file system; and a tree as a value, to compare."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nbd.homes.ports import ObjectStore, OpenHome
from nbd.homes.repository import Repository
from nbd.homes.restorer import Progress, Restorer
from nbd.homes.snapshotter import Report, Request, Snapshotter
from nbd.host.codec import MasterKeys
from nbd.host.folderstore import FolderStore
from nbd.host.hometree import DescriptorHomes
from nbd.host.homewriter import DescriptorTarget
from nbd.host.ignores import IgnoreRules

SOAK = int(os.environ.get("NBD_SOAK", "1"))
"""How many times the counts of CI: `make soak` sets it to 10."""
MASTER = bytes(range(32))
KEYS = MasterKeys(MASTER)
Tree = dict[bytes, tuple[object, ...]]


@asynccontextmanager
async def opened(home: Path, owner: int | None = None) -> AsyncIterator[OpenHome]:
    held = await DescriptorHomes().open(str(home), owner)
    try:
        yield held
    finally:
        await held.close()


@dataclass
class World:
    home: Path
    store: ObjectStore
    repository: Repository

    @classmethod
    async def make(cls, folder: Path, store: ObjectStore | None = None) -> World:
        home = folder / "home"
        home.mkdir(exist_ok=True)
        held = store or FolderStore(folder / "store")
        return cls(home, held, await Repository.open(held, KEYS))

    async def snap(self, *dirty: bytes, event: str = "save", name: str = "", confirmed: bool = False, ignore: str = "") -> Report:
        request = Request(event, name, frozenset(dirty) if dirty else None, confirmed)
        async with opened(self.home) as home:
            return await Snapshotter(self.repository, IgnoreRules(ignore), time.time_ns).take(home, request)

    async def restore(self, report: Report, target: Path, path: bytes = b"") -> Progress:
        return await restored(self.repository, report, target, path)


async def restored(repository: Repository, report: Report, target: Path, path: bytes = b"") -> Progress:
    target.mkdir(exist_ok=True)
    progress, writer = Progress(), DescriptorTarget(target)
    try:
        await Restorer(repository).restore(report.snapshot, path, writer, progress)
    finally:
        writer.close()
    return progress


def look(root: Path) -> Tree:
    """All that a person can tell apart: kinds, bytes, modes, times, attributes, links, and which names are one file."""
    top = os.fsencode(root)
    paths = [top] + [os.path.join(folder, name) for folder, folders, files in os.walk(top) for name in (*folders, *files)]  # noqa: PTH118
    names: dict[int, bytes] = {}
    for path in sorted(paths, reverse=True):
        names[os.lstat(path).st_ino] = os.path.relpath(path, top)
    return {os.path.relpath(path, top): facts(path, names) for path in paths}


def facts(path: bytes, names: dict[int, bytes]) -> tuple[object, ...]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    common = (kind, status.st_mtime_ns, status.st_uid, status.st_gid)
    if stat.S_ISLNK(kind):
        return (*common, os.readlink(path))  # noqa: PTH115
    attributes = tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)) if name.startswith(("user.", "system.posix_acl")))
    if not stat.S_ISREG(kind):
        return (*common, stat.S_IMODE(status.st_mode), attributes)
    twin = names[status.st_ino] if status.st_nlink > 1 else b""
    return (*common, stat.S_IMODE(status.st_mode), attributes, Path(os.fsdecode(path)).read_bytes(), twin)
