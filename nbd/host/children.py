"""Long-running children of `nbd dev`: each in a session of its own (Ctrl-C in the terminal reaches only us, who end them in order), each told
by the kernel to end when we are killed, each started again when it dies by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1
"""prctl(2)."""
END_SECONDS = 15.0
CALM_SECONDS = 10.0
"""A child that lived this long is started again at once; one that keeps dying waits longer each time."""
MOST_BACKOFF_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    argv: tuple[str, ...]
    descriptors: tuple[int, ...] = ()
    """Of ours, handed on under the same numbers."""


class Child:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.refused = False
        """Whether it has ended with an error of its own, which starting it again mends only when somebody mends the box meanwhile."""

    @property
    def name(self) -> str:
        return self._program.name

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        self._process = await spawn(self._program)
        self._keeper = asyncio.create_task(self._keep(), name=f"keeper of {self._program.name}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._process:
            await end(self._process)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = 0.2
        while self._process:
            began = loop.time()
            code = await self._process.wait()
            self.refused = self.refused or code > 0
            backoff = 0.2 if loop.time() - began > CALM_SECONDS else min(backoff * 2, MOST_BACKOFF_SECONDS)
            log.error("%s ended by itself (%s); it is started again in %g s", self._program.name, code, backoff)
            await asyncio.sleep(backoff)
            self._process = await spawn(self._program)


async def spawn(program: Program) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *program.argv, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_parent, pass_fds=program.descriptors
    )


async def end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def run_once(argv: Sequence[str], uid: int | None, gid: int | None) -> int:
    """Run to its end in this terminal; its exit code."""
    process = await asyncio.create_subprocess_exec(*argv, user=uid, group=gid, extra_groups=None if uid is None else [])
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await end(process)


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
