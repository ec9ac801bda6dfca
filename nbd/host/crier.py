"""A message to all terminals of a notebook, as wall(1) would write it.

A terminal's device is a person's: whoever opens one of another's as root opens what that has become meanwhile. So it is written by a shell in the
container, as the person, whose script is this one and whose text is an argument; what it opens, the person could have opened. Which notebooks have
a terminal at all is asked of the kernel first: starting a program in a container costs a tenth of a second.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import NbdError
from .blocking import in_thread
from .execs import PodmanExecs
from .processes import KernelProcesses

log = logging.getLogger(__name__)

SECONDS = 5.0
MOST_BYTES = 4 << 10
MOST_CHARACTERS = 1000
SCRIPT = """for tty in /dev/pts/[0-9]*; do printf '%s' "$1" >"$tty" 2>/dev/null & done; wait"""
"""Each in a process of its own: one that is held (Ctrl-S) keeps the others from nothing, and is given up with the script."""
PTY_MAJORS = range(136, 144)


class PodmanCrier:
    def __init__(self, execs: PodmanExecs, processes: KernelProcesses, proc: Path = Path("/proc")) -> None:
        self._execs = execs
        self._processes = processes
        self._proc = proc

    async def call(self, container: str, text: str) -> None:
        try:
            if await in_thread("terminals", lambda: self._has_terminal(container)):
                await self._execs.run(container, ("/bin/sh", "-c", SCRIPT, "nbd", announced(text)), SECONDS, MOST_BYTES)
        except (NbdError, OSError) as error:
            log.info("not every terminal in container %s was told: %s", container[:12], error)

    def _has_terminal(self, container: str) -> bool:
        return any(self._terminal(pid) for pid in self._processes.of_container(container))

    def _terminal(self, pid: int) -> bool:
        """Whether the process has a terminal of its own: by the kernel's number of it, not by any name."""
        try:
            fields = (self._proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return False
        return int(fields[4]) >> 8 & 0xFFF in PTY_MAJORS


def announced(text: str) -> str:
    """Ready for a terminal: lines, and nothing in them that a terminal would obey."""
    lines = text[:MOST_CHARACTERS].splitlines()
    clean = ("".join(letter if letter.isprintable() else "?" for letter in line) for line in lines)
    return "\r\n\a\r\n" + "".join(f"  {line}\r\n" for line in clean) + "\r\n"
