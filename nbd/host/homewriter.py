"""Writes into a home as the person: by descriptors, through no link, each file whole under its name or not there at all.

Runs with nobody's rights but those of the process it is in; so what the kernel refuses the person it refuses here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import HostUnfit, Refused
from ..homes.model import Entry, Kind, checked_name
from ..homes.ports import NewFile, Piece, Thing, Writing
from .beneath import FOLDER, PATH, open_beneath, openat2
from .blocking import Blocking
from .fileops import synced
from .hometree import kind_of, xattrs_of

T = TypeVar("T")
SECONDS = 300.0
ASIDE = b".nbd-restore-"
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FULL = (errno.ENOSPC, errno.EDQUOT)
FORMATS = {Kind.FILE: stat.S_IFREG, Kind.FOLDER: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK, Kind.PIPE: stat.S_IFIFO}


class DescriptorTarget:
    def __init__(self, root: Path) -> None:
        try:
            self._root = os.open(root, PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"cannot restore into {root}: {error.strerror}", code="no_target") from None
        self._door = Blocking(2)

    def close(self) -> None:
        os.close(self._root)

    def touches(self, home: str) -> bool:
        """Whether it is this folder, in it or above it, by whatever names and links it was come to."""
        try:
            folder = os.open(home, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return is_below(self._root, folder) or is_below(folder, self._root)
        finally:
            os.close(folder)

    async def make(self, folders: Sequence[bytes]) -> list[str]:
        def work() -> list[str]:
            return [explained(lambda: self._make(folder)) for folder in folders]  # noqa: B023

        return await self._door.run("the restore", SECONDS, work)

    async def missing(self, names: Sequence[tuple[bytes, Entry]]) -> list[bool]:
        def work() -> list[bool]:
            return [absent for folder, entries in by_folder(names) for absent in self._missing(folder, entries)]

        return await self._door.run("the restore", SECONDS, work)

    async def standing(self, names: Sequence[tuple[bytes, bytes]]) -> list[Thing | None]:
        def work() -> list[Thing | None]:
            return [thing for folder, some in by_folder(names) for thing in self._standing(folder, some)]

        return await self._door.run("the restore", SECONDS, work)

    async def clear(self, names: Sequence[tuple[bytes, bytes, Thing]]) -> list[str]:
        def work() -> list[str]:
            return [explained(lambda: self._clear(*one)) for one in names]  # noqa: B023

        return await self._door.run("the restore", SECONDS, work)

    async def write(self, writings: Sequence[tuple[bytes, Writing]]) -> list[str]:
        def work() -> list[str]:
            return [trouble for folder, some in by_folder(writings) for trouble in self._write(folder, some)]

        return await self._door.run("the restore", SECONDS, work)

    async def begin(self, folder: bytes, entry: Entry) -> NewFile:
        def start() -> NewFile:
            parent = open_beneath(self._root, folder, FOLDER)
            try:
                return OpenNewFile(parent, entry, new_file(parent, aside(entry.name)), self._door)
            except BaseException:
                os.close(parent)
                raise

        return await self._door.run("the restore", SECONDS, start)

    async def link(self, source: bytes, target: bytes) -> str:
        return await self._door.run("the restore", SECONDS, lambda: explained(lambda: self._link(source, target)))

    async def dress(self, folders: Sequence[tuple[bytes, Entry]]) -> list[str]:
        def work() -> list[str]:
            return [explained(lambda: self._dress(path, entry)) for path, entry in folders]  # noqa: B023

        return await self._door.run("the restore", SECONDS, work)

    async def flush(self) -> None:
        await self._door.run("the disk", SECONDS, lambda: synced(self._root))

    @contextlib.contextmanager
    def _folder(self, path: bytes) -> Iterator[int]:
        descriptor = open_beneath(self._root, path, FOLDER)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _make(self, path: bytes) -> None:
        above, _, name = path.rpartition(b"/")
        with self._folder(above) as parent:
            with contextlib.suppress(FileExistsError):
                os.mkdir(checked_name(name), 0o700, dir_fd=parent)
                return
            # There already: enough that it is a folder and its owner may write; `dress` gives it its mode.
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "something that is not a folder is in the way")
        if status.st_mode & 0o700 != 0o700:
            descriptor = open_beneath(self._root, path, PATH | os.O_DIRECTORY)
            try:
                set_mode(descriptor, stat.S_IMODE(status.st_mode) | 0o700)
            finally:
                os.close(descriptor)

    def _missing(self, folder: bytes, entries: Sequence[Entry]) -> list[bool]:
        try:
            with self._folder(folder) as parent:
                return [not is_there(parent, entry) for entry in entries]
        except OSError:
            return [True] * len(entries)

    def _standing(self, folder: bytes, names: Sequence[bytes]) -> list[Thing | None]:
        try:
            with self._folder(folder) as parent:
                return [thing(parent, name) for name in names]
        except FileNotFoundError:
            return [None] * len(names)

    def _clear(self, folder: bytes, name: bytes, expected: Thing) -> None:
        with self._folder(folder) as parent:
            found = thing(parent, checked_name(name))
            if found is None:
                return
            if found.kind == expected.kind == Kind.FOLDER:
                with contextlib.suppress(OSError):
                    os.rmdir(name, dir_fd=parent)
            elif found == expected:
                os.unlink(name, dir_fd=parent)
            else:
                raise FileExistsError(errno.EEXIST, "it was changed meanwhile, and stays")

    def _write(self, folder: bytes, writings: Sequence[Writing]) -> list[str]:
        try:
            with self._folder(folder) as parent:
                return [explained(lambda: write_one(parent, writing)) for writing in writings]  # noqa: B023
        except OSError as error:
            return [error.strerror or "cannot be written"] * len(writings)

    def _link(self, source: bytes, target: bytes) -> None:
        (old, _, name), (new, _, other) = source.rpartition(b"/"), target.rpartition(b"/")
        with self._folder(old) as first, self._folder(new) as second:
            temporary = aside(other)
            with taken_away(second, temporary):
                os.link(name, temporary, src_dir_fd=first, dst_dir_fd=second, follow_symlinks=False)
                os.rename(temporary, checked_name(other), src_dir_fd=second, dst_dir_fd=second)

    def _dress(self, path: bytes, entry: Entry) -> None:
        with self._folder(path) as descriptor:
            back_without(dress(descriptor, entry, 0o3777))


class OpenNewFile:
    def __init__(self, parent: int, entry: Entry, file: int, door: Blocking) -> None:
        self._parent, self._entry, self._file, self._door = parent, entry, file, door

    async def write(self, pieces: Sequence[Piece]) -> None:
        await self._door.run("the restore", SECONDS, lambda: raising_full(lambda: write_pieces(self._file, pieces)))

    async def finish(self) -> None:
        await self._door.run("the restore", SECONDS, lambda: raising_full(lambda: give_name(self._parent, self._file, self._entry)))
        os.close(self._file)
        os.close(self._parent)

    async def abandon(self) -> None:
        os.close(self._file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside(self._entry.name), dir_fd=self._parent)
        os.close(self._parent)


def is_below(folder: int, above: int) -> bool:
    """Whether it is the other, or in it at any depth."""
    wanted, at = os.fstat(above), os.dup(folder)
    try:
        while not os.path.samestat(found := os.fstat(at), wanted):
            parent = os.open("..", PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = parent
            if os.path.samestat(os.fstat(at), found):
                return False
        return True
    except OSError:  # Above a folder that is closed to the person is nothing of theirs.
        return False
    finally:
        os.close(at)


def by_folder(named: Sequence[tuple[bytes, T]]) -> Iterator[tuple[bytes, list[T]]]:
    """Neighbours of one folder together, in the order given: the folder is opened once for them."""
    for folder, group in itertools.groupby(named, key=lambda one: one[0]):
        yield folder, [item for _, item in group]


def aside(name: bytes) -> bytes:
    """Follows from the name, so that a second run finds and removes what a killed one left."""
    return ASIDE + hashlib.sha256(name).hexdigest()[:24].encode()


def new_file(parent: int, name: bytes) -> int:
    try:
        return os.open(name, NEW, 0o600, dir_fd=parent)
    except FileExistsError:
        os.unlink(name, dir_fd=parent)  # A killed restore left it.
        return os.open(name, NEW, 0o600, dir_fd=parent)


def write_one(parent: int, writing: Writing) -> None:
    entry, temporary = writing.entry, aside(writing.entry.name)
    if entry.kind != Kind.FILE:
        return write_special(parent, entry)
    file = new_file(parent, temporary)
    try:
        write_pieces(file, writing.pieces)
        give_name(parent, file, entry)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    finally:
        os.close(file)
    return None


def write_special(parent: int, entry: Entry) -> None:
    temporary = aside(entry.name)
    with taken_away(parent, temporary):
        if entry.kind == Kind.LINK:
            os.symlink(entry.payload, temporary, dir_fd=parent)
        else:
            make_pipe(parent, temporary, entry.mode & 0o1777)
        os.utime(temporary, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        os.rename(temporary, checked_name(entry.name), src_dir_fd=parent, dst_dir_fd=parent)


def make_pipe(parent: int, name: bytes, mode: int) -> None:
    os.mkfifo(name, 0o600, dir_fd=parent)
    descriptor = openat2(parent, name, PATH)
    try:
        set_mode(descriptor, mode)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def taken_away(parent: int, temporary: bytes) -> Iterator[None]:
    """Before, what a killed restore left; after, what was not given its name. (A rename between two names of one file does nothing at all.)"""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=parent)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)


def set_mode(descriptor: int, mode: int) -> None:
    """Of what is held by an O_PATH descriptor, on which fchmod does not work; the magic link leads to that very thing."""
    os.chmod(f"/proc/self/fd/{descriptor}", mode)  # noqa: PTH101


def write_pieces(file: int, pieces: Sequence[Piece]) -> None:
    for offset, data in pieces:
        view, at = memoryview(data), offset
        while view:
            written = os.pwrite(file, view, at)
            view, at = view[written:], at + written


def give_name(parent: int, file: int, entry: Entry) -> None:
    if os.fstat(file).st_size != entry.size:
        os.ftruncate(file, entry.size)
    left = dress(file, entry, 0o1777)
    os.rename(aside(entry.name), checked_name(entry.name), src_dir_fd=parent, dst_dir_fd=parent)
    back_without(left)


def back_without(left: str) -> None:
    """What is in a file matters more than what is written on it; but it is told."""
    if left:
        raise OSError(errno.ENOTSUP, f"it is back, and its attribute {left}")


def dress(descriptor: int, entry: Entry, allowed: int) -> str:
    """Group where the person may give it, mode without setuid, attributes, and the times last. Which attribute this file system does not take, and
    why; empty if it takes all."""
    if os.fstat(descriptor).st_gid != entry.gid:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, -1, entry.gid)
    # What it has got from the folder it was made in, or had before; before the mode, which an access list would change the meaning of.
    for name in {name for name, _ in xattrs_of(descriptor)} - {name for name, _ in entry.xattrs}:
        os.removexattr(descriptor, name)
    os.fchmod(descriptor, entry.mode & allowed)
    left = ""
    for name, value in entry.xattrs:
        if name.startswith((b"user.", b"system.posix_acl_")):
            left = set_attribute(descriptor, name, value) or left
    os.utime(descriptor, ns=(entry.mtime, entry.mtime))
    return left


def set_attribute(descriptor: int, name: bytes, value: bytes) -> str:
    """Another file system than it was kept from may have no attributes, or smaller ones: ENOSPC says so too, on a disk that is not full at all."""
    try:
        os.setxattr(descriptor, name, value)
    except (OSError, ValueError) as error:
        return f"{name.decode('utf-8', 'backslashreplace')[:60]} is not: {getattr(error, 'strerror', None) or error}"
    return ""


def thing(parent: int, name: bytes) -> Thing | None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Thing(kind_of(status), status.st_ino, status.st_ctime_ns)


def is_there(parent: int, entry: Entry) -> bool:
    try:
        status = os.stat(entry.name, dir_fd=parent, follow_symlinks=False)
        if stat.S_IFMT(status.st_mode) != FORMATS.get(Kind(entry.kind)):
            return False
        if entry.kind == Kind.FOLDER or status.st_mtime_ns != entry.mtime:
            return entry.kind == Kind.FOLDER
        if entry.kind == Kind.LINK:
            return os.readlink(entry.name, dir_fd=parent) == entry.payload
    except OSError:
        return False
    return status.st_size == entry.size and stat.S_IMODE(status.st_mode) == entry.mode & 0o1777


def explained(call: Callable[[], None]) -> str:
    """Empty, or why not. A full disk is nobody's own reason: it is raised."""
    try:
        raising_full(call)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def raising_full(call: Callable[[], None]) -> None:
    try:
        call()
    except (OverflowError, ValueError) as error:  # A size, a time or a name that no file has.
        raise OSError(errno.EINVAL, str(error)) from None
    except OSError as error:
        if error.errno in FULL:
            raise HostUnfit("there is no space left to restore into", code="no_space", hint="make room, then restore again: it goes on") from None
        raise
