"""The hands of attached data: a process that owns the folder, with no other right. Core starts it, as for a restore (restore_child.py), and gives
it the folder as a descriptor, by its number: the folders above are closed to it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import Any

from . import frames
from .blocking import Blocking
from .homewriter import SECONDS, DescriptorTarget
from .restore_child import Hands

HERE = Path()


class FolderTarget(DescriptorTarget):
    """The present folder of the process: a path that leads nowhere else."""

    def __init__(self, root: Path = HERE) -> None:
        super().__init__(root)
        self._disk = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._syncing = Blocking(1)

    async def settle(self) -> None:
        await self._syncing.run("the disk", SECONDS, lambda: synced(self._disk))

    def close(self) -> None:
        super().close()
        os.close(self._disk)


class AttachedHands(Hands):
    def __init__(self, target: FolderTarget) -> None:
        super().__init__(target)
        self._folder = target

    async def answer(self, words: dict[str, Any], data: bytes) -> dict[str, Any]:
        if words["do"] != "settle":
            return await super().answer(words, data)
        try:
            await self._folder.settle()
        except OSError as error:
            return {"trouble": error.strerror or "cannot be synced"}
        return {}


def synced(folder: int) -> None:
    """syncfs(2), to which Python has no door: all that was written in this file system is on its disk."""
    if ctypes.CDLL(None, use_errno=True).syncfs(folder) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


async def serve() -> None:
    target = FolderTarget()
    hands = AttachedHands(target)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(0)))
    try:
        await frames.send(writer, {"ready": True})
        while (frame := await frames.receive(reader)) is not None:
            await frames.send(writer, await hands.answer(*frame))
    finally:
        writer.close()
        target.close()


def main() -> int:
    folder = int(sys.argv[1])
    os.fchdir(folder)
    os.close(folder)
    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
