"""Leases and quarantines that live as long as the test. Passes tests/contracts/test_lease_store.py.

Each call gives way to other tasks before it takes effect, as a real one does: races show only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from nbd.gpus.model import Lease


class MemoryLeases:
    def __init__(self) -> None:
        self._leases: list[Lease] = []
        self._quarantines: dict[str, str] = {}

    async def leases(self) -> Sequence[Lease]:
        await asyncio.sleep(0)
        return tuple(self._leases)

    async def replace(self, notebook: str, leases: Iterable[Lease]) -> None:
        await asyncio.sleep(0)
        self._leases = [lease for lease in self._leases if lease.notebook != notebook] + list(leases)

    async def quarantines(self) -> Mapping[str, str]:
        return dict(self._quarantines)

    async def quarantine(self, card: str, reason: str) -> None:
        self._quarantines[card] = reason

    async def lift(self, card: str) -> None:
        self._quarantines.pop(card, None)
