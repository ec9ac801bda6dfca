"""The local store's own: what a killed writer left goes, and what the disk says comes with the next step."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.host.fileops import FileOps
from nbd.host.folderstore import ASIDE, LEFT_SECONDS, FolderStore


async def test_what_a_killed_writer_left_goes_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "store/ada"
    (folder / "data").mkdir(parents=True)
    old, young = folder / f"data/{ASIDE}77-0", folder / f"data/{ASIDE}78-0"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - LEFT_SECONDS - 60))
    await FolderStore(folder).create("data/ab", b"whole")
    assert (old.exists(), young.exists()) == (False, True)
    assert [stored.key for stored in await FolderStore(folder).list("")] == ["data/ab"]


class FailingFiles(FileOps):
    def __init__(self, code: int) -> None:
        self.code = code

    def write_synced(self, path: Path, data: bytes) -> None:
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (errno.ENOSPC, "is full", "make room; look: df -h"),
        (errno.EDQUOT, "is over its quota", "make room"),
        (errno.EROFS, "is read-only", "ReadWritePaths="),
        (errno.EACCES, "denies access", f"chown -R {os.geteuid()} "),
    ],
)
async def test_what_the_disk_says(tmp_path: Path, code: int, said: str, hint: str) -> None:
    with pytest.raises(HostUnfit, match=said) as caught:
        await FolderStore(tmp_path / "ada", FailingFiles(code)).create("data/ab", b"")
    assert caught.value.code == "store_unfit"
    assert hint in caught.value.hint
    assert list((tmp_path / "ada/data").iterdir()) == []
