"""Outside programs: an argument list, never a shell line; a deadline; and no child left behind when the caller goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Deadline, HostUnfit

ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
PACKAGES = {"nft": "nftables"}
"""Where the package is not called like the program."""


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


async def run(argv: Sequence[str], seconds: float, given: str = "") -> Outcome:
    """Run to its end. Raises HostUnfit when there is no such program or none can be started now, Deadline (after killing it) when it is slow."""
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
    words = (found(argv[0]), *argv[1:])
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True))
    try:
        return await asyncio.shield(starting)
    except (FileNotFoundError, PermissionError):
        raise HostUnfit(f"the program {argv[0]} is not installed", hint=f"install it: apt-get install {package_of(argv[0])}") from None
    except OSError as error:
        raise HostUnfit(f"{argv[0]} cannot be started now: {error.strerror or error}", code="cannot_start_programs", retryable=True) from None
    except asyncio.CancelledError:
        # asyncio would end a half-started one alone, not what that has started meanwhile.
        with contextlib.suppress(OSError):
            await end(await starting)
        raise


def found(name: str) -> str:
    """Where a program is: a person's PATH lacks the folders of administration. Its bare name where it is nowhere, for the error."""
    return name if "/" in name else shutil.which(name) or shutil.which(name, path=ADMIN_PATH) or name


def package_of(program: str) -> str:
    return PACKAGES.get(program, program)


async def end(process: asyncio.subprocess.Process) -> None:
    """With all that it started: one of those may be what holds its output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
