"""The hands of attached data: a process that owns the folder, with no other right. Core starts it, as for a restore (restore_child.py), and gives
it the folder as a descriptor, by its number: the folders above are closed to it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..homes.attached.names import above
from . import frames
from .beneath import open_beneath
from .blocking import Blocking
from .fileops import synced
from .homewriter import SECONDS, DescriptorTarget
from .restore_child import Hands, worked_out

HERE = Path()
FEW = 200


class FolderTarget(DescriptorTarget):
    """The present folder of the process: a path that leads nowhere else."""

    def __init__(self, root: Path = HERE) -> None:
        super().__init__(root)
        self._disk = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._syncing = Blocking(1)

    async def settle(self, paths: Sequence[bytes]) -> None:
        """One by one while they are few: a whole file system has other people's writes in it, too."""
        work = (lambda: synced(self._disk)) if len(paths) > FEW else (lambda: self._each(paths))
        await self._syncing.run("the disk", SECONDS, work)

    def _each(self, paths: Sequence[bytes]) -> None:
        for path in {*paths, b"", *(folder.encode() for one in paths for folder in above(one.decode()))}:
            # What was removed, or replaced since, is in its folder's hands.
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                descriptor = open_beneath(self._root, path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

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
            await self._folder.settle([frames.heard(path) for path in words["paths"]])
        except OSError as error:
            return {"trouble": error.strerror or "cannot be synced"}
        return {}


async def serve() -> None:
    target = FolderTarget()
    hands = AttachedHands(target)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(0)))
    try:
        await frames.send(writer, {"ready": True})
        while (frame := await frames.receive(reader)) is not None:
            await frames.send(writer, await worked_out(writer, hands.answer(*frame)))
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
