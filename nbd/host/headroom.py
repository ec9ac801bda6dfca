"""How much memory can still be taken: by the whole box, and by one container within its limit. `notebooks.rest.ports.HostMemory`.

What a container's files have in the page cache counts as free: the kernel drops it on demand, and a container that read a large file would seem
full otherwise. Of several limits above each other the tightest holds. cgroup v1 and v2.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import Unreachable
from ..notebooks.ports import Process
from ..notebooks.rest.ports import Headroom
from .blocking import Blocking

SECONDS = 5.0
UNLIMITED = 1 << 60
"""v1 writes "no limit" as a number near 2^63."""


class KernelMemory:
    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc, self._cgroups = proc, cgroups
        self._reading = Blocking(at_once=2)

    async def headroom(self, process: Process) -> Headroom:
        try:
            return await self._reading.run("the kernel's memory figures", SECONDS, lambda: Headroom(self._box(), self._own(process.pid)))
        except (OSError, ValueError, KeyError) as error:
            raise Unreachable(f"how much memory is free cannot be read: {error}") from None

    def _box(self) -> int:
        lines = (self._proc / "meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])

    def _own(self, pid: int) -> int | None:
        lines = (self._proc / str(pid) / "cgroup").read_text().splitlines()
        paths = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
        v1 = "memory" in paths
        root = self._cgroups / "memory" if v1 else self._cgroups
        folder = root / paths["memory" if v1 else ""].lstrip("/")
        above = [folder, *folder.parents]
        found = [free for place in above[: above.index(root)] if (free := free_v1(place) if v1 else free_v2(place)) is not None]
        return min(found, default=None)


def free_v2(folder: Path) -> int | None:
    """None: no limit here."""
    limit = text_of(folder / "memory.max")
    if limit in ("", "max"):
        return None
    return int(limit) - int(text_of(folder / "memory.current") or 0) + cached(folder, "inactive_file", "active_file")


def free_v1(folder: Path) -> int | None:
    limit = text_of(folder / "memory.limit_in_bytes")
    if not limit or int(limit) >= UNLIMITED:
        return None
    return int(limit) - int(text_of(folder / "memory.usage_in_bytes") or 0) + cached(folder, "total_inactive_file", "total_active_file")


def cached(folder: Path, *words: str) -> int:
    facts = dict(line.split(" ", 1) for line in text_of(folder / "memory.stat").splitlines())
    return sum(int(facts.get(word, 0)) for word in words)


def text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
