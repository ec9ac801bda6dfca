"""A container's control groups, v1, v2 or both: where they are, and what they count of all that runs in it.

The container's own group is the one that names its full id. Its processes may be further down (crun puts them into "container", and a person may
cut a group up where that is allowed), so everything is read at the top, where the kernel sums up what is below, and only processes are gathered.

Each function reads now and raises OSError or ValueError where a value cannot be had: the controller is not there, or its file says something else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

READ_BYTES, MOST_BYTES = 1 << 16, 1 << 20
READ_OF = frozenset({"cpuacct", "memory", "blkio", "pids"})
MOST_GROUPS = 256
"""Of one container. More are not gathered: then nobody can say which processes it has."""
LINKS_OF_A_LEAF = 2
"""A folder without folders in it has so many links (its name, and its own "."); on file systems that do not count them it has one."""


@dataclass(frozen=True, slots=True)
class Groups:
    v1: Mapping[str, str]
    """Controller to the folder of the container's group."""
    v2: str | None


def content(path: str) -> bytes:
    """All of a small file of the kernel's. It gives a page at a time. Raises OSError, ValueError for one without end."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(opened, READ_BYTES)
        while more := os.read(opened, READ_BYTES):
            data += more
            if len(data) > MOST_BYTES:
                raise ValueError(f"{path} does not end")
        return data
    finally:
        os.close(opened)


def groups_of(listing: str, container: str, root: Path = Path("/sys/fs/cgroup")) -> Groups | None:
    """From a process's /proc/PID/cgroup. None: it is not in this container, or not any more."""
    v1: dict[str, str] = {}
    v2 = None
    for line in listing.splitlines():
        _, names, path = line.split(":", 2)
        top = top_of(path, container)
        if top is None:
            continue
        if not names:
            v2 = f"{unified(root)}{top}"
        for name in READ_OF.intersection(names.split(",")):
            v1[name] = f"{hierarchy(root, name, names)}{top}"
    return Groups(v1, v2) if v1 or v2 else None


def top_of(path: str, container: str) -> str | None:
    """The container's own group, whichever manager made it."""
    before, mark, after = path.partition(f"libpod-{container}") if container else ("", "", "")
    return f"{before}{mark}{after.partition('/')[0]}" if mark else None


@cache
def hierarchy(root: Path, name: str, names: str) -> Path:
    """Of v1. Where two controllers share one, systemd links each name to it, and others do not."""
    return root / name if (root / name).is_dir() else root / names


@cache
def unified(root: Path) -> Path:
    """Where v2 is: everything, or beside the hierarchies of v1."""
    return root / "unified" if (root / "unified").is_dir() else root


def cpu_seconds(groups: Groups) -> float:
    if folder := groups.v1.get("cpuacct"):
        return int(content(f"{folder}/cpuacct.usage")) / 1e9
    return fields(groups, "cpu.stat")[b"usage_usec"] / 1e6


def memory_bytes(groups: Groups) -> int:
    if folder := groups.v1.get("memory"):
        return int(content(f"{folder}/memory.usage_in_bytes"))
    return int(content(f"{of_v2(groups)}/memory.current"))


def disk_bytes(groups: Groups) -> int:
    """Read and written by the block layer. In v1 that is without what is written later by the kernel for the container, which is most."""
    if folder := groups.v1.get("blkio"):
        return int(content(f"{folder}/blkio.throttle.io_service_bytes_recursive").split()[-1])
    words = content(f"{of_v2(groups)}/io.stat").split()
    return sum(int(word.partition(b"=")[2]) for word in words if word.startswith((b"rbytes=", b"wbytes=")))


def pids(groups: Groups) -> frozenset[int]:
    """Of all its processes."""
    known = [groups.v1[name] for name in ("pids", "memory", "cpuacct") if name in groups.v1]
    top = known[0] if known else of_v2(groups)
    found = members(top)
    waiting, seen = below(top), 0
    while waiting:
        group = waiting.pop()
        seen += 1
        if seen > MOST_GROUPS:
            raise ValueError(f"more than {MOST_GROUPS} groups in {top}")
        try:
            found |= members(group)
            waiting += below(group)
        except OSError:
            continue  # It went meanwhile, or is one of v2's for threads, whose processes are listed above it.
    return frozenset(found)


def members(group: str) -> set[int]:
    return {int(word) for word in content(f"{group}/cgroup.procs").split()}


def below(group: str) -> list[str]:
    if os.stat(group).st_nlink == LINKS_OF_A_LEAF:  # noqa: PTH116 - a tenth of the price, and asked two hundred times
        return []
    with os.scandir(group) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def fields(groups: Groups, name: str) -> dict[bytes, int]:
    words = content(f"{of_v2(groups)}/{name}").split()
    found = {key: int(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    if b"usage_usec" not in found:
        raise ValueError(f"{name} says nothing of usage")
    return found


def of_v2(groups: Groups) -> str:
    if groups.v2 is None:
        raise ValueError("the container has no such controller")
    return groups.v2
