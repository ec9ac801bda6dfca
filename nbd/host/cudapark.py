"""The driver's checkpoints behind one door: `notebooks.rest.ports.Parker`, asked through helper processes (`cudapark_helper.py`).

Each call has a helper of its own while it lasts, so a checkpoint that takes a minute holds up nobody else; one that has answered is kept for the
next call, a while. Who does not answer in time is killed, and what its call did is unknown: the caller looks at the states. A caller that goes
away leaves its helper to end what it began. Helpers that are stuck inside the kernel survive even SIGKILL; a few of them, and no more is asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .. import wire
from ..errors import Conflict, Deadline, HostUnfit, InvalidInput, Unreachable
from ..notebooks.ports import Process
from ..notebooks.rest.ports import CudaState
from .blocking import Blocking
from .cudapark_lines import Act, Answer, Lack, Question, Target
from .cudawords import LOOK_AT_THE_LOG, absent, refusal, too_old
from .linehelper import END_SECONDS, LONGEST_LINE, LineHelper
from .nvml import environment

log = logging.getLogger(__name__)

KEPT_SECONDS = 20.0
"""A helper that rested longer may be about to end by itself (IDLE_SECONDS there)."""
GRACE_SECONDS = 5.0
"""So much later than here a helper's own alarm ends a call."""
AT_ONCE = 8
MOST_STUCK = 3
FIRST_WITH_MOVES = 13000
NVIDIA_MAJOR = 195


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds."""

    open: float = 30.0
    """Start a helper and initialise the driver, which takes seconds where nothing keeps it loaded."""
    call: float = 10.0
    copy: float = 30.0
    """For a checkpoint or a restore, and for each byte of it more."""
    bytes_per_second: float = 256 * 1024 * 1024
    """The slowest copy that is waited for: a tenth of what the slowest bus does."""
    remembered: float = 30.0
    """So long it is believed that this box can park."""


class Helper(LineHelper):
    """Does one call after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self._number = 0
        self.rested_since = 0.0
        self.open = False
        self.pids: frozenset[int] = frozenset()
        """Whom its call changes."""

    @classmethod
    async def start(cls, changed: Mapping[str, str]) -> Helper:
        command = (sys.executable, "-P", "-m", "nbd.host.cudapark_helper")
        # A session of its own: what ends the terminal of `nbd dev` does not end a checkpoint half-way.
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=changed, limit=LONGEST_LINE, start_new_session=True)
        return cls(process)

    async def ask(self, question: Question) -> Answer:
        """Raises InvalidInput for an answer that is none, OSError or EOFError when the process has ended."""
        self._number += 1
        await self.send(wire.encode(replace(question, number=self._number)))
        return wire.decode(Answer, await self.line())


