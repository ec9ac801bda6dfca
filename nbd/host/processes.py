"""The kernel's view of processes: who is alive, who belongs to which container, and word of an end within milliseconds.

A pid alone proves nothing (it is used again); pid and start time do. An end is seen through a pidfd, which becomes readable when the
process ends, whether or not Podman, conmon or anybody else notices.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path

from ..notebooks.ports import Process

OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
CONTAINER_ID = re.compile(r"libpod-([0-9a-f]{64})")


class KernelProcesses:
    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroups = cgroups

    def on_exit(self, process: Process, call: Callable[[], None]) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return loop.call_soon(call).cancel
        if self.start_ticks(process.pid) != process.start_ticks:
            os.close(pidfd)
            return loop.call_soon(call).cancel
        watching = True

        def cancel() -> None:
            nonlocal watching
            if watching:
                watching = False
                loop.remove_reader(pidfd)
                os.close(pidfd)

        def ended() -> None:
            cancel()
            call()

        loop.add_reader(pidfd, ended)
        return cancel

    def age_seconds(self, process: Process) -> float:
        gone = self.start_ticks(process.pid) != process.start_ticks
        return 0.0 if gone else max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks / os.sysconf("SC_CLK_TCK"))

    def memory_kills(self, process: Process) -> Callable[[], int]:
        counter = self._memory_counter(process.pid)

        def read() -> int:
            try:
                found = OOM_KILL.search(counter.read_text()) if counter else None
            except OSError:
                return 0
            return int(found[1]) if found else 0

        return read

    def _memory_counter(self, pid: int) -> Path | None:
        """v1 has a hierarchy of its own for memory, v2 one for all; Podman's `kill` and `oom` flags have neither."""
        try:
            lines = (self._proc / str(pid) / "cgroup").read_text().splitlines()
        except OSError:
            return None
        paths = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
        if "memory" in paths:
            return self._cgroups / "memory" / paths["memory"] / "memory.oom_control"
        return self._cgroups / paths[""] / "memory.events" if "" in paths else None

    def of_container(self, container: str) -> Collection[int]:
        return frozenset(pid for pid in self._pids() if self.belongs(pid, container))

    def container_of(self, pid: int) -> str | None:
        """The full id of the container that a pid is in; None for the host's own and for one that is gone."""
        try:
            found = CONTAINER_ID.search((self._proc / str(pid) / "cgroup").read_text())
        except OSError:
            return None
        return found[1] if found else None

    def naming(self, container: str) -> Collection[int]:
        """Who works for a container: conmon, its runtime, Podman's clean-up. Each has its id among its words."""
        return frozenset(pid for pid in self._pids() if container in self._words(pid))

    def of_pid(self, pid: int, container: str) -> Process | None:
        """The process, if it lives and is in the container's cgroup."""
        ticks = self.start_ticks(pid)
        return Process(pid, ticks) if pid > 0 and ticks is not None and self.belongs(pid, container) else None

    def belongs(self, pid: int, container: str) -> bool:
        """By cgroup path, v1 or v2, whichever manager made it: each names the container's full id."""
        try:
            # Not the bare id: conmon, who watches it, has that in its own group's name (libpod-conmon-…).
            return bool(container) and f"libpod-{container}" in (self._proc / str(pid) / "cgroup").read_text()
        except OSError:
            return False  # It ended between the listing and this look.

    def start_ticks(self, pid: int) -> int | None:
        """None for a process that is gone, or a zombie: that one does no work any more."""
        try:
            stat = (self._proc / str(pid) / "stat").read_text()
        except OSError:
            return None
        # The command's name is in parentheses and may hold anything, spaces and parentheses too.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])

    def _words(self, pid: int) -> str:
        try:
            return (self._proc / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            return ""

    def _pids(self) -> list[int]:
        return [int(name) for name in os.listdir(self._proc) if name.isdigit()]  # noqa: PTH208 - names are wanted, not paths
