"""The kernel's counters of notebooks: processor time, disk, network, memory, processes. All of them in one visit to one thread.

Who a pid belongs to is asked before anything is read of it: its number may be another's by now.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..errors import Deadline
from ..idle.model import Counters
from ..idle.ports import Subject
from . import cgroups
from .blocking import Blocking
from .cgroups import Groups, content

T = TypeVar("T")

SECONDS = 5.0
MOST_PROCESSES = 512
"""Of one notebook, whose own figures are added up. One with more is counted by the block layer."""
INITS = frozenset({"catatonit", "podman-init", "init", "tini", "docker-init"})
"""What a container's first process is called when it only looks after the editor."""
TICKS = os.sysconf("SC_CLK_TCK")
LOOK = "see what hangs: ps -eo pid,stat,wchan:30,args | grep ' D'"


class Stat(NamedTuple):
    name: str
    parent: int
    cpu_seconds: float
    """Without its children's."""
    start_ticks: int


class KernelGauges:
    def __init__(self, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc, self._groups = str(proc), groups
        self._door = Blocking(1, LOOK)
        self._turn = threading.Lock()
        self._editors: dict[str, tuple[int, int]] = {}
        """Container to its editor's pid and start: that is looked for once in a life."""

    async def counters(self, subjects: Sequence[Subject]) -> Mapping[str, Counters]:
        wanted = tuple(subjects)
        return await self._door.run("the kernel's counters", SECONDS, lambda: self._read(wanted))

    def _read(self, subjects: Sequence[Subject]) -> dict[str, Counters]:
        if not self._turn.acquire(blocking=False):
            raise Deadline("the kernel's counters are still being read from before", hint=LOOK)
        try:
            living = {subject.container for subject in subjects}
            self._editors = {container: known for container, known in self._editors.items() if container in living}
            found = {subject.notebook: self._counters(subject) for subject in subjects}
            return {notebook: counters for notebook, counters in found.items() if counters is not None}
        finally:
            self._turn.release()

    def _counters(self, subject: Subject) -> Counters | None:
        listing = told(content, f"{self._proc}/{subject.pid}/cgroup")
        groups = told(cgroups.groups_of, listing.decode(), subject.container, self._groups) if listing else None
        if groups is None:
            return None
        pids = told(cgroups.pids, groups)
        return Counters(
            cpu_seconds=told(cgroups.cpu_seconds, groups),
            editor_cpu_seconds=told(self._editor_cpu, subject, pids or frozenset()),
            disk_bytes=told(self._disk, groups, pids),
            network_bytes=told(network_bytes, f"{self._proc}/{subject.pid}/net/dev"),
            memory_bytes=told(cgroups.memory_bytes, groups),
            pids=pids,
        )

    def _editor_cpu(self, subject: Subject, pids: frozenset[int]) -> float:
        """Raises LookupError while there is no editor yet."""
        pid, start = self._editors.get(subject.container, (0, 0))
        stat = told(self._stat, pid) if pid else None
        if stat is None or stat.start_ticks != start:
            pid, stat = self._editor(subject.pid, pids)
            self._editors[subject.container] = pid, stat.start_ticks
        return stat.cpu_seconds

    def _editor(self, first: int, pids: frozenset[int]) -> tuple[int, Stat]:
        """The first process, or what that looks after: its oldest child. Its others are what people left running, which went to it as orphans."""
        init = self._stat(first)
        if init.name not in INITS:
            return first, init
        known = {pid: told(self._stat, pid) for pid in pids - {first}}
        children = [(stat.start_ticks, pid, stat) for pid, stat in known.items() if stat is not None and stat.parent == first]
        if not children:
            raise LookupError("there is no editor yet")
        _, pid, stat = min(children)
        return pid, stat

    def _stat(self, pid: int) -> Stat:
        """Raises OSError for one that is gone."""
        # The name is in parentheses and may hold anything, spaces and parentheses too.
        head, _, tail = content(f"{self._proc}/{pid}/stat").rpartition(b")")
        fields = tail.split()
        name = head.partition(b"(")[2].decode("utf-8", "replace")
        return Stat(name, int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS, int(fields[19]))

    def _disk(self, groups: Groups, pids: frozenset[int] | None) -> int:
        """By its processes' own figures, which know of a write when it is made, on network file systems too, and pass on to the parent when a child
        ends; where they may not be read, by the block layer's."""
        if pids is None or len(pids) > MOST_PROCESSES:
            return cgroups.disk_bytes(groups)
        try:
            return sum(self._moved(pid) for pid in pids)
        except (OSError, ValueError, LookupError):
            return cgroups.disk_bytes(groups)

    def _moved(self, pid: int) -> int:
        """Bytes that one process has fetched from a disk and caused to be written to one. Raises LookupError where the kernel does not count them."""
        try:
            words = content(f"{self._proc}/{pid}/io").split()
        except (FileNotFoundError, ProcessLookupError):
            if os.path.isdir(f"{self._proc}/{pid}"):  # noqa: PTH112 - paths are text here
                raise LookupError("this kernel keeps no account of processes' input and output") from None
            return 0
        return int(words[words.index(b"read_bytes:") + 1]) + int(words[words.index(b"write_bytes:") + 1])


def network_bytes(path: str) -> int:
    """In and out of all interfaces but the loopback, from /proc/PID/net/dev."""
    total = 0
    for line in content(path).splitlines()[2:]:
        name, _, numbers = line.partition(b":")
        fields = numbers.split()
        if name.strip() != b"lo":
            total += int(fields[0]) + int(fields[8])
    return total


def told(call: Callable[..., T], *arguments: object) -> T | None:
    """None where it cannot be read, whichever way that fails."""
    try:
        return call(*arguments)
    except (OSError, ValueError, LookupError):
        return None
