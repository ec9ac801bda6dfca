"""Looks at home folders: by descriptor, following no link that the person could have put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..homes.model import HomeFacts
from .blocking import Blocking

SECONDS = 10.0


class DescriptorFolders:
    def __init__(self) -> None:
        self._door = Blocking(16)

    async def look(self, path: str) -> HomeFacts:
        return await self._door.run(f"the home {path}", SECONDS, lambda: facts(Path(path)))


def facts(path: Path) -> HomeFacts:
    """The parent is the admin's (/home), the last part could be anything the person can make."""
    try:
        parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return HomeFacts(exists=False)
    try:
        home = os.open(path.name or "/", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return HomeFacts(exists=False)
    finally:
        above = os.fstat(parent).st_dev
        os.close(parent)
    try:
        status, space = os.fstat(home), os.statvfs(home)
        unit = space.f_frsize
        free, total = space.f_bavail * unit, space.f_blocks * unit
        return HomeFacts(
            exists=True, is_folder=stat.S_ISDIR(status.st_mode), owner_uid=status.st_uid, free_bytes=free, total_bytes=total,
            mounted=status.st_dev != above, inode=status.st_ino,
        )  # fmt: skip
    finally:
        os.close(home)
