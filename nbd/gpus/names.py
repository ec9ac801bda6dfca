"""What the cards are called, remembered: a page with 200 notebooks does not ask the driver, and a card that fell off the bus keeps its name.

A simulated card says so in its name: wherever a notebook's cards are shown, nobody takes it for a real one.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Unreachable
from .ports import Cards


class CardNames:
    def __init__(self, cards: Cards) -> None:
        self._cards = cards
        self._names: dict[str, str] = {}

    async def refresh(self) -> None:
        """Ask the driver; one that does not answer changes nothing."""
        try:
            played = " (simulated)" if (await self._cards.driver()).simulated else ""
            self._names |= {card.uuid: card.name + played for card in await self._cards.cards()}
        except Unreachable:
            return

    def known(self) -> Mapping[str, str]:
        return self._names
