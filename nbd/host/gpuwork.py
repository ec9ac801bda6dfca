"""What runs on the cards, with the names of the programs: `idle.ports.GpuWork`, through the driver's one helper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..idle.model import GpuLook
from .nvml import NvmlCards

SHOWN = 15
"""As many characters as the kernel keeps."""


class NvmlWork:
    """The only one who may ask `cards` for work: each question counts from the one before it."""

    def __init__(self, cards: NvmlCards, proc: Path = Path("/proc")) -> None:
        self._cards = cards
        self._proc = proc

    async def look(self) -> GpuLook:
        seen = await self._cards.work()
        return replace(seen, processes=tuple(replace(use, name=self._name(use.pid)) for use in seen.processes))

    def _name(self, pid: int | None) -> str:
        """A program may call itself anything: no more than one line's worth of printable characters is passed on."""
        try:
            named = (self._proc / str(pid) / "comm").read_bytes() if pid is not None else b""
        except OSError:
            return ""
        return "".join(letter for letter in named.decode("utf-8", "replace").rstrip("\n") if letter.isprintable())[:SHOWN]
