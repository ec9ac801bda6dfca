"""What can be frozen, what an image on the disk is worth, and what CRIU's log means. Pure: facts in, a value with its reason out.

Theory. CRIU writes the inventory of an image last, and ends the processes only after that. So of processes that are gone and an image with an
inventory it is known that the image has all of them, whoever was killed meanwhile. Until the box goes down: then only what nbd has marked counts,
for the mark is written when all of it is on the disk and not only in memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ...errors import Conflict, HostUnfit, NbdError
from .ports import Image

MIB = 1 << 20
MARGIN_BYTES, MARGIN_SHARE = 256 * MIB, 0.05
"""An image has more than the memory: page tables, names, compressed /tmp."""
SLOWEST_BYTES_PER_SECOND = 40 * MIB
BASE_SECONDS = 60.0
TRIES = 3
OLDEST_PODMAN, OLDEST_CRIU, NEEDED_CRIU, NEW_KERNEL = (4, 3), (3, 11), (4, 2), (6, 18)
"""CRIU before 4.2 cannot dump a TCP socket on Linux 6.18 and newer."""
VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Engine:
    """What of this box decides whether anything can be frozen. Texts as the programs print them; empty: not there."""

    podman: str
    runtime: str
    """Its name: "crun"."""
    runtime_says: str
    """What it prints for --version: what it was built with."""
    criu: str
    kernel: str
    rootless: bool = False
    transient: bool = False
    """Podman keeps its containers in memory only."""


def version(text: str) -> tuple[int, int] | None:
    found = VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else None


def engine_obstacle(engine: Engine) -> str:
    """Why nothing can be frozen on this box, and what mends it; empty where it can be tried."""
    podman, criu, kernel = version(engine.podman), version(engine.criu), version(engine.kernel)
    if engine.rootless:
        return "Podman runs without root, and CRIU cannot freeze its containers; run nbd with root's Podman: systemctl enable --now podman.socket"
    if podman is None or podman < OLDEST_PODMAN:
        return f"Podman {engine.podman or 'of unknown version'} is too old to freeze; 4.3 is needed: apt-get install podman"
    if engine.runtime == "crun" and "+CRIU" not in engine.runtime_says:
        return (
            "this box's crun was built without CRIU (Debian 12's is); use runc: apt-get install runc criu, "
            'and runtime = "runc" under [engine] in /etc/containers/containers.conf, or a crun of Debian 13'
        )
    if criu is None:
        return "the program criu is not installed; install it: apt-get install criu"
    if criu < OLDEST_CRIU or (criu < NEEDED_CRIU and kernel is not None and kernel >= NEW_KERNEL):
        needed = "4.2" if kernel and kernel >= NEW_KERNEL else "3.11"
        return f"CRIU {engine.criu} is too old for Linux {engine.kernel}; {needed} is needed: apt-get install --target-release sid criu"
    if engine.transient:
        return "Podman keeps its containers in memory only (transient_store), so nothing frozen outlives it; set it to false in storage.conf"
    return ""


def mounts_obstacle(links: Sequence[str]) -> str:
    """`links`: what a container mounts, and what outside of it is a symbolic link. CRIU (4.2) would mount the link itself at the thaw."""
    if not links:
        return ""
    return f"it sees {links[0]}, which is a symbolic link on this box, and CRIU could not mount it again; from its next start on it may be otherwise"


def gpu_obstacle(cards: Sequence[str], *, parked: bool, plugin: bool) -> str:
    """Why a notebook with these cards cannot be frozen; `plugin`: CRIU can save what is on a card."""
    if not cards or parked or plugin:
        return ""
    return "it holds a card, and CRIU here cannot save what is on one; park it first, or install CRIU's CUDA plugin: apt-get install criu-cuda-plugin"


def room_obstacle(needed: int, free: int) -> str:
    wanted = needed + max(MARGIN_BYTES, int(needed * MARGIN_SHARE))
    if wanted <= free:
        return ""
    return f"it needs {in_gib(wanted)} GiB on the disk for images, and {in_gib(free)} GiB are free"


def in_gib(count: int) -> str:
    return f"{count / (1 << 30):.1f}"


def seconds_for(count: int) -> float:
    """How long a freeze or a thaw of so many bytes may take."""
    return BASE_SECONDS + count / SLOWEST_BYTES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Traces:
    """What a freeze left on the disk."""

    mark: bool
    """nbd wrote that all of it is on the disk."""
    inventory: bool
    same_boot: bool
    """The box has not gone down since."""
    living: bool
    """Processes of the container are."""


def whole(traces: Traces) -> bool:
    return traces.mark or (traces.inventory and traces.same_boot and not traces.living)


class Outcome(StrEnum):
    """What is left of a freeze or thaw that was cut off."""

    NOTHING = "nothing"
    """There is no image: nothing was cut off."""
    RUNNING = "running"
    """It lives; its image, whole or not, is of no use any more and gone."""
    FROZEN = "frozen"
    LOST = "lost"
    """Its processes are gone and the image is not whole."""


def outcome(image: Image | None, *, living: bool) -> Outcome:
    if image is None:
        return Outcome.NOTHING
    if living:
        return Outcome.RUNNING
    return Outcome.FROZEN if image.whole else Outcome.LOST


@dataclass(frozen=True, slots=True)
class Cause:
    pattern: str
    code: str
    text: str
    hint: str
    again: bool = False
    """Whether the same may go well in a moment."""


CAUSES = (
    Cause(
        r"External socket is used|Unix socket \d+ not found", "connected", "somebody is connected to its editor",
        "close its pages, or try again in a moment", again=True,
    ),
    Cause(r"No space left on device|ENOSPC", "disk_full", "the disk for images is full", "make room, or remove frozen notebooks: nbctl ls"),
    Cause(
        r"nvidia|/dev/nvidia|cuda", "gpu_in_use", "it works on a card, which CRIU cannot save here", "park it first: nbctl why says whether it can be"
    ),
    Cause(
        r"Can't dump ghost file", "ghost_file", "it holds a large file open that has been deleted",
        "let more of that be saved: echo 'ghost-limit 1G' >> /etc/criu/crun.conf",
    ),
    Cause(r"[Ll]ink[- ]remap", "link_remap", "it holds a file open of which one name was deleted", "restart the program that has it"),
    Cause(
        r"io_uring|anon_inode:\[(?:perf|bpf|userfaultfd)", "unsupported", "a program in it uses what CRIU cannot save (io_uring, perf, bpf)",
        "stop that program, or let the notebook be stopped instead",
    ),
    Cause(r"with MS_PRIVATE: Invalid argument", "linked_mount", "a folder that it sees is a symbolic link outside", "mount what it leads to"),
    Cause(
        r"prlimit|getrlimit|dump.*rlimit", "no_capability", "CRIU may not read the limits of its processes",
        "it needs CAP_SYS_RESOURCE: is this box itself a container?",
    ),
    Cause(r"ptrace.*not permitted|already.*traced", "traced", "a debugger holds one of its processes", "end the debugger and try again"),
    Cause(
        r"Can't (?:dump|lookup|handle).*(?:fd|file|socket|device)|[Uu]nsupported|[Uu]nknown (?:fd|file|socket)", "unsupported",
        "a program in it uses what CRIU cannot save", "its log says which: see nbd's messages",
    ),
)  # fmt: skip
HARMLESS = re.compile(r"RLIMIT_NOFILE for self|Can't remove the directory|cgroupd: recv req error|(?:Dumping|Restoring) FAILED")
ERROR_LINE = re.compile(r"^.*?\b(?:Error|ERROR) ?\(?[^)]*\)?: ?(.*)$")


def errors_in(log: str) -> tuple[str, ...]:
    """What went wrong by CRIU's log; its last word first: what came before is often a consequence that it could live with."""
    lines = (ERROR_LINE.match(line) for line in log.splitlines())
    return tuple(reversed([found[1].strip() for found in lines if found and found[1].strip() and not HARMLESS.search(found[1])]))


