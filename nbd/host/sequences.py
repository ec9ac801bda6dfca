"""The highest sequence seen of each person's snapshots, in one small file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ..errors import HostUnfit, StateUnusable
from .fileops import FileOps


class SequenceFile:
    def __init__(self, path: Path, files: FileOps | None = None) -> None:
        self._path, self._files = path, files
        self._lock = asyncio.Lock()
        self._known: dict[str, int] = {}
        if path.exists():
            try:
                self._known = {str(person): int(number) for person, number in json.loads(path.read_text()).items()}
            except (ValueError, AttributeError, TypeError) as error:
                hint = f"look at it; without it a store that was put back is not noticed: {path}"
                raise StateUnusable(f"{path} is not what sync wrote: {error}", hint=hint) from None

    async def people(self) -> list[str]:
        return sorted(self._known)

    async def highest(self, person: str) -> int:
        return self._known.get(person, 0)

    @property
    def used(self) -> bool:
        """Whether this box has seen any snapshot."""
        return bool(self._known)

    async def note(self, person: str, sequence: int) -> None:
        async with self._lock:
            if sequence > self._known.get(person, 0):
                known = {**self._known, person: sequence}
                await asyncio.to_thread(write, self._path, json.dumps(known), self._files)
                self._known = known


def write(path: Path, text: str, files: FileOps | None = None) -> None:
    """The whole file, durable, or as it was. Raises HostUnfit."""
    try:
        replace(path, text.encode(), files or FileOps())
    except OSError as error:
        hint = f"make room; look: df -h {path.parent}; df -i {path.parent}"
        raise HostUnfit(f"{path} cannot be written: {error.strerror}", code="state_unfit", hint=hint, retryable=True) from None


def replace(path: Path, content: bytes, files: FileOps) -> None:
    aside = path.with_suffix(".new")
    files.write_synced(aside, content)
    files.rename(aside, path)
    files.sync_folder(path.parent)
