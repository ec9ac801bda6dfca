"""Puts every home under a new master key. Nothing that is stored is written anew but the wrapped home keys, so it takes a moment; it may be killed
and said again at any point, and until it has ended both keys open what they opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ...errors import NbdError
from ..ports import KeyShelf
from ..vault import Vault


@dataclass(frozen=True, slots=True)
class Rotated:
    homes: int
    failed: tuple[str, ...]


class Rotation:
    def __init__(self, vault: Vault, shelf: KeyShelf, seen: Callable[[], Awaitable[Iterable[str]]]) -> None:
        """`seen`: whose homes can be seen in the store, as far as anybody's can; those that this box keeps are known anyway."""
        self._vault, self._shelf, self._seen = vault, shelf, seen

    async def rotate(self) -> Rotated:
        """What fails is told and left under the former key, which stays for it. Raises Refused, HostUnfit and what the store raises."""
        await self._shelf.begin()
        homes, failed = 0, []
        for person in sorted({*await self._seen(), *await self._vault.people()}):
            try:
                homes += await self._vault.rewrap(person)
            except NbdError as error:
                failed.append(f"{person}: {error.message}")
        if not failed:
            await self._shelf.finish()
        return Rotated(homes, tuple(failed))
