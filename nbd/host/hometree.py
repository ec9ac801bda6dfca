"""Reads a home that its owner may be changing, with intent, at this moment: by descriptors alone (DESIGN.md, rule 5).

When may times vouch for content? A write at a moment t sets ctime to the kernel's coarse clock at t. So if that clock had passed a file's
ctime before it was read, any write since shows as another ctime; if not, the reader waits a tick. What still cannot be settled (a ctime in
the future) is stored and marked, and read again next time.

A program that mapped a file sets its ctime only by its first write to a clean page. So dirty pages are sent to the disk before they are read: then
the next write to one is such a first write again (seen on ext4: without this, it never showed, not even after msync and the program's end).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import Refused
from ..homes.model import Flag, Kind, Seen, Xattrs
from ..homes.ports import LargeFile, Listing, OpenHome, Reading, Sifted
from ..homes.snapshots.encoding import HEAD, SECOND, heads
from .beneath import FOLDER, PATH, open_beneath, openat2
from .blocking import Blocking

SECONDS = 300.0
ATTEMPTS = 4
COARSE_CLOCK = 5
TICK = 0.004
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK, stat.S_IFIFO: Kind.PIPE,
    stat.S_IFSOCK: Kind.SOCKET, stat.S_IFCHR: Kind.CHARACTER, stat.S_IFBLK: Kind.BLOCK,
}  # fmt: skip
DEVICES = (Kind.CHARACTER, Kind.BLOCK)
TYPE, RIGHTS, LINKED = stat.S_IFMT(0o777777), 0o7777, int(Flag.LINKED)
PACK_HEAD = HEAD.pack
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Not there, or no longer what it was when it was listed."""
WAIT_BEFORE_AND_WRITE = 1 | 2
"""Flags of sync_file_range(2)."""
sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class DescriptorHomes:
    async def open(self, path: str, owner: int | None) -> OpenHome:
        home = await Blocking(1).run(f"the home {path}", 10.0, lambda: open_root(Path(path), owner))
        return DescriptorHome(home, owner)


def open_root(path: Path, owner: int | None) -> int:
    """The parent is the admin's (/home); the last part must be the folder itself."""
    hint = "is it mounted? Nothing was recorded as deleted; the last snapshot is whole"
    try:
        root = os.open(path, PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"the home {path} cannot be opened: {error.strerror}", code="home_missing", hint=hint) from None
    uid = os.fstat(root).st_uid
    if owner is not None and uid != owner:
        os.close(root)
        raise Refused(f"the home {path} belongs to uid {uid}, not {owner}", code="home_missing", hint=hint)
    return root


