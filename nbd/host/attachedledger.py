"""The ledger of one attachment: a file to which lines are added, each with its own checksum. Rewritten when most of it is out of date.

What a crash leaves is read as far as it is whole. A line that is lost costs one comparison of contents, for then a file is not known to be in step.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import HostUnfit
from ..homes.attached.model import Known
from .blocking import Blocking
from .sequences import write

SECONDS = 60.0
SLACK_LINES = 1000


class LedgerFile:
    def __init__(self, path: Path) -> None:
        """Reads it: to be made in a thread. Raises HostUnfit."""
        self._path = path
        self._door = Blocking(1)
        self._turn = asyncio.Lock()
        self._known: dict[str, Known] = {}
        try:
            text = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise unfit(path, error) from None
        lines = text.split(b"\n")
        self._lines = len(lines) - 1
        heard = [self._heard(line) for line in lines[:-1]]
        self._whole = lines[-1] == b"" and all(heard) and path.exists()
        """Every line in the file is one: what is added stands for itself."""

    @property
    def known(self) -> Mapping[str, Known]:
        return self._known

    async def note(self, fresh: Sequence[Known], gone: Sequence[str] = ()) -> None:
        if not fresh and not gone:
            return
        async with self._turn:
            lines = [told([*known]) for known in fresh] + [told([path]) for path in gone]
            if not self._whole:
                await self._door.run(f"the ledger {self._path}", SECONDS, self._rewrite)
            await self._door.run(f"the ledger {self._path}", SECONDS, lambda: self._append(b"".join(lines)))
            self._known.update({known.path: known for known in fresh})
            for path in gone:
                self._known.pop(path, None)
            self._lines += len(lines)
            if self._lines > 2 * len(self._known) + SLACK_LINES:
                await self._door.run(f"the ledger {self._path}", SECONDS, self._rewrite)

    def _heard(self, line: bytes) -> bool:
        try:
            if int(line[:8], 16) != zlib.crc32(line[9:]):
                return False
            words = json.loads(line[9:])
        except ValueError:
            return False
        if len(words) == 1:
            self._known.pop(words[0], None)
        else:
            self._known[words[0]] = Known(*words)
        return True

    def _append(self, data: bytes) -> None:
        try:
            with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb", buffering=0) as file:
                file.write(data)
                os.fsync(file.fileno())
        except OSError as error:
            self._whole = False  # Half a line may stand there now.
            raise unfit(self._path, error) from None

    def _rewrite(self) -> None:
        try:
            write(self._path, b"".join(told([*known]) for known in self._known.values()).decode())
        except OSError as error:
            raise unfit(self._path, error) from None
        self._lines, self._whole = len(self._known), True


def told(words: Iterable[object]) -> bytes:
    text = json.dumps(list(words), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def unfit(path: Path, error: OSError) -> HostUnfit:
    return HostUnfit(f"{path} cannot be kept: {error.strerror}", code="state_unfit", hint=f"look: df -h {path.parent}")
