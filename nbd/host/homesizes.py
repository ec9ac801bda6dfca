"""Weighs a home without opening a file of it: by descriptors of its folders alone (DESIGN.md, rule 5)."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..homes.ports import SizedHome
from ..homes.sizes.room import Space
from ..homes.sizes.usage import Here, Sized
from .beneath import FOLDER, PATH, open_beneath
from .blocking import Blocking
from .hometree import open_root

SECONDS = 60.0
BLOCK = 512
UNSEEN = Here(seen=False)


class DescriptorSizes:
    async def space(self, path: str, owner: int | None) -> Space:
        return await Blocking(1).run(f"the home {path}", 10.0, lambda: space(Path(path), owner))

    async def open(self, path: str, owner: int | None) -> SizedHome:
        root = await Blocking(1).run(f"the home {path}", 10.0, lambda: open_root(Path(path), owner))
        return OpenSizes(root, owner)


class OpenSizes:
    def __init__(self, root: int, owner: int | None) -> None:
        self._root, self._owner = root, owner
        self._door = Blocking(1)

    async def visit(self, folders: Sequence[bytes]) -> list[Here]:
        return await self._door.run("the home", SECONDS, lambda: [self._here(path) for path in folders])

    async def close(self) -> None:
        os.close(self._root)

    def _here(self, path: bytes) -> Here:
        try:
            folder = open_beneath(self._root, path, FOLDER)
        except OSError:
            return UNSEEN
        try:
            status = os.fstat(folder)
            # What is another's is not looked into, though this process could: its names are not the person's to know.
            return UNSEEN if self._owner is not None and status.st_uid != self._owner else weighed(folder, status)
        except OSError:
            return UNSEEN
        finally:
            os.close(folder)


def space(path: Path, owner: int | None) -> Space:
    """Of a folder with a project quota, ext4 and xfs say what the quota leaves; of any other, what the disk has: told apart by its parent."""
    home = open_root(path, owner)
    try:
        above = os.open(path.parent, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            here, there = os.fstatvfs(home), os.fstatvfs(above)
            same_disk = os.fstat(home).st_dev == os.fstat(above).st_dev
        finally:
            os.close(above)
    finally:
        os.close(home)
    return Space(here.f_bavail * here.f_frsize, here.f_blocks * here.f_frsize, same_disk and here.f_blocks != there.f_blocks)


def weighed(folder: int, status: os.stat_result) -> Here:
    files, folders = [], []
    with os.scandir(folder) as listing:
        for item in listing:
            try:
                one = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            name = os.fsencode(item.name)
            if stat.S_ISDIR(one.st_mode):
                folders.append(name)
            else:
                files.append(Sized(name, one.st_blocks * BLOCK, one.st_ino if one.st_nlink > 1 else 0))
    return Here(files, folders, status.st_blocks * BLOCK)
