"""Who of those who wait gets cards now, and what do the others read?

First come, first served, with one exception that costs nobody anything: a later waiter may overtake when it takes no card that an earlier waiter
could use. "Could use" includes cards that are leased or out of service at the moment: if they were not kept, a stream of small requests would
starve a big one. A waiter that the box can never serve keeps no card from anybody.

A newcomer who does not want to wait is asked about as if he were last in line; so nobody gets past the queue by not queueing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .allocate import ClockText, allocate, unfit
from .model import Card, Grant, Lease, Refusal, Request, Sharing


@dataclass(frozen=True, slots=True)
class Waiter:
    notebook: str
    """The notebook's id."""
    holder: str
    """ "bob/train": what people are shown."""
    request: Request
    since: float
    """Wall-clock seconds since the epoch; shown to people. The order is the order of arrival, whatever the clock did."""


@dataclass(frozen=True, slots=True)
class Place:
    waiter: Waiter
    position: int
    """1 is next."""
    refusal: Refusal
    """Why not yet. `worth_waiting` is False for a waiter that the box can never serve."""


@dataclass(frozen=True, slots=True)
class Turn:
    granted: tuple[tuple[Waiter, Grant], ...]
    waiting: tuple[Place, ...]


def take_turns(cards: Sequence[Card], leases: Iterable[Lease], waiters: Iterable[Waiter], clock_text: ClockText) -> Turn:
    """Serve `waiters`, given in order of arrival. All the grants can be carried out together: no card is in two of them."""
    in_force = list(leases)
    kept: dict[str, str] = {}
    granted: list[tuple[Waiter, Grant]] = []
    waiting: list[Place] = []
    for waiter in waiters:
        answer = allocate(cards, in_force, waiter.request, clock_text, kept)
        if isinstance(answer, Grant):
            granted.append((waiter, answer))
            in_force += leases_of(waiter, answer, waiter.since)
            continue
        waiting.append(Place(waiter, len(waiting) + 1, answer))
        if answer.worth_waiting:
            for uuid in usable(cards, waiter.request):
                kept.setdefault(uuid, f"kept for {waiter.holder}, who waits since {clock_text(waiter.since)}")
    return Turn(tuple(granted), tuple(waiting))


def usable(cards: Sequence[Card], request: Request) -> list[str]:
    """The cards that could serve `request` once nobody held them and they were all in service."""
    obstacles = ((card.uuid, unfit(card, cards, request)) for card in cards)
    return [uuid for uuid, obstacle in obstacles if obstacle is None or obstacle.for_now]


def leases_of(waiter: Waiter, grant: Grant, since: float) -> list[Lease]:
    request = waiter.request
    return [Lease(card, waiter.notebook, waiter.holder, since, request.sharing, promised(request)) for card in grant.cards]


def promised(request: Request) -> int:
    """The VRAM that a lease promises; an exclusive one has the whole card and promises no share of it."""
    return request.memory_bytes if request.sharing is Sharing.SHARED else 0