def why_not(verb: str, said: NbdError, log: str) -> NbdError:
    """Podman's refusal ("crun checkpoint failed: exit status 1") and CRIU's log, as one error for people. `verb`: "frozen", "thawed"."""
    errors = errors_in(log)
    for cause in CAUSES:
        if any(re.search(cause.pattern, line) for line in (*errors, said.message)):
            kind = Conflict if cause.again else HostUnfit
            return kind(f"it cannot be {verb}: {cause.text}", code=cause.code, hint=cause.hint, retryable=cause.again)
    told = f"CRIU: {errors[0]}" if errors else said.message
    hint = said.hint or "CRIU's log says more: see nbd's messages"
    return HostUnfit(f"it cannot be {verb}: {told[:300]}", code="criu_refused", hint=hint, retryable=said.retryable)


def thaw_failed(error: NbdError, tries: int, name: str) -> NbdError:
    """What is said of a thaw that failed for the `tries`-th time. Nothing is lost by it: the image stays."""
    if tries < TRIES:
        return error
    again, anew = f"after mending the cause: nbctl thaw {name}", f"to begin anew without what was in memory: nbctl stop {name}"
    hint = f"{error.hint + '; ' if error.hint else ''}it failed {tries} times and its image stays; {again}; {anew}"
    return HostUnfit(error.message, code=error.code, hint=hint)
