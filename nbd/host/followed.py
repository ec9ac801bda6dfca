"""Outside programs that take minutes: followed line by line, and ended with all their children when nobody follows any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostUnfit

LIMIT = 1 << 20
"""Longest line that is read whole."""
TAIL = 40
GRACE_SECONDS = 3.0
"""What a program has to clean up after itself before it is killed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. `exit_code` is None when its time was over."""

    exit_code: int | None
    tail: tuple[str, ...]


async def lines(argv: Sequence[str], *, within: float, scratch: Path | None = None) -> AsyncGenerator[str | Ended, None]:
    """Each line of its output and errors as it comes, then `Ended`. Closing or cancelling ends the whole process group.

    `scratch`: where it keeps temporary files. Raises HostUnfit(no_<program>) when it is not installed.
    """
    process = await spawn(argv, {"TMPDIR": str(scratch)} if scratch else {})
    assert process.stdout is not None
    until = asyncio.get_running_loop().time() + within
    tail: deque[str] = deque(maxlen=TAIL)
    try:
        while line := await one_line(process.stdout, until):
            tail.append(line.rstrip())
            yield line.rstrip()
        async with asyncio.timeout_at(until):
            code: int | None = await process.wait()
    except TimeoutError:
        code = None
    finally:
        await end(process)
    yield Ended(code, tuple(tail))


async def one_line(stream: asyncio.StreamReader, until: float) -> str:
    """The next line with its end; empty at the end of the stream. Of a progress bar's redrawings, the last one."""
    try:
        async with asyncio.timeout_at(until):
            raw = await stream.readline()
    except ValueError:  # longer than LIMIT: its rest comes as lines of its own
        return "…\n"
    return raw.decode(errors="replace").replace("\r\n", "\n").rsplit("\r", 1)[-1] or ("\n" if raw else "")


async def spawn(argv: Sequence[str], env: Mapping[str, str]) -> asyncio.subprocess.Process:
    whole = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **env}
    none, pipe, same = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    try:
        # Its own session: whoever presses Ctrl-C in our terminal ends it through us, with its children.
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(*argv, stdin=none, stdout=pipe, stderr=same, env=whole, limit=LIMIT, start_new_session=True)
        )
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # asyncio would end a half-started one alone, not what that has started meanwhile.
        with contextlib.suppress(OSError):
            await end(await starting)
        raise
    except FileNotFoundError as error:
        raise HostUnfit(f"{argv[0]} is not installed here", hint=f"apt-get install {argv[0]}", code=f"no_{argv[0]}") from error


async def end(process: asyncio.subprocess.Process) -> None:
    """End its whole group: politely, then for good. Ended already is done."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
