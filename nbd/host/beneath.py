"""openat2: opens a name under a directory descriptor, through no link, out of no mount, never above.

Python has no door to this call; the layout of `struct open_how` and the number 437 are the kernel's ABI, the same on every machine.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Any

from ..errors import HostUnfit

SYS_OPENAT2 = 437
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH = 0x01, 0x02, 0x04, 0x08
RESOLVE = BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV
TRIES = 64
LONGEST = 3000
FOLDER = os.O_RDONLY | os.O_DIRECTORY
PATH = os.O_PATH


class OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


SIZE = ctypes.sizeof(OpenHow)
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(OpenHow), ctypes.c_size_t]


@functools.cache
def how_to(flags: int, mode: int) -> Any:
    """The kernel only reads it, and a home has a million files."""
    return ctypes.byref(OpenHow(flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, RESOLVE))


def openat2(folder: int, path: bytes, flags: int, mode: int = 0) -> int:
    """One call. A rename somewhere makes the kernel give up with EAGAIN when it cannot prove the path is beneath: tried again, so often."""
    how = how_to(flags, mode)
    for _ in range(TRIES):
        descriptor: int = _syscall(SYS_OPENAT2, folder, path, how, SIZE)
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code == errno.ENOSYS:
        hint = "Linux 5.6 or later is needed; under systemd also: no RestrictSUIDSGID= for this unit, which takes it away"
        raise HostUnfit("openat2 is not to be had here", hint=hint, code="kernel_unfit")
    raise OSError(code, os.strerror(code), path)


def open_beneath(root: int, path: bytes, flags: int) -> int:
    """Opens `path` (`b""`: the root itself) under `root`. A path longer than the kernel takes is walked in pieces."""
    at, owned = root, False
    pieces = split(path)
    try:
        for piece in pieces[:-1]:
            deeper = openat2(at, piece, PATH | os.O_DIRECTORY)
            if owned:
                os.close(at)
            at, owned = deeper, True
        return openat2(at, pieces[-1], flags)
    finally:
        if owned:
            os.close(at)


def split(path: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    while len(path) > LONGEST:
        end = path.rindex(b"/", 0, LONGEST)
        pieces.append(path[:end])
        path = path[end + 1 :]
    return [*pieces, path or b"."]
