"""A helper process that answers lines on its stdout to lines on its stdin: what calls a driver, because a driver can hang and then only a kill helps.

nvml.py and cudapark.py say what the lines are and how long one may take.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process

LONGEST_LINE = 4 * 1024 * 1024
END_SECONDS = 1.0
"""For the helper to end by itself, and again for the kernel to end it."""


class LineHelper:
    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def send(self, line: str) -> None:
        """Raises OSError when the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def line(self) -> bytes:
        """The next one. Raises EOFError when the process has ended."""
        assert self._process.stdout is not None
        if line := await self._process.stdout.readline():
            return line
        raise EOFError

    def leave(self) -> None:
        """It ends when what it is at is over."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def end(self, *, kindly: bool) -> None:
        """Returns within two END_SECONDS; `ended` says whether it did end."""
        self.leave()
        if not (kindly and await self.gone(END_SECONDS)) and not self.ended:
            self._process.kill()
            await self.gone(END_SECONDS)

    async def gone(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True
