"""One at a time: a lock that the kernel drops with the process, however that ends. The file holds the owner's pid, for who wants to tell it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import Conflict


def take_lock(path: Path) -> int:
    """The descriptor that holds it; closing that gives it back. Raises Conflict while somebody else has it."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        hint = "stop that one, or choose another --dir"
        raise Conflict(f"another nbd works on {path.parent}", hint=hint, code="already_running") from None
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
