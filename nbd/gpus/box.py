"""What there is in the box now: the driver's cards with nbd's quarantines on them, and who holds which."""

from __future__ import annotations

from dataclasses import replace

from .model import Card, Grant, Refusal
from .ports import Cards, LeaseStore


class Box:
    def __init__(self, cards: Cards, store: LeaseStore) -> None:
        self._cards = cards
        self._store = store

    async def cards(self) -> tuple[Card, ...]:
        """What the driver says against a card outranks an older quarantine."""
        quarantines = await self._store.quarantines()
        return tuple(replace(card, quarantine=card.quarantine or quarantines.get(card.uuid)) for card in await self._cards.cards())

    async def held(self, notebook: str) -> Grant | None:
        cards = tuple(lease.card for lease in await self._store.leases() if lease.notebook == notebook)
        return Grant(cards, "already leased") if cards else None

    async def explained(self, answer: Grant | Refusal) -> Grant | Refusal:
        """Where there is no card at all, the driver knows why."""
        if isinstance(answer, Grant) or answer.obstacles or answer.fitting:
            return answer
        reason = (await self._cards.driver()).reason
        return replace(answer, summary=f"{answer.summary}: {reason}" if reason else answer.summary)