class DescriptorHome:
    def __init__(self, root: int, owner: int | None) -> None:
        self._root, self._owner = root, owner
        self._door = Blocking(4)

    async def look(self, folders: Sequence[tuple[bytes, bool]]) -> list[Listing]:
        return await self._door.run("the home", SECONDS, lambda: [self._look(path, listed=listed) for path, listed in folders])

    async def sift(self, folders: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Listing]:
        return await self._door.run("the home", SECONDS, lambda: [self._look(path, listed=True, known=known) for path, known in folders])

    async def read(self, folder: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        return await self._door.run("the home", SECONDS, lambda: self._read(folder, wanted))

    async def open_large(self, folder: bytes, wanted: Seen) -> LargeFile | Reading:
        return await self._door.run("the home", SECONDS, lambda: self._open_large(folder, wanted))

    async def close(self) -> None:
        os.close(self._root)

    def _look(self, path: bytes, *, listed: bool, known: Sequence[bytes] = ()) -> Listing:
        try:
            folder = open_beneath(self._root, path, FOLDER)
        except OSError as error:
            return Listing(None, trouble="" if error.errno in GONE else reason(error))
        try:
            return self._listing(folder, listed=listed, known=known)
        except OSError as error:
            return Listing(None, trouble=reason(error))
        finally:
            os.close(folder)

    def _listing(self, folder: int, *, listed: bool, known: Sequence[bytes]) -> Listing:
        for _ in range(ATTEMPTS):
            before, settled = settle(folder)
            if self._owner is not None and before.st_uid != self._owner:
                return Listing(None, trouble=f"belongs to uid {before.st_uid}")
            xattrs = xattrs_of(folder)
            vouched, others = heads(known)
            entries = seen_in(folder, vouched) if listed else ()
            found = Listing(seen_as(b"", before), xattrs, entries, settled, "", Sifted(others, frozenset(vouched)) if known else None)
            if unchanged(before, os.fstat(folder)):
                return found
        return found._replace(settled=False)

    def _read(self, path: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        try:
            folder = open_beneath(self._root, path, PATH | os.O_DIRECTORY)
        except OSError as error:
            return [Reading(None, trouble="" if error.errno in GONE else reason(error)) for _ in wanted]
        try:
            return [self._one(folder, seen) for seen in wanted]
        finally:
            os.close(folder)

    def _one(self, folder: int, seen: Seen) -> Reading:
        try:
            if seen.kind != Kind.FILE:
                return self._special(folder, seen)
            last: Reading | None = None
            for _ in range(ATTEMPTS):
                with opened(folder, seen.name, FILE) as file:
                    reading, whole = self._file(file, seen.name)
                if whole:
                    return reading
                if same_bytes(last, reading):
                    return reading._replace(settled=False)
                last = reading
        except OSError as error:
            return Reading(None, trouble="" if error.errno in GONE else reason(error))
        return Reading(None, trouble="keeps changing while it is read")

    def _file(self, file: int, name: bytes) -> tuple[Reading, bool]:
        """The reading, and whether nothing at all changed meanwhile."""
        before, settled = settle(file)
        refused = self._refused(before)
        if refused is not None:
            return refused, True
        start_writeback(file)
        data, xattrs = read_whole(file, before.st_size), xattrs_of(file)
        parts, after = segments(file, before), os.fstat(file)
        whole = unchanged(before, after) and len(data) == before.st_size
        return Reading(seen_as(name, after), data, parts, xattrs, settled), whole

    def _refused(self, status: os.stat_result) -> Reading | None:
        if not stat.S_ISREG(status.st_mode):
            return Reading(None)
        if self._owner is not None and status.st_uid != self._owner:
            return Reading(None, trouble=f"belongs to uid {status.st_uid}")
        return None

    def _special(self, folder: int, seen: Seen) -> Reading:
        """Never opened for reading: a FIFO would wait, a device act."""
        with opened(folder, seen.name, PATH) as descriptor:
            status = os.fstat(descriptor)
            if kind_of(status) != seen.kind:
                return Reading(None)
            if self._owner is not None and status.st_uid != self._owner:
                return Reading(None, trouble=f"belongs to uid {status.st_uid}")
            target = os.readlink(b"", dir_fd=descriptor) if seen.kind == Kind.LINK else b""
            return Reading(seen_as(seen.name, status), target)

    def _open_large(self, path: bytes, wanted: Seen) -> LargeFile | Reading:
        try:
            folder = open_beneath(self._root, path, PATH | os.O_DIRECTORY)
            try:
                file = openat2(folder, wanted.name, FILE)
            finally:
                os.close(folder)
        except OSError as error:
            return Reading(None, trouble="" if error.errno in GONE else reason(error))
        try:
            before, settled = settle(file)
            refused = self._refused(before)
            if refused is None:
                start_writeback(file)
                found = Reading(seen_as(wanted.name, before), b"", segments(file, before), xattrs_of(file), settled)
                return OpenFile(file, before, found, self._door)
        except OSError as error:
            refused = Reading(None, trouble=reason(error))
        os.close(file)
        return refused


class OpenFile:
    def __init__(self, file: int, before: os.stat_result, found: Reading, door: Blocking) -> None:
        self._file, self._before, self._door = file, before, door
        self.opened = found

    async def read(self, offset: int, length: int) -> bytes:
        return await self._door.run("the home", SECONDS, lambda: os.pread(self._file, length, offset))

    async def proven(self, offset: int, lengths: Sequence[int], proves: Callable[[int, memoryview], bool]) -> int:
        return await self._door.run("the home", SECONDS, lambda: self._proven(offset, lengths, proves))

    def _proven(self, offset: int, lengths: Sequence[int], proves: Callable[[int, memoryview], bool]) -> int:
        """Through one small buffer, so that a gigabyte is read into the processor's cache and never into new memory."""
        buffer = memoryview(bytearray(max(lengths)))
        for number, length in enumerate(lengths):
            got = 0
            while got < length and (more := os.preadv(self._file, [buffer[got:length]], offset + got)):
                got += more
            if got < length or not proves(number, buffer[:length]):
                return number
            offset += length
        return len(lengths)

    async def finish(self) -> Reading | None:
        try:
            return self.opened if unchanged(self._before, os.fstat(self._file)) else None
        finally:
            os.close(self._file)


@contextmanager
def opened(folder: int, name: bytes, flags: int) -> Iterator[int]:
    descriptor = openat2(folder, name, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def settle(descriptor: int) -> tuple[os.stat_result, bool]:
    """The facts, after waiting until the coarse clock is past the ctime, and whether it came to be."""
    for _ in range(ATTEMPTS):
        passed = time.clock_gettime_ns(COARSE_CLOCK)
        status = os.fstat(descriptor)
        if status.st_ctime_ns < passed:
            return status, True
        if status.st_ctime_ns > passed + 1_000_000_000:
            break
        time.sleep(TICK)
    return status, False


def start_writeback(file: int) -> None:
    """Of pages that are dirty. Best effort: where the file system cannot, a mapped write may be seen late."""
    sync_file_range(file, 0, 0, WAIT_BEFORE_AND_WRITE)


def same_bytes(last: Reading | None, reading: Reading) -> bool:
    """Two readings, one after the other, whose ctime alone moved: renamed or linked again and again, and not written. Without this, whoever
    does that keeps a file out of every snapshot."""
    if last is None or last.seen is None or reading.seen is None or len(reading.data) != reading.seen.size:
        return False
    facts = [(one.seen.ino, one.seen.mtime, one.seen.size, one.data) for one in (last, reading) if one.seen]
    return facts[0] == facts[1]


def unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_ctime_ns, before.st_mtime_ns, before.st_size, before.st_ino) == (
        after.st_ctime_ns, after.st_mtime_ns, after.st_size, after.st_ino,
    )  # fmt: skip


def kind_of(status: os.stat_result) -> Kind:
    return KINDS[stat.S_IFMT(status.st_mode)]


def seen_as(name: bytes, status: os.stat_result) -> Seen:
    kind = kind_of(status)
    device = status.st_rdev if kind in DEVICES else 0
    return Seen(
        name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        status.st_ino, status.st_nlink, device,
    )  # fmt: skip


def seen_in(folder: int, vouched: dict[bytes, bytes]) -> tuple[Seen, ...]:
    """The names for which `vouched` does not have what stat says; what it has is taken out of it. A million names come by here at each look."""
    found = []
    with os.scandir(folder) as listing:
        for item in listing:
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            name = os.fsencode(item.name)
            if vouched.pop(name, None) != head_of(status):
                found.append(seen_as(name, status))
    return tuple(sorted(found))


def head_of(status: os.stat_result) -> bytes:
    """As `encode_entry` writes it of a file that was read whole."""
    mode, linked = status.st_mode, LINKED if status.st_nlink > 1 else 0
    mtime, ctime = divmod(status.st_mtime_ns, SECOND), divmod(status.st_ctime_ns, SECOND)
    return PACK_HEAD(
        KINDS[mode & TYPE], linked, mode & RIGHTS, status.st_uid, status.st_gid, status.st_size, *mtime, *ctime, status.st_ino
    )  # fmt: skip


def read_whole(file: int, size: int) -> bytes:
    """One byte more than there should be, to see that it did not grow."""
    data = os.read(file, size + 1)
    while 0 < len(data) < size and (more := os.read(file, size + 1 - len(data))):
        data += more
    return data


def segments(file: int, status: os.stat_result) -> tuple[tuple[int, int], ...]:
    """(start, end) of the regions that are not holes."""
    size = status.st_size
    if status.st_blocks * 512 >= size:
        return ((0, size),) if size else ()
    found, at = [], 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        at = min(os.lseek(file, start, os.SEEK_HOLE), size)
        found.append((start, at))
    return tuple(found)


def xattrs_of(descriptor: int) -> Xattrs:
    try:
        names = os.listxattr(descriptor)
        kept = sorted(os.fsencode(name) for name in names if name.startswith(("user.", "system.posix_acl_")))
        return tuple((name, os.getxattr(descriptor, name)) for name in kept)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA):
            return ()
        raise


def reason(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "another file system is mounted there"
    return error.strerror or "cannot be read"
