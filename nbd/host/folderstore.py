"""Objects in a local folder, durable when a call returns.

Not obstore's LocalStore: that one does not fsync (seen with strace, 0.12.1), so a power cut after "protected" could lose what was protected,
and it cannot replace on condition. A file is written aside, synced, renamed, and its folder synced. Readers see whole files only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Conflict, HostUnfit, NotFound, Unreachable
from ..homes.ports import Stored, Versioned
from .blocking import Blocking
from .fileops import FileOps

SECONDS = 300.0
KEY = re.compile(r"[a-z0-9]+(/[a-z0-9]+)*(\.copy)?")
ASIDE = ".aside-"
LEFT_SECONDS = 24 * 3600.0
"""What is aside for so long was left by one that was killed."""
FULL = {
    errno.ENOSPC: "is full", errno.EDQUOT: "is over its quota", errno.EROFS: "is read-only",
    errno.EACCES: "denies access", errno.EPERM: "denies access",
}  # fmt: skip


class FolderStore:
    def __init__(self, folder: Path, files: FileOps | None = None, *, used: bool = False) -> None:
        """`used`: something was kept beside this folder before. Then ground with nothing on it is a mount point with nothing mounted."""
        self._folder, self._files, self._used = folder, files or FileOps(), used
        self._door = Blocking(4)
        self._numbers = itertools.count()
        self._made: set[Path] = set()

    async def create(self, key: str, data: bytes) -> str | None:
        return await self._door.run(f"the store {self._folder}", SECONDS, lambda: self._create(self._path(key), data))

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        return await self._door.run(f"the store {self._folder}", SECONDS, lambda: self._replace(self._path(key), data, expected))

    async def fetch(self, key: str) -> Versioned:
        return await self._door.run(f"the store {self._folder}", SECONDS, lambda: self._fetch(self._path(key)))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        return await self._door.run(f"the store {self._folder}", SECONDS, lambda: self._read(self._path(key), offset, length))

    async def list(self, prefix: str) -> list[Stored]:
        return await self._door.run(f"the store {self._folder}", SECONDS, lambda: listing(self._folder, prefix))

    async def delete(self, key: str) -> None:
        await self._door.run(f"the store {self._folder}", SECONDS, lambda: self._delete(self._path(key)))

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key")
        return self._folder / key

    def _create(self, path: Path, data: bytes) -> str | None:
        with self._writing():
            if path.exists():
                self._files.sync_folder(path.parent)  # It may be there and not durable: its writer was killed before this line.
                return None
            self._put(path, data)
        return version_of(data)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with explained(self._folder, writing=True):
                yield
        except Unreachable:
            self._made.clear()  # What comes back in its place may be another disk.
            raise

    def _put(self, path: Path, data: bytes) -> None:
        self._make(path.parent)
        aside = path.parent / f"{ASIDE}{os.getpid()}-{next(self._numbers)}"
        try:
            self._files.write_synced(aside, data)
            self._files.rename(aside, path)
        except OSError:
            self._files.unlink(aside)
            raise
        self._files.sync_folder(path.parent)

    def _make(self, folder: Path) -> None:
        """The folder and the ones above it, each durable in its parent."""
        if folder in self._made:
            return
        if folder != self._folder:
            self._make(folder.parent)
        elif not folder.parent.is_dir() or (self._used and not any(folder.parent.iterdir())):
            raise FileNotFoundError
        self._files.make_folder(folder)
        self._files.sync_folder(folder.parent)
        for left in folder.glob(f"{ASIDE}*"):
            with suppress(FileNotFoundError):  # Another is writing it, and it has got its name.
                if left.stat().st_mtime < time.time() - LEFT_SECONDS:
                    self._files.unlink(left)
        self._made.add(folder)

    def _replace(self, path: Path, data: bytes, expected: str | None) -> str:
        with self._writing():
            self._make(path.parent)
            with locked(self._folder):
                present = version_of(path.read_bytes()) if path.exists() else None
                if present != expected:
                    raise Conflict(f"{path.name} was changed by another", code="store_changed")
                self._put(path, data)
        return version_of(data)

    def _fetch(self, path: Path) -> Versioned:
        with explained(self._folder):
            data = path.read_bytes()
        return Versioned(data, version_of(data))

    def _read(self, path: Path, offset: int, length: int) -> bytes:
        with explained(self._folder), path.open("rb") as file:
            return os.pread(file.fileno(), length, offset)

    def _delete(self, path: Path) -> None:
        with self._writing():
            if path.exists():
                self._files.unlink(path)
                self._files.sync_folder(path.parent)


def listing(folder: Path, prefix: str) -> list[Stored]:
    found = []
    with explained(folder):
        if not folder.parent.is_dir():
            raise FileNotFoundError
        for path in folder.rglob("*"):
            key = path.relative_to(folder).as_posix()
            if not key.startswith(prefix) or not KEY.fullmatch(key):
                continue
            with suppress(FileNotFoundError):  # Another deletes.
                status = path.stat()
                found += [Stored(key, status.st_size)] if stat.S_ISREG(status.st_mode) else []
    return sorted(found)


def version_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Between programs of this box; the lock goes with its descriptor, so a killed holder leaves none."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def explained(folder: Path, *, writing: bool = False) -> Iterator[None]:
    """What the disk says, in the words of the port."""
    try:
        yield
    except FileNotFoundError as error:
        if writing or not folder.parent.is_dir():
            # What was written to a moment ago, or the ground of all: nobody deletes that; a disk was unmounted, a folder moved away.
            raise Unreachable(f"the store {folder.parent} is not there", code="store_away", hint=f"is it mounted? ls {folder.parent}") from None
        raise NotFound(f"{error.filename or folder} is not in the store", code="store_missing") from None
    except OSError as error:
        if error.errno in FULL:
            raise HostUnfit(f"the store {folder} {FULL[error.errno]}", code="store_unfit", hint=next_step(error.errno, folder)) from None
        raise Unreachable(f"the store {folder} fails: {error.strerror}", code="store_away") from None


def next_step(code: int, folder: Path) -> str:
    if code in (errno.EACCES, errno.EPERM):
        return f"it must belong to the account of nbd sync: chown -R {os.geteuid()} {folder.parent}"
    if code == errno.EROFS:
        return f"mount it to be written to; under systemd, too: systemctl edit nbd-sync, [Service], ReadWritePaths={folder.parent}"
    return f"make room; look: df -h {folder}; df -i {folder}"
