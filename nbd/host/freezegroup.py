"""A container's cgroup and network as CRIU finds and leaves them: what it has in memory, and what a CRIU that was killed left locked.

CRIU stops a cgroup by the freezer while it takes hold of its processes, and drops what comes to its TCP sockets until it has them. Killed in
between it leaves both: processes that do not run, connections (also those of the kernels, on loopback) that hang. Both are undone here.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import NbdError
from . import commands

log = logging.getLogger(__name__)
V1 = re.compile(r"^total_(?:rss|shmem|swap) (\d+)$", re.MULTILINE)
V2 = re.compile(r"^(?:anon|shmem) (\d+)$", re.MULTILINE)
"""What an image has of memory.stat. Pages of files are on the disk already."""
NFT_TABLE = re.compile(r"^table (inet CRIU-\S+)$", re.MULTILINE)
STOPS = (("freezer.state", ("FROZEN", "FREEZING"), "THAWED"), ("cgroup.freeze", ("1",), "0"))
"""Of v1 and v2: the file, what it says of a stopped group, and what sets it going."""
TABLES = ("iptables", "ip6tables")
SECONDS = 5.0


class FreezeGroup:
    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroups = cgroups

    def memory(self, pid: int, container: str) -> int:
        """Bytes that an image of all its processes would have; 0 where it cannot be known."""
        for group in self._groups(pid, container, "memory")[:1]:
            with contextlib.suppress(OSError):
                text = (group / "memory.stat").read_text()
                return sum(int(found) for found in V1.findall(text) or V2.findall(text)) + swapped(group)
        return 0

    def thaw(self, pid: int, container: str) -> bool:
        """Whether something was stopped and runs again."""
        groups = self._groups(pid, container, "freezer")
        return sum(runs_again(group / name, stopped, runs) for group in groups for name, stopped, runs in STOPS) > 0

    def clear(self, container: str) -> None:
        """The container's cgroups go, with those below them, as far as nobody is in them. A restore that was killed leaves some, and in v1 no
        runtime can say what devices a group may use that has others below it."""
        for depth in ("*", "*/*", "*/*/*"):
            for top in self._cgroups.glob(f"{depth}/libpod-{container}*"):
                remove_empty(top)

    async def unlock_network(self, pid: int) -> None:
        """CRIU's rules go from the network that `pid` is in: a table of nft, or a chain of iptables."""
        try:
            shown = await self._inside(pid, "nft", "list", "tables")
            for table in NFT_TABLE.findall(shown):
                await self._inside(pid, "nft", "delete", "table", *table.split())
            for program in TABLES:
                await self._unlock_chain(pid, program)
        except NbdError as error:
            log.warning("the network of process %d may still be locked by CRIU: %s", pid, error)

    async def _unlock_chain(self, pid: int, program: str) -> None:
        """By chain, or rule by rule: both ways that CRIU has. Its rules are the only ones that spare the mark 0xC114."""
        rules = (await self._inside(pid, program, "-S")).splitlines()
        ours = [rule.split() for rule in rules if rule.startswith("-A") and ("-j CRIU" in rule or " CRIU " in f"{rule} " or "0xc114" in rule.lower())]
        for words in ours:
            await self._inside(pid, program, "-D", *words[1:])
        if "-N CRIU" in rules:
            await self._inside(pid, program, "-X", "CRIU")

    async def _inside(self, pid: int, *argv: str) -> str:
        """What a program prints in the network of `pid`; empty where it fails: then it has no such rules."""
        words = ["nsenter", f"--net={self._proc / str(pid) / 'ns' / 'net'}", commands.found(argv[0]), *argv[1:]]
        done = await commands.run(words, SECONDS)
        return done.out if done.code == 0 else ""

    def _groups(self, pid: int, container: str, controller: str) -> Sequence[Path]:
        """The container's cgroups above `pid`, the outermost first."""
        try:
            lines = (self._proc / str(pid) / "cgroup").read_text().splitlines()
        except OSError:
            return ()
        paths = {name: path.lstrip("/") for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
        top = self._cgroups / controller if controller in paths else self._cgroups
        at = top / paths.get(controller, paths.get("", ""))
        found = [at, *at.parents][: len(at.parts) - len(top.parts)]
        return [group for group in reversed(found) if f"libpod-{container}" in str(group.relative_to(top))]


def remove_empty(top: Path) -> None:
    for folder in (*sorted((found for found in top.rglob("*") if found.is_dir()), reverse=True), top):
        with contextlib.suppress(OSError):
            folder.rmdir()


def runs_again(switch: Path, stopped: Sequence[str], runs: str) -> bool:
    """Whether it stood still."""
    try:
        still = switch.read_text().strip() in stopped
        if still:
            switch.write_text(runs)
    except OSError:
        return False
    return still


def swapped(group: Path) -> int:
    """v2 says it in a file of its own."""
    try:
        return int((group / "memory.swap.current").read_text())
    except (OSError, ValueError):
        return 0
