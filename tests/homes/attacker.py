"""Swaps folders and files of a home with links to a secret, as fast as it can. Started as a process: attacker.py HOME SECRET_FOLDER UID.

With UID 0 it is no person but a careless root: it mounts the secret over things in the home, and takes it away again.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import sys
import time
from collections.abc import Iterator

AT_FDCWD, EXCHANGE = -100, 2
BIND, DETACH = 4096, 2
LIBC = ctypes.CDLL(None, use_errno=True)
PAIRS = (
    (b"folder", b"folder-link"), (b"file", b"file-link"), (b"folder/f", b"file-link"), (b"folder/deep", b"up-link"), (b"file", b"hard"),
    (b"folder/f", b"hard"), (b"file", b"pipe"), (b"folder", b"folder/deep/folder"), (b"folder/deep/f", b"secret-link"),
)  # fmt: skip
"""`hard` is a second name of the secret itself: root put it there, as any person could without fs.protected_hardlinks."""


def swapping(secret: bytes, uid: int) -> Iterator[object]:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    aims = ((b"folder-link", secret), (b"file-link", secret + b"/f"), (b"up-link", b".."), (b"secret-link", b"../../../outside/f"))
    for name, aim in aims:
        if not os.path.islink(name):  # noqa: PTH114
            os.symlink(aim, name)  # noqa: PTH211
    for one, two in itertools.cycle(PAIRS):
        yield LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, two, EXCHANGE)


def mounting(secret: bytes) -> Iterator[object]:
    for name, aim in itertools.cycle([(b"mounted", secret), (b"mounted-file", secret + b"/f"), (b"folder", secret), (b"file", secret + b"/f")]):
        LIBC.mount(aim, name, None, BIND, None)
        time.sleep(random.random() * 0.3)  # Long enough to be walked into, now and then.
        yield LIBC.umount2(name, DETACH)


def main() -> None:
    home, secret, uid = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), int(sys.argv[3])
    os.chdir(home)
    for number, _ in enumerate(swapping(secret, uid) if uid else mounting(secret)):
        if number == 0:
            print("ready", flush=True)


if __name__ == "__main__":
    main()
