"""Editors' logs, as conmon writes them: one file a notebook, lines like `2026-11-20T14:02:00.1+00:00 stdout F text`.

Read from the file and not through Podman, so they are there after the container went and while Podman hangs. Nothing here is privileged
knowledge of a person's files: the folder belongs to nbd alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path

POLL_SECONDS = 0.2
TAIL_BYTES = 256 << 10
HEAD_BYTES = 64
LINE_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has read, and of which file: the next run's may have grown beyond it by the next look."""

    head: bytes = b""
    """How the file begins: no two runs begin at the same nanosecond. The inode's number would not do, it is used again at once."""
    position: int = 0


class FileLogs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, notebook: str) -> str:
        return str(self._folder / f"{notebook}.log")

    async def fresh(self, notebook: str) -> None:
        await self.remove(notebook)

    async def remove(self, notebook: str) -> None:
        Path(self.path(notebook)).unlink(missing_ok=True)

    async def tail(self, notebook: str, lines: int) -> tuple[str, ...]:
        text, _ = self._last(notebook)
        return tuple(text[-lines:]) if lines > 0 else ()

    async def follow(self, notebook: str, lines: int, over: Callable[[], bool]) -> AsyncGenerator[str, None]:
        last, mark = self._last(notebook)
        for line in last[-lines:] if lines > 0 else ():
            yield line
        ended, new = False, [""]
        # Asked before the read: what was written before the end is read after it. A read takes TAIL_BYTES at most.
        while new or not ended:
            await asyncio.sleep(POLL_SECONDS)
            ended = over()
            new, mark = self._since(notebook, mark)
            for line in new:
                yield line

    def _last(self, notebook: str) -> tuple[list[str], Mark]:
        try:
            with open(self.path(notebook), "rb") as file:
                size = file.seek(0, SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                data = file.read()
                file.seek(0)
                head = file.read(HEAD_BYTES)
        except FileNotFoundError:
            return [], Mark()
        whole = data[: data.rfind(b"\n") + 1]
        return plain(whole.splitlines()[1 if size > TAIL_BYTES else 0 :]), Mark(head, size - len(data) + len(whole))

    def _since(self, notebook: str, mark: Mark) -> tuple[list[str], Mark]:
        try:
            with open(self.path(notebook), "rb") as file:
                head, position = file.read(HEAD_BYTES), mark.position
                if not head.startswith(mark.head) or file.seek(0, SEEK_END) < position:
                    position = 0  # A new run, or conmon began the file anew at its size limit.
                file.seek(position)
                data = file.read(TAIL_BYTES)
        except FileNotFoundError:
            return [], Mark()
        whole = data[: data.rfind(b"\n") + 1]
        return plain(whole.splitlines()), Mark(head, position + len(whole))


def plain(lines: list[bytes]) -> list[str]:
    """Without conmon's time, stream and tag. A partial line ("P", cut at 8 KiB by conmon) is joined to what follows."""
    out: list[str] = []
    joined = False
    for line in lines:
        parts = line.decode("utf-8", "replace").split(" ", 3)
        text, partial = (parts[3], parts[2] == "P") if len(parts) == 4 else ("", False)
        if joined and out:
            out[-1] = (out[-1] + text)[:LINE_CHARACTERS]
        else:
            out.append(text[:LINE_CHARACTERS])
        joined = partial
    return out
