"""fanotify: the kernel's own account of what changes on a file system, in one queue for all of it.

A group made with FAN_REPORT_DIR_FID names the folder of each event by a file handle, and no file. That is what is wanted, and it is also what lets
the kernel put events of one folder together: 60,000 files made in a folder were 55 events in an unread queue, where with names (DFID_NAME) they
overflowed one of 16,384 and made the writer ten times slower.

Python has no door to these calls; the layouts and numbers are the kernel's ABI, the same on every machine. Making and marking a group needs
CAP_SYS_ADMIN, reading it nothing, and finding a folder by its handle CAP_DAC_READ_SEARCH.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

CLOEXEC, NONBLOCK, REPORT_DIR_FID = 0x1, 0x2, 0x400
MARK_ADD, MARK_REMOVE, MARK_FILESYSTEM = 0x1, 0x2, 0x100
MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
OVERFLOW, FOLDER = 0x4000, 0x40000000
CHANGES = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | FOLDER
MOVED = MOVED_FROM | MOVED_TO
VERSION = 3
HEAD = struct.Struct("=IBBHQii")
"""struct fanotify_event_metadata: length, version, reserved, length of this, mask, descriptor, pid."""
INFO = struct.Struct("=BBHQIi")
"""struct fanotify_event_info_fid: type, padding, length, file system, then struct file_handle: bytes, type."""
HANDLE = struct.Struct("=Ii")
MOST_HANDLE = 128
EMPTY_PATH = 0x1000
READ_BYTES = 256 << 10
FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
Change = Callable[[int, int], None]
"""Of a group's marks, given an open folder."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_init.argtypes = [ctypes.c_uint, ctypes.c_uint]
_libc.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]
_libc.name_to_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_int]
_libc.open_by_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]


class Event(NamedTuple):
    mask: int
    filesystem: int
    """`f_fsid` of statvfs; 0 where the event is of no one file system."""
    handle: bytes
    """Of the folder; empty where the kernel could not say which."""


def make_group() -> int:
    """A group without marks; its queue has the kernel's bound. Raises OSError."""
    return checked(_libc.fanotify_init(CLOEXEC | NONBLOCK | REPORT_DIR_FID, os.O_RDONLY))


def mark(group: int, folder: int) -> None:
    """From now on the group tells of the whole file system on which this open folder is. May be repeated. Raises OSError."""
    checked(_libc.fanotify_mark(group, MARK_ADD | MARK_FILESYSTEM, CHANGES, folder, b"."))


def unmark(group: int, folder: int) -> None:
    checked(_libc.fanotify_mark(group, MARK_REMOVE | MARK_FILESYSTEM, CHANGES, folder, b"."))


def events(data: bytes) -> Iterator[Event]:
    """What one read of a group returned. Raises OSError for a kernel that speaks another version."""
    at = 0
    while at + HEAD.size <= len(data):
        length, version, _, head, mask, _, _ = HEAD.unpack_from(data, at)
        if version != VERSION or length < HEAD.size:
            raise OSError(errno.EPROTO, "fanotify speaks another version")
        if length >= head + INFO.size:
            _, _, _, filesystem, size, _ = INFO.unpack_from(data, at + head)
            start = at + head + INFO.size - HANDLE.size
            yield Event(mask, filesystem, data[start : start + HANDLE.size + size] if size else b"")
        else:
            yield Event(mask, 0, b"")
        at += length


def handle_of(folder: int) -> bytes:
    """Of an open folder. Raises OSError: EOPNOTSUPP where its file system has none."""
    buffer = ctypes.create_string_buffer(HANDLE.pack(MOST_HANDLE, 0), HANDLE.size + MOST_HANDLE)
    checked(_libc.name_to_handle_at(folder, b"", buffer, ctypes.byref(ctypes.c_int()), EMPTY_PATH))
    size, _ = HANDLE.unpack_from(buffer.raw)
    return buffer.raw[: HANDLE.size + size]


def open_handle(mounted: int, handle: bytes) -> int:
    """A descriptor of the folder. `mounted`: any open folder of its file system, through whose mount it is seen. Raises OSError: ESTALE for one that
    is gone, EPERM without CAP_DAC_READ_SEARCH."""
    return checked(_libc.open_by_handle_at(mounted, handle, FLAGS))


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
