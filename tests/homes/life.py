"""What a person, a program, a crash and an admin do to a home, as operations on a real folder that take effect or do not.

Which path, and every detail, comes from outside as a number, so that the same life can be led by a seed or by Hypothesis. The operations reach their
paths name by name through descriptors: a path may be longer than the kernel takes. Nothing of nbd is used here.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
LONG = b"-\xff\xfe\n\xc3\xbc" + b"x" * 249
NAMES = (b"a", b"b", b"c", LONG)
"""Few, so that operations meet."""
POOL = random.Random(0).randbytes(1 << 20)
MODES = (0o600, 0o755, 0o2770, 0o444, 0o000, 0o1777, 0o4755)
ACL = struct.Struct("<HHI")
NOBODY = 0xFFFFFFFF


class Hand:
    """Does things in one home. `touched`: the folders that an event source would tell of."""

    def __init__(self, home: Path) -> None:
        self._root = os.open(home, PATH)
        self.touched: set[bytes] = set()

    def close(self) -> None:
        os.close(self._root)

    @contextmanager
    def at(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The folder of a name, and the name. Told as touched even where nothing comes of it."""
        parent, _, name = path.rpartition(b"/")
        self.touched.add(parent)
        with self.folder(parent) as folder:
            yield folder, name

    @contextmanager
    def folder(self, path: bytes) -> Iterator[int]:
        folder = os.dup(self._root)
        try:
            for name in path.split(b"/") if path else ():
                deeper = os.open(name, PATH, dir_fd=folder)
                os.close(folder)
                folder = deeper
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def opened(self, path: bytes, flags: int, mode: int = 0o644) -> Iterator[int]:
        """Follows no link (this test may be root's), waits for no pipe."""
        with self.at(path) as (folder, name):
            file = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=folder)
            try:
                yield file
            finally:
                os.close(file)

    def write(self, path: bytes, _: bytes, number: int) -> None:
        with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            os.write(file, content(number))

    def save_aside(self, path: bytes, _: bytes, number: int) -> None:
        """As most editors save: a new inode under the old name."""
        with self.opened(path + b"~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            os.write(file, content(number))
        self.rename(path + b"~", path, 0)

    def append(self, path: bytes, _: bytes, number: int) -> None:
        with self.opened(path, os.O_WRONLY | os.O_APPEND) as file:
            os.write(file, content(number)[:5000])

    def rewrite_and_set_time_back(self, path: bytes, _: bytes, number: int) -> None:
        """Same size, same mtime, other bytes: rsync, tar and git do so."""
        with self.opened(path, os.O_WRONLY) as file:
            before = os.fstat(file)
            if not before.st_size:
                raise FileNotFoundError
            os.pwrite(file, content(number | 1)[: min(before.st_size, 30)], 0)
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def large(self, path: bytes, _: bytes, number: int) -> None:
        """Too large for one go; or a few bytes of it changed."""
        with self.opened(path, os.O_RDWR | os.O_CREAT) as file:
            if os.fstat(file).st_size < 4 << 20:
                for piece in range(5):
                    os.pwrite(file, POOL[number % 1000 :] + POOL[: number % 1000], piece << 20)
            os.pwrite(file, b"%d" % number, number % (4 << 20))

    def truncate(self, path: bytes, _: bytes, number: int) -> None:
        with self.opened(path, os.O_WRONLY) as file:
            os.ftruncate(file, number % 300_000)

    def sparse(self, path: bytes, _: bytes, number: int) -> None:
        with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            os.pwrite(file, content(number)[:3000], (1 + number % 3) << 18)
            os.ftruncate(file, (5 if number % 10 == 0 else 1) << 20)

    def make_folder(self, path: bytes, _: bytes, number: int) -> None:
        with self.at(path) as (folder, name):
            os.mkdir(name, 0o700 + number % 0o77, dir_fd=folder)

    def make_many(self, path: bytes, _: bytes, number: int) -> None:
        self.make_folder(path, b"", number)
        for one in range(30):
            self.write(path + b"/n%d" % one, b"", number + one)

    def make_deep(self, path: bytes, other: bytes, number: int) -> None:
        """Deeper than PATH_MAX."""
        for _ in range(18):
            path = path + b"/" + LONG
            self.make_folder(path, other, number)
        self.write(path + b"/a", b"", number)

    def rename(self, path: bytes, other: bytes, _: int) -> None:
        with self.at(path) as (one, name), self.at(other) as (two, new):
            os.rename(name, new, src_dir_fd=one, dst_dir_fd=two)

    def rename_storm(self, path: bytes, other: bytes, number: int) -> None:
        """Two names change places, over and over, an odd number of times."""
        spare = path + b".spare"
        for _ in range(3 + number % 8 * 2):
            self.rename(path, spare, 0)
            with suppress(OSError):
                self.rename(other, path, 0)
            self.rename(spare, other, 0)

    def link(self, path: bytes, other: bytes, __: int) -> None:
        """No event source tells of the folder of the old name."""
        parent, _, name = path.rpartition(b"/")
        with self.folder(parent) as one, self.at(other) as (two, new):
            os.link(name, new, src_dir_fd=one, dst_dir_fd=two, follow_symlinks=False)

    def symlink(self, path: bytes, other: bytes, number: int) -> None:
        with self.at(path) as (folder, name):
            os.symlink((other, b"/nowhere/at/all", b"..", b"a/b", b"../" + other)[number % 5], name, dir_fd=folder)

    def pipe(self, path: bytes, _: bytes, number: int) -> None:
        with self.at(path) as (folder, name):
            os.mkfifo(name, 0o600 + number % 0o77, dir_fd=folder)

    def device_or_socket(self, path: bytes, _: bytes, number: int) -> None:
        with self.at(path) as (folder, name):
            if number % 2 and os.getuid() == 0:
                os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(1, 3), dir_fd=folder)
                return
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(os.fsencode(f"/proc/self/fd/{folder}/") + name[:60])

    def remove(self, path: bytes, _: bytes, __: int) -> None:
        with self.at(path) as (folder, name):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    def flip(self, path: bytes, other: bytes, number: int) -> None:
        """The name is another kind of thing, all at once for whoever looks later."""
        self.remove(path, b"", 0)
        (self.write, self.make_folder, self.symlink, self.pipe, self.make_many)[number % 5](path, other, number // 5)

    def change_mode(self, path: bytes, _: bytes, number: int) -> None:
        self._by_descriptor(path, lambda magic: os.chmod(magic, MODES[number % len(MODES)]))  # noqa: PTH101

    def attribute(self, path: bytes, _: bytes, number: int) -> None:
        name = f"user.{number % 2}"
        if number % 5 == 0:
            self._by_descriptor(path, lambda magic: os.removexattr(magic, name))
        else:
            self._by_descriptor(path, lambda magic: os.setxattr(magic, name, content(number)[:200]))

    def access_list(self, path: bytes, _: bytes, number: int) -> None:
        kind = ("system.posix_acl_access", "system.posix_acl_default")[number % 3 == 0]
        value = access_list(number)
        self._by_descriptor(path, lambda magic: os.setxattr(magic, kind, value))

    def set_times(self, path: bytes, _: bytes, number: int) -> None:
        with self.at(path) as (folder, name):
            when = (0, -5_000_000_001, 4_102_444_800_123_456_789, number)[number % 4]
            os.utime(name, ns=(when, when), dir_fd=folder, follow_symlinks=False)

    def _by_descriptor(self, path: bytes, act: Callable[[str], object]) -> None:
        with self.at(path) as (folder, name):
            held = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
            try:
                if stat.S_ISLNK(os.fstat(held).st_mode):
                    raise PermissionError
                act(f"/proc/self/fd/{held}")
            finally:
                os.close(held)


def content(number: int) -> bytes:
    """Mostly small, some empty, some of several chunks, some that compress."""
    size = (0, 7, 40, 3000, 3000, 20_000, 600_000)[number % 7]
    start = number % 400_000
    return b"%d " % number * 500 if number % 11 == 0 else POOL[start : start + size]


def access_list(number: int) -> bytes:
    """As the kernel takes it: version 2, then (tag, rights, id) in order. The last decides over who is not named."""
    entries = [(1, 6, NOBODY), (2, number % 8, 1000 + number % 3), (4, 5, NOBODY), (16, 7, NOBODY), (32, number % 5, NOBODY)]
    return struct.pack("<I", 2) + b"".join(ACL.pack(*entry) for entry in entries)


WEIGHTS = {
    act.__name__: weight
    for act, weight in (
        (Hand.write, 40), (Hand.save_aside, 20), (Hand.append, 16), (Hand.rewrite_and_set_time_back, 16), (Hand.large, 1), (Hand.truncate, 8),
        (Hand.sparse, 2), (Hand.make_folder, 24), (Hand.make_many, 1), (Hand.make_deep, 1), (Hand.rename, 28), (Hand.rename_storm, 5),
        (Hand.link, 16), (Hand.symlink, 10), (Hand.pipe, 4), (Hand.device_or_socket, 2), (Hand.remove, 24), (Hand.flip, 10),
        (Hand.change_mode, 12), (Hand.attribute, 10), (Hand.access_list, 6), (Hand.set_times, 10),
    )
}  # fmt: skip
"""Every operation of Hand that a life is made of, and how often it comes."""
