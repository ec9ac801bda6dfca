"""The evidence of the last day, one file a notebook, one line a record: appended to, and cut to its newer half when it would become too large.

A crash may lose the end of a file, and no more: what a line lacks to be whole is dropped, before the next is written behind it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import HostUnfit, InvalidInput
from .blocking import Blocking
from .fileops import FileOps

T = TypeVar("T")

MOST_BYTES = 1 << 20
KEPT_BYTES = MOST_BYTES // 2
"""After a cut, so that the next is far away."""
ENDING, ASIDE = ".log", ".new"
ID = re.compile(r"[a-z0-9]{1,64}")
SECONDS = 5.0
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class RecordFiles:
    def __init__(self, folder: Path, files: FileOps | None = None) -> None:
        self._folder = folder
        self._files = files or FileOps()
        self._door = Blocking(1, f"the disk may hang; look: df -h {folder}")
        self._turn = threading.Lock()
        """A thread may outlive the call that wanted it."""
        self._sizes: dict[str, int] = {}
        """Of files whose end is known to be whole."""

    async def append(self, notebook: str, line: bytes) -> None:
        """Raises HostUnfit, Deadline: this line may be lost, those before it are not."""
        if b"\n" in line or b"\0" in line or len(line) >= KEPT_BYTES:
            raise InvalidInput("a record is one short line")
        await self._run(lambda: self._append(notebook, line + b"\n"))

    async def read(self, notebook: str) -> Sequence[bytes]:
        """Raises HostUnfit, Deadline."""
        return await self._run(lambda: whole_lines(self._content(notebook)).split(b"\n")[:-1])

    async def keep_only(self, notebooks: Collection[str]) -> None:
        """Raises HostUnfit, Deadline."""
        kept = {f"{notebook}{ENDING}" for notebook in notebooks}
        await self._run(lambda: self._keep_only(kept))

    async def _run(self, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._turn:
                return work()

        try:
            return await self._door.run("the disk with the evidence of idleness", SECONDS, alone)
        except OSError as error:
            hint = f"look: df -h {self._folder}; df -i {self._folder}"
            raise HostUnfit(f"the evidence of idleness cannot be kept: {error.strerror}", code="state_unfit", hint=hint, retryable=True) from None

    def _path(self, notebook: str) -> Path:
        if not ID.fullmatch(notebook):
            raise InvalidInput(f"{notebook[:60]!r} is no notebook's id")
        return self._folder / f"{notebook}{ENDING}"

    def _content(self, notebook: str) -> bytes:
        try:
            return self._path(notebook).read_bytes()
        except FileNotFoundError:
            return b""

    def _append(self, notebook: str, line: bytes) -> None:
        if notebook not in self._sizes:
            self._open(notebook)
        if self._sizes[notebook] + len(line) > MOST_BYTES:
            self._rewrite(notebook, newest(self._content(notebook), KEPT_BYTES - len(line)))
        descriptor = os.open(self._path(notebook), FLAGS, 0o600)
        try:
            # Not known to be whole from here until all of it is written.
            size = self._sizes.pop(notebook)
            while line:
                written = os.write(descriptor, line)
                line, size = line[written:], size + written
            self._sizes[notebook] = size
        finally:
            os.close(descriptor)

    def _open(self, notebook: str) -> None:
        """A file as an earlier nbd left it, or a failed write."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._content(notebook)
        whole = whole_lines(found)
        if whole == found and len(found) <= MOST_BYTES:
            self._sizes[notebook] = len(found)
        else:
            self._rewrite(notebook, newest(whole, KEPT_BYTES))

    def _rewrite(self, notebook: str, content: bytes) -> None:
        path = self._path(notebook)
        self._files.write_synced(path.with_suffix(ASIDE), content)
        self._files.rename(path.with_suffix(ASIDE), path)
        self._sizes[notebook] = len(content)

    def _keep_only(self, kept: Collection[str]) -> None:
        found = [path for path in self._folder.iterdir() if path.suffix in (ENDING, ASIDE)] if self._folder.is_dir() else []
        for path in found:
            if path.name not in kept:
                self._sizes.pop(path.stem, None)
                self._files.unlink(path)


def whole_lines(content: bytes) -> bytes:
    """Without a line that was cut off at the end, and without what a file system made up where it lost one: zeros."""
    whole = content[: content.rfind(b"\n") + 1]
    if b"\0" not in whole:
        return whole
    return b"".join(line + b"\n" for line in whole.split(b"\n")[:-1] if b"\0" not in line)


def newest(content: bytes, most: int) -> bytes:
    """The last whole lines, at most so many bytes of them."""
    whole = whole_lines(content)
    if len(whole) <= most:
        return whole
    return whole[whole.find(b"\n", len(whole) - most - 1) + 1 :]
