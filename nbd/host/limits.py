"""What this box lets a container ask for. A hard limit can be lowered by anybody and raised by few, so nbd asks for what it has."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil

from ..notebooks.spec import HostLimits

MOST = 1 << 20


def host_limits(proc: Path = Path("/proc")) -> HostLimits:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    pid_max = int((proc / "sys/kernel/pid_max").read_text())
    return HostLimits(
        open_files=MOST if files == resource.RLIM_INFINITY else files,
        # crun refuses a process limit at or above the kernel's own.
        processes=min(pid_max - 1, MOST if processes == resource.RLIM_INFINITY else processes),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
    )


def raise_open_files() -> None:
    """As many descriptors as may be had: the soft limit is for programs that still use select()."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
