"""Where a home is: on which file system, seen through which mount, under which path; and whether all who change it pass this kernel."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from ..errors import Refused
from ..homes.model import HomeRequest

OWN = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "nilfs2", "tmpfs"})
"""File systems that nobody changes but through this kernel. Of any other (NFS, FUSE, a folder of a host …) not every change may be told of."""
FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Spot(NamedTuple):
    path: bytes
    """Without links, as this process sees it."""
    filesystem: int
    """`f_fsid` of statvfs."""
    mount: int
    kind: str
    """The kernel's name for the file system; empty where it does not say."""
    inode: int

    @property
    def own(self) -> bool:
        return self.kind in OWN


def open_home(home: HomeRequest) -> int:
    """The folder itself, no link, and its owner's. Raises Refused(home_missing)."""
    try:
        root = os.open(home.path, FLAGS)
    except OSError as error:
        raise Refused(f"the home {home.path} cannot be opened: {error.strerror}", code="home_missing") from None
    if os.fstat(root).st_uid != home.uid:
        os.close(root)
        raise Refused(f"the home {home.path} is not uid {home.uid}'s", code="home_missing")
    return root


def spot_of(root: int) -> Spot:
    """Of an open folder. Raises OSError."""
    number = mount_of(root)
    return Spot(path_of(root), os.fstatvfs(root).f_fsid, number, kind_of(number), os.fstat(root).st_ino)


def path_of(descriptor: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % descriptor)  # noqa: PTH115 - bytes


def mount_of(descriptor: int) -> int:
    found = re.search(r"^mnt_id:\s*(\d+)", Path(f"/proc/self/fdinfo/{descriptor}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def kind_of(mount: int) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            if line.startswith(f"{mount} "):
                return line.partition(" - ")[2].partition(" ")[0]
    return ""
