"""Outside programs: an argument list, never a shell line; a deadline; and no child left behind when the caller goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Deadline, HostUnfit


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


async def run(argv: Sequence[str], seconds: float, given: str = "") -> Outcome:
    """Run to its end. Raises HostUnfit when there is no such program, Deadline (after killing it) when it takes too long."""
    process = await started(argv)
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(given.encode())
    except TimeoutError:
        await end(process)
        raise Deadline(f"{argv[0]} did not end within {seconds:g} s") from None
    except BaseException:
        await end(process)
        raise
    return Outcome(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


async def started(argv: Sequence[str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True))
    try:
        return await asyncio.shield(starting)
    except (FileNotFoundError, PermissionError):
        raise HostUnfit(f"the program {argv[0]} is not installed", hint=f"install it: apt-get install {argv[0]}") from None
    except asyncio.CancelledError:
        # asyncio would end a half-started one alone, not what that has started meanwhile.
        with contextlib.suppress(OSError):
            await end(await starting)
        raise


async def end(process: asyncio.subprocess.Process) -> None:
    """With all that it started: one of those may be what holds its output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
