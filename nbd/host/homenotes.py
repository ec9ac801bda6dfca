"""What this box keeps of each person's home: one small file a person, replaced atomically; and which box this is."""

from __future__ import annotations

import asyncio
import hashlib
import platform
import secrets
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from .. import wire
from ..errors import InvalidInput, StateUnusable
from ..homes.model import HomeNote
from .sequences import write

ENDING = ".json"
MACHINE = Path("/etc/machine-id")
"""Of this installation; not to be told to anybody as it is (machine-id(5))."""


class NoteFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = asyncio.Lock()
        self._known: dict[str, HomeNote] = {}

    async def people(self) -> list[str]:
        found = await asyncio.to_thread(lambda: [path.name for path in self._folder.glob(f"*{ENDING}")])
        return sorted(unquote(name.removesuffix(ENDING)) for name in found)

    async def read(self, person: str) -> HomeNote:
        if person not in self._known:
            self._known[person] = await asyncio.to_thread(self._read, self._path(person))
        return self._known[person]

    async def change(self, person: str, **values: Any) -> HomeNote:
        async with self._turn:
            before = await self.read(person)
            after = replace(before, **values)
            if after != before:
                await to_its_end(asyncio.to_thread(self._write, self._path(person), after))
                self._known[person] = after
            return after

    def _path(self, person: str) -> Path:
        return self._folder / f"{quote(person, safe='@')}{ENDING}"

    def _read(self, path: Path) -> HomeNote:
        try:
            return wire.decode(HomeNote, path.read_bytes())
        except FileNotFoundError:
            return HomeNote()
        except InvalidInput as error:
            hint = f"look at it; without it a home that is half brought back is taken for whole: {path}"
            raise StateUnusable(f"{path} is not what sync wrote: {error.message}", hint=hint) from None

    def _write(self, path: Path, note: HomeNote) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write(path, wire.encode(note))


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """A thread cannot be called back: whoever is cancelled meanwhile goes when it is done, and not before."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def box_of(path: Path, machine: Path = MACHINE) -> str:
    """A name by which this box's snapshots are known from another's; made once, and anew where its state was copied to another machine."""
    try:
        here = machine.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        here = ""
    mark = hashlib.sha256(f"nbd box {here}".encode()).hexdigest()[:16]
    try:
        name, made_on = path.read_text(encoding="utf-8").split()
    except (FileNotFoundError, ValueError):
        name = made_on = ""
    if made_on != mark:
        name = f"{platform.node()[:60]}-{secrets.token_hex(2)}"
        write(path, f"{name} {mark}\n")
    return name
