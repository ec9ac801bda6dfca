"""The few operations by which the local store changes a disk; a crash simulator takes their place in tests."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


class FileOps:
    """What is durable: a file's bytes after `write_synced`, a name after `sync_folder` of its folder. Anything else a crash may undo."""

    def write_synced(self, path: Path, data: bytes) -> None:
        """A new file with these bytes, synced; its name is not yet durable."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)  # noqa: PTH104

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def synced(folder: int) -> None:
    """syncfs(2), to which Python has no door: all that was written in the file system of this folder is on its disk. Raises OSError."""
    opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)  # The kernel takes no descriptor of a mere path.
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(opened) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(opened)
