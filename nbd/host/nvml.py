"""The NVIDIA driver behind one door: `gpus.ports.Cards`, asked through a helper process (`nvml_helper.py`) that can be killed.

The helper starts at the first call, so nothing waits for NVML that does not ask for it. One question is under way at a time, each with a
deadline. Who stays silent past it is killed, and its successor starts no sooner than the back-off says; until then every call fails at once
with what is known. A helper that is stuck inside the kernel survives even SIGKILL: as long as it is there no second one is sent after it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import wire
from ..errors import Deadline, InvalidInput, Unreachable
from ..gpus.model import Card
from ..gpus.ports import CardProcess, DriverFacts, Reading
from ..idle.model import GpuLook
from .linehelper import LONGEST_LINE, LineHelper
from .nvml_lines import Answer, Ask, Kind, Question

log = logging.getLogger(__name__)

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
LOOK_AT_THE_LOG = "see what the driver says: journalctl -k -g 'NVRM|Xid'"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds."""

    open: float = 15.0
    """Start the helper and open the driver, which takes seconds on a box without nvidia-persistenced."""
    call: float = 2.0
    backoff: float = 0.5
    """Before the second start; doubled with each failure in a row up to `longest_backoff`."""
    longest_backoff: float = 30.0


class Helper(LineHelper):
    """Answers questions by their number: who was cancelled leaves an answer behind."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._number = 0

    @classmethod
    async def start(cls, environment: Mapping[str, str]) -> Helper:
        command = (sys.executable, "-P", "-m", "nbd.host.nvml_helper", str(os.getpid()))
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment, limit=LONGEST_LINE)
        return cls(process)

    async def ask(self, ask: Ask) -> Answer:
        """Raises InvalidInput for an answer that is none, OSError or EOFError when the process has ended."""
        self._number += 1
        await self.send(wire.encode(Question(self._number, ask)))
        while True:
            answer = wire.decode(Answer, await self.line())
            if answer.number == self._number:
                return answer


class NvmlCards:
    """`library_folder`: where to look for libnvidia-ml.so.1 first. `simulated_box`: the file that nbd's simulated library plays."""

    def __init__(self, *, library_folder: Path | None = None, simulated_box: Path | None = None, deadlines: Deadlines | None = None) -> None:
        self._environment = environment(library_folder, simulated_box)
        self._simulated = simulated_box is not None
        self._deadlines = deadlines or Deadlines()
        self._lock = asyncio.Lock()
        """One question is under way at a time."""
        self._helper: Helper | None = None
        self._open = False
        """The helper has a driver session. Without one the next question is OPEN, with its longer deadline."""
        self._failures = 0
        self._failure: Unreachable | None = None
        self._not_before = 0.0
        self._closed = False
        self._had_cards = False

    async def cards(self) -> Sequence[Card]:
        answer = await self._ask(Ask.CARDS)
        self._had_cards = self._had_cards or bool(answer.cards)
        return answer.cards

    async def processes(self) -> Sequence[CardProcess]:
        return (await self._ask_who(Ask.PROCESSES)).processes

    async def work(self) -> GpuLook:
        """Who worked since the last call. Of all callers one alone may ask this."""
        answer = await self._ask_who(Ask.WORK)
        look = answer.work or GpuLook()
        self._had_cards = self._had_cards or bool(look.cards)
        return look

    async def readings(self) -> Sequence[Reading]:
        return (await self._ask(Ask.READINGS)).readings

    async def driver(self) -> DriverFacts:
        try:
            answer = await self._ask(Ask.CARDS)
        except Unreachable as error:
            return DriverFacts(None, self._simulated, error.message)
        if answer.trouble:
            return DriverFacts(None, self._simulated, answer.trouble.message)
        return DriverFacts(answer.version, self._simulated, "" if answer.cards else "no NVIDIA GPU in this box")

    async def close(self) -> None:
        """Leaves no process, within two END_SECONDS. A call that is under way fails."""
        self._closed = True
        helper, self._helper = self._helper, None
        if helper:
            await helper.end(kindly=not self._lock.locked())

    async def _ask_who(self, ask: Ask) -> Answer:
        answer = await self._ask(ask)
        if answer.trouble and self._had_cards:
            # Where cards were a moment ago, a missing driver is one that is being replaced: it does not prove that nobody uses them.
            raise Unreachable(answer.trouble.message, hint=LOOK_AT_THE_LOG)
        return answer

    async def _ask(self, ask: Ask) -> Answer:
        """The answer; its `trouble` is never other than ABSENT. Raises Deadline or Unreachable."""
        async with self._lock:
            helper = await self._running_helper()
            if not self._open:
                opened = await self._question(helper, Ask.OPEN, self._deadlines.open)
                if opened.trouble:
                    return opened
            return await self._question(helper, ask, self._deadlines.call)

    async def _running_helper(self) -> Helper:
        if self._closed:
            raise Unreachable("the GPU driver's helper is closed", retryable=False)
        if self._failure and (asyncio.get_running_loop().time() < self._not_before or self._stuck()):
            raise type(self._failure)(self._failure.message, hint=self._failure.hint)
        if self._helper is None or self._helper.ended:
            self._open = False
            self._helper = await Helper.start(self._environment)
            if self._closed:
                await self._helper.end(kindly=False)
                raise Unreachable("the GPU driver's helper is closed", retryable=False)
        return self._helper

    def _stuck(self) -> bool:
        return self._failure is not None and self._helper is not None and not self._helper.ended

    async def _question(self, helper: Helper, ask: Ask, seconds: float) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                answer = await helper.ask(ask)
        except TimeoutError:
            raise await self._give_up(Deadline(f"the NVIDIA driver did not answer within {seconds:g} s", hint=LOOK_AT_THE_LOG)) from None
        except InvalidInput as error:
            raise await self._give_up(Unreachable(f"the NVIDIA driver's helper answered nonsense: {error.message}")) from None
        except (OSError, EOFError):
            raise await self._give_up(Unreachable("the NVIDIA driver's helper ended unexpectedly", hint=LOOK_AT_THE_LOG)) from None
        self._open = answer.trouble is None
        if answer.trouble and answer.trouble.kind is Kind.BROKEN:
            # The next helper loads the library anew: after an upgrade of the driver it is another one.
            raise await self._give_up(Unreachable(answer.trouble.message, hint=LOOK_AT_THE_LOG))
        self._failure, self._failures = None, 0
        return answer

    async def _give_up(self, failure: Unreachable) -> Unreachable:
        """End the helper and set the back-off. Returns `failure` for the caller to raise."""
        helper = self._helper
        if self._closed or helper is None:
            return Unreachable("the GPU driver's helper is closed", retryable=False)
        longest = self._deadlines.longest_backoff
        self._not_before = asyncio.get_running_loop().time() + min(self._deadlines.backoff * 2**self._failures, longest)
        self._failures, self._failure, self._open = self._failures + 1, failure, False
        await helper.end(kindly=False)
        if helper.ended:
            self._helper = None
        else:
            log.error("pid %d is stuck in the NVIDIA driver and cannot be killed; the GPUs cannot be asked until it is", helper.pid)
        return failure


def environment(library_folder: Path | None, simulated_box: Path | None) -> dict[str, str]:
    """The helper's: ours, with nbd importable from wherever it runs, and the library's folder first in the loader's path."""
    changed = {"PYTHONPATH": joined(str(PACKAGE_PARENT), os.environ.get("PYTHONPATH"))}
    if library_folder is not None:
        changed["LD_LIBRARY_PATH"] = joined(str(library_folder), os.environ.get("LD_LIBRARY_PATH"))
    if simulated_box is not None:
        changed["NBD_SIMULATED_GPUS"] = str(simulated_box)
    return {**os.environ, **changed}


def joined(first: str, rest: str | None) -> str:
    return f"{first}{os.pathsep}{rest}" if rest else first