class CudaParker:
    """`library_folder`: where to look for libcuda.so.1 first. `simulated_box` and `simulated_cuda`: the files that nbd's simulated libraries play."""

    def __init__(
        self,
        *,
        library_folder: Path | None = None,
        simulated_box: Path | None = None,
        simulated_cuda: Path | None = None,
        deadlines: Deadlines | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        self._environment = environment(library_folder, simulated_box)
        if simulated_cuda is not None:
            self._environment["NBD_SIMULATED_CUDA"] = str(simulated_cuda)
        self._simulated = simulated_cuda is not None
        self._deadlines = deadlines or Deadlines()
        self._proc = proc
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._idle: list[Helper] = []
        self._leaving: list[Helper] = []
        """Of callers that went away, and those that do not even die."""
        self._looking = Blocking(at_once=2, hint=LOOK_AT_THE_LOG)
        self._known: tuple[float, str] | None = None
        self._closed = False

    async def obstacle(self) -> str:
        if self._known and now() < self._known[0]:
            return self._known[1]
        try:
            await self._ask(Question(0, Act.OPEN), self._deadlines.call)
        except (HostUnfit, Unreachable) as error:
            text = str(error)
        else:
            text = ""
        self._known = (now() + self._deadlines.remembered, text)
        return text

    async def reaches(self, process: Process, cards: Sequence[str]) -> frozenset[str]:
        try:
            version = (await self._ask(Question(0, Act.OPEN), self._deadlines.call)).version
            if version < FIRST_WITH_MOVES:
                return frozenset()
            if self._simulated:
                return frozenset(cards)
            return await self._looking.run("the container's devices", self._deadlines.call, lambda: self._openable(process, cards))
        except (HostUnfit, Unreachable, OSError):
            return frozenset()

    async def states(self, processes: Sequence[Process]) -> Mapping[int, CudaState]:
        if not processes:
            return {}
        question = Question(0, Act.STATES, tuple(target(process) for process in processes))
        answer = await self._ask(question, self._deadlines.call + 0.02 * len(processes))
        return {found.pid: found.state for found in answer.states}

    async def lock(self, process: Process, seconds: float) -> None:
        question = Question(0, Act.LOCK, (target(process),), milliseconds=max(1, round(seconds * 1000)))
        await self._act(question, seconds + self._deadlines.call)

    async def checkpoint(self, process: Process, size: int = 0) -> None:
        await self._act(Question(0, Act.CHECKPOINT, (target(process),)), self._copy_seconds(size))

    async def restore(self, process: Process, moves: Mapping[str, str], size: int = 0) -> None:
        await self._act(Question(0, Act.RESTORE, (target(process),), moves=moves), self._copy_seconds(size))

    async def unlock(self, process: Process) -> None:
        await self._act(Question(0, Act.UNLOCK, (target(process),)), self._deadlines.call)

    async def close(self) -> None:
        """Leaves no process but one that is in the middle of a call, and that one ends when its call has."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(helper.end(kindly=True) for helper in idle), *(helper.gone(END_SECONDS) for helper in self._leaving))

    def _copy_seconds(self, size: int) -> float:
        return self._deadlines.copy + size / self._deadlines.bytes_per_second

    async def _act(self, question: Question, seconds: float) -> None:
        pid = question.targets[0].pid
        if any(pid in helper.pids and not helper.ended for helper in self._leaving):
            raise Conflict(f"an earlier call on pid {pid} is still under way", code="cuda_state", retryable=True)
        answer = await self._ask(question, seconds)
        error = refusal(question.act, answer, pid)
        if error:
            raise error

    async def _ask(self, question: Question, seconds: float) -> Answer:
        """Raises HostUnfit where the driver cannot do this at all, Deadline or Unreachable where it does not answer."""
        async with self._slots:
            helper = await self._take()
            if not helper.open:
                opened = await self._question(helper, Question(0, Act.OPEN), self._deadlines.open)
                error = lacking(opened)
                if error:
                    await helper.end(kindly=True)
                    raise error
                helper.open = True
            answer = await self._question(helper, question, seconds)
            helper.rested_since = now()
            self._idle.append(helper)
            return answer

    async def _take(self) -> Helper:
        if self._closed:
            raise Unreachable("the CUDA driver's helper is closed", retryable=False)
        self._leaving = [helper for helper in self._leaving if not helper.ended]
        if len(self._leaving) > MOST_STUCK:
            pids = ", ".join(str(helper.pid) for helper in self._leaving)
            raise Unreachable(f"pids {pids} are stuck in the CUDA driver; it is not asked until one is free", hint=LOOK_AT_THE_LOG)
        while self._idle:
            helper = self._idle.pop()
            if not helper.ended and now() - helper.rested_since < KEPT_SECONDS:
                return helper
            await helper.end(kindly=True)
        return await Helper.start(self._environment)

    async def _question(self, helper: Helper, question: Question, seconds: float) -> Answer:
        helper.pids = frozenset() if question.act in (Act.OPEN, Act.STATES) else frozenset(one.pid for one in question.targets)
        try:
            async with asyncio.timeout(seconds):
                return await helper.ask(replace(question, seconds=seconds + GRACE_SECONDS))
        except TimeoutError:
            await self._kill(helper)
            raise Deadline(f"the CUDA driver did not answer within {seconds:.3g} s ({question.act})", hint=LOOK_AT_THE_LOG) from None
        except (OSError, EOFError):
            await self._kill(helper)
            raise Unreachable(f"the CUDA driver's helper ended unexpectedly ({question.act})", hint=LOOK_AT_THE_LOG) from None
        except InvalidInput as error:
            await self._kill(helper)
            raise Unreachable(f"the CUDA driver's helper answered nonsense: {error.message}") from None
        except asyncio.CancelledError:
            helper.leave()
            self._leaving.append(helper)
            raise

    async def _kill(self, helper: Helper) -> None:
        await helper.end(kindly=False)
        if not helper.ended:
            self._leaving.append(helper)
            log.error("pid %d is stuck in the CUDA driver and cannot be killed", helper.pid)

    def _openable(self, process: Process, cards: Sequence[str]) -> frozenset[str]:
        """Whose device node is in the process' own /dev. Nobody in a container can make one (no CAP_MKNOD), so it is there because it was given."""
        minors = card_minors(self._proc / "driver/nvidia/gpus")
        # The kernel's own link, to a root that was made for the container; from there one name at a time, through no link.
        with folder(str(self._proc / str(process.pid) / "root")) as root, folder("dev", root) as dev:
            return frozenset(card for card in cards if card in minors and has_node(dev, minors[card]))


@contextmanager
def folder(path: str, under: int | None = None) -> Iterator[int]:
    number = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | (0 if under is None else os.O_NOFOLLOW), dir_fd=under)
    try:
        yield number
    finally:
        os.close(number)


def has_node(dev: int, minor: int) -> bool:
    with suppress(OSError):
        seen = os.stat(f"nvidia{minor}", dir_fd=dev, follow_symlinks=False)
        return stat.S_ISCHR(seen.st_mode) and seen.st_rdev == os.makedev(NVIDIA_MAJOR, minor)
    return False


def card_minors(gpus: Path) -> dict[str, int]:
    """Uuid to N of /dev/nvidiaN, as the driver's kernel module tells it."""
    found: dict[str, int] = {}
    for path in sorted(gpus.glob("*/information")):
        words = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        facts = {word.strip(): value.strip() for word, value in words.items()}
        if facts.get("Device Minor", "").isdigit():
            found[facts.get("GPU UUID", "")] = int(facts["Device Minor"])
    return found


def lacking(answer: Answer) -> HostUnfit | None:
    if answer.lack is Lack.LIBRARY:
        return absent()
    if answer.lack is Lack.OLD:
        return too_old(answer.version)
    if answer.code:
        hint = "see what the driver says: nvidia-smi"
        return HostUnfit(f"the CUDA driver cannot be used: {answer.name}", hint=hint, code="cuda_unusable", retryable=True)
    return None


def target(process: Process) -> Target:
    return Target(process.pid, process.start_ticks)


def now() -> float:
    return asyncio.get_running_loop().time()
