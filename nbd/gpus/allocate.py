"""Which cards does a request get?

One pure function over what NVML shows and what is leased. Three promises, each a property test:

* an exclusive lease is alone on its card, and the budgets on a shared card never add up to more than its memory;
* a request that can be granted is granted;
* a refusal names the obstacle of every card that does not fit, because that list is what the waiting person reads.

Preference: the cards that the request names; then the tightest fit (the least unpromised memory that is enough: big cards stay free for who needs
them, and a shared card is filled before another is opened). Among equally tight choices: cards joined by NVLink, then cards on one NUMA node,
then cards that already hold shared leases, then the uuid, so that the same question has the same answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, islice

from .model import GIB, Card, Grant, Lease, Obstacle, Refusal, Request, Sharing

Leases = Mapping[str, Sequence[Lease]]
ClockText = Callable[[float], str]
"""A moment (seconds since the epoch) as people read it: "14:02". Handed in, because it depends on the time zone and on today."""

MOST_CHOICES = 5000
"""How many sets of equally tight cards are compared. Ten whole cards have 252 at most; only MIG instances exceed it, and no link joins those."""


def allocate(
    cards: Iterable[Card], leases: Iterable[Lease], request: Request, clock_text: ClockText, kept: Mapping[str, str] | None = None
) -> Grant | Refusal:
    """Choose `request.count` cards, or say what stands in the way of each.

    Args:
        cards: every card that NVML shows now, quarantined ones too.
        leases: all leases in force; one for a card that is not in `cards` is ignored (the card has gone).
        request: what the profile or the person asks for.
        clock_text: how to write the moment since when a card is leased.
        kept: cards that this request must leave to others, and why: "kept for bob/train, first in line".
    """
    box = list(cards)
    by_card = group(leases)
    obstacles: list[Obstacle] = []
    fitting: list[Card] = []
    for card in box:
        obstacle = unfit(card, box, request) or taken(card, by_card.get(card.uuid, ()), request, clock_text)
        if obstacle is None and kept and card.uuid in kept:
            obstacle = Obstacle(card.uuid, kept[card.uuid], for_now=True)
        if obstacle is None:
            fitting.append(card)
        else:
            obstacles.append(obstacle)

    if len(fitting) >= request.count:
        wished = [card for card in fitting if card.uuid in request.prefer][: request.count]
        others = [card for card in fitting if card not in wished]
        chosen = [*wished, *prefer(others, by_card, request.count - len(wished))]
        return Grant(tuple(card.uuid for card in chosen), describe(chosen))
    return Refusal(tuple(obstacles), summarise(obstacles, len(fitting), request), request.count, len(fitting))


def unfit(card: Card, box: Sequence[Card], request: Request) -> Obstacle | None:
    """Why `card` would not serve `request` even if nobody held it. What never changes is named before what may pass."""
    for reason in (not_among(card, request), wrong_kind(card, box, request), wrong_model(card, request), too_small(card, request)):
        if reason:
            return Obstacle(card.uuid, reason, for_now=False)
    parent = next((other for other in box if other.uuid == card.parent), None)
    quarantine = card.quarantine or (parent.quarantine if parent else None)
    return Obstacle(card.uuid, f"is out of service: {quarantine}", for_now=True) if quarantine else None


def not_among(card: Card, request: Request) -> str | None:
    return "is not one of those asked for" if request.only and card.uuid not in request.only else None


def wrong_kind(card: Card, box: Sequence[Card], request: Request) -> str | None:
    """A whole-card request never gets a MIG instance, nor a card that is cut into them; a MIG request gets that profile only."""
    if any(other.parent == card.uuid for other in box):
        return "is cut into MIG instances"
    if card.mig_profile and request.mig_profile is None:
        return f"is a MIG {card.mig_profile} instance"
    if request.mig_profile is not None and (card.mig_profile or "").casefold() != request.mig_profile.casefold():
        return f"is a MIG {card.mig_profile} instance" if card.mig_profile else "is a whole card"
    return None


def wrong_model(card: Card, request: Request) -> str | None:
    matches = not request.models or any(is_model(card.name, model) for model in request.models)
    return None if matches else f"is another model: {card.name}"


def too_small(card: Card, request: Request) -> str | None:
    if card.memory_bytes >= request.memory_bytes:
        return None
    return f"has {gib(card.memory_bytes)} in all" if card.memory_known else "does not say how much memory it has"


def taken(card: Card, leases: Sequence[Lease], request: Request, clock_text: ClockText) -> Obstacle | None:
    """Why the leases on `card` keep `request` off it."""
    if not leases:
        return None
    if request.sharing is Sharing.EXCLUSIVE or any(lease.sharing is Sharing.EXCLUSIVE for lease in leases):
        first = min(leases, key=lambda lease: (lease.since, lease.holder))
        others = f" and {len(leases) - 1} more" if len(leases) > 1 else ""
        return Obstacle(card.uuid, f"leased by {first.holder}{others} since {clock_text(first.since)}", for_now=True)
    left = unpromised(card, leases)
    if left < request.memory_bytes:
        return Obstacle(card.uuid, f"has {max(left, 0) / GIB:.3g} of {gib(card.memory_bytes)} free", for_now=True)
    return None


def prefer(fitting: Sequence[Card], leases: Leases, count: int) -> Sequence[Card]:
    """The best `count` of `fitting`. The tightest fit leaves a choice only among the cards as roomy as the roomiest chosen one."""

    def room(card: Card) -> int:
        return unpromised(card, leases.get(card.uuid, ()))

    ranked = sorted(fitting, key=lambda card: (room(card), card.uuid not in leases, card.numa_node, card.uuid))
    if count == 0:
        return ()
    limit = room(ranked[count - 1])
    settled = [card for card in ranked if room(card) < limit]
    open_choice = [card for card in ranked if room(card) == limit]

    def cost(choice: Sequence[Card]) -> tuple[int, int, int, list[str]]:
        chosen = [*settled, *choice]
        unlinked = sum(two.uuid not in one.nvlink_peers for one, two in combinations(chosen, 2))
        return unlinked, len({card.numa_node for card in chosen}), sum(c.uuid not in leases for c in chosen), [c.uuid for c in chosen]

    best = min(islice(combinations(open_choice, count - len(settled)), MOST_CHOICES), key=cost)
    return [*settled, *best]


def summarise(obstacles: Sequence[Obstacle], fitting: int, request: Request) -> str:
    total = fitting + len(obstacles)
    if total == 0:
        return "this box has no GPU to use"
    cards = "1 card fits" if total == 1 else f"{total} cards fit"
    asked = f", {request.count} asked for" if request.count > 1 else ""
    reasons = "; ".join(f"{short(obstacle.card)} {obstacle.reason}" for obstacle in obstacles)
    summary = f"{fitting} of {cards}{asked}" + (f": {reasons}" if reasons else "")
    possible = fitting + sum(obstacle.for_now for obstacle in obstacles)
    if possible < request.count:
        summary += f". Waiting does not help: {possible or 'none'} could ever fit"
    return summary


def is_model(name: str, model: str) -> bool:
    """Whether the NVML `name` means `model`: "rtx4090" is in "NVIDIA GeForce RTX 4090", "a4" or "a40" is not in "NVIDIA RTX A4000".

    A match ends where a number or a word ends, and begins where one begins; case, spaces and dashes are nothing.
    """
    wanted = squeeze(model)
    words = name.replace("-", " ").split()
    starts = ["".join(words[first:last]).casefold() for first in range(len(words)) for last in range(first + 1, len(words) + 1)]
    return wanted in starts


def squeeze(text: str) -> str:
    return text.replace(" ", "").replace("-", "").casefold()


def unpromised(card: Card, leases: Sequence[Lease]) -> int:
    return card.memory_bytes - sum(lease.memory_bytes for lease in leases)


def group(leases: Iterable[Lease]) -> dict[str, list[Lease]]:
    by_card: dict[str, list[Lease]] = defaultdict(list)
    for lease in leases:
        by_card[lease.card].append(lease)
    return dict(by_card)


def describe(cards: Sequence[Card]) -> str:
    return " + ".join(f"{card.name} ({gib(card.memory_bytes)})" if card.memory_known else card.name for card in cards)


def short(uuid: str) -> str:
    """ "GPU-51511111-…": enough to tell the cards of one box apart, short enough for a sentence."""
    return uuid[:12]


def gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
