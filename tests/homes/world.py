"""A home, a store and what is done with them, on the real file system; and a tree as a value, to compare."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nbd.homes.ports import ObjectStore, OpenHome
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.restorer import Progress, Restorer
from nbd.homes.snapshots.snapshotter import Report, Request, Snapshotter
from nbd.host.codec import MasterKeys
from nbd.host.folderstore import FolderStore
from nbd.host.hometree import DescriptorHomes
from nbd.host.homewriter import DescriptorTarget
from nbd.host.ignores import IgnoreRules

T = TypeVar("T")
SOAK = int(os.environ.get("NBD_SOAK", "1"))
"""How many times the counts of CI: `make soak` sets it to 10."""
MASTER = bytes(range(32))
KEYS = MasterKeys(MASTER)
Tree = dict[bytes, tuple[Any, ...]]


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


def run_now(_: ThreadPoolExecutor, call: Callable[..., T], /, *words: Any, **named: Any) -> Future[T]:
    done: Future[T] = Future()
    try:
        done.set_result(call(*words, **named))
    except BaseException as error:
        done.set_exception(error)
    return done


def without_threads() -> None:
    """From here on `asyncio.to_thread` is a plain call: of ten thousand small ones, the threads would cost most."""
    asyncio.get_running_loop().set_default_executor(type("Inline", (ThreadPoolExecutor,), {"submit": run_now})())


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A new folder that costs no disk, where this box has one that takes attributes and access lists."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="nbd-home-", dir=shared if shared.is_dir() else otherwise))
    try:
        for name, value in (("user.x", b"x"), ("system.posix_acl_access", b"\2\0\0\0")):
            os.setxattr(folder, name, value)
    except OSError:
        shutil.rmtree(folder)
        folder = Path(tempfile.mkdtemp(prefix="nbd-home-", dir=otherwise))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def look(root: Path) -> Tree:
    """All that a person can tell apart: kinds, bytes, modes, times, attributes, links, and which names are one file. Shares no code with nbd, and
    goes by descriptors, for a path may be longer than the kernel takes."""
    tree: Tree = {}
    names: dict[int, bytes] = {}
    top = os.fsencode(root)
    for path, folders, files, folder in os.fwalk(top):
        here = path[len(top) + 1 :] or b"."
        tree[here] = facts(b".", folder)
        for name in (*folders, *files):
            where = name if here == b"." else here + b"/" + name
            tree[where] = facts(name, folder)
            if tree[where][-1]:
                names[tree[where][-1]] = min(names.get(tree[where][-1], where), where)
    return {path: (*one[:-1], names.get(one[-1], b"")) for path, one in tree.items()}


def facts(name: bytes, folder: int) -> tuple[Any, ...]:
    """Kind, time, owner, group, mode, attributes, content, and last the inode where it has several names."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    twin = status.st_ino if status.st_nlink > 1 and not stat.S_ISDIR(kind) else 0
    common = (kind, status.st_mtime_ns, status.st_uid, status.st_gid)
    if stat.S_ISLNK(kind):
        return (*common, 0, (), os.readlink(name, dir_fd=folder), twin)
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        return (*common, mode, (), b"", twin)
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        attributes = tuple((one, os.getxattr(file, one)) for one in sorted(os.listxattr(file)) if one.startswith(("user.", "system.posix_acl")))
        content = os.pread(file, status.st_size + 1, 0) if stat.S_ISREG(kind) else b""
        return (*common, mode, attributes, content, twin)
    finally:
        os.close(file)


def different(found: Tree, wanted: Tree) -> dict[bytes, list[Any]]:
    """Path by path, what is not the same in both: so that a failure can be read."""
    paths = [path for path in sorted(found.keys() | wanted.keys()) if found.get(path) != wanted.get(path)]
    return {path: unequal(found.get(path), wanted.get(path)) for path in paths}


def unequal(one: tuple[Any, ...] | None, two: tuple[Any, ...] | None) -> list[Any]:
    if one is None or two is None:
        return ["not there" if one is None else "there", "wanted" if two else "not wanted"]
    return [(a[:40], len(a), b[:40], len(b)) if isinstance(a, bytes) else (a, b) for a, b in zip(one, two, strict=True) if a != b]
