"""Who gives its card back sooner because somebody waits for one. Pure.

Only of those that are idle, the longest idle first, one for each that waits; nobody's running work is touched, and each is warned as for any other
step. Off unless the admin sets `preempt_after`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .model import Policy

RULE = "the admin's rule for when somebody waits for a GPU"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A notebook that holds a card, is idle, and can be parked."""

    notebook: str
    idle_seconds: float


def chosen(candidates: Iterable[Candidate], waiting: int) -> frozenset[str]:
    ordered = sorted(candidates, key=lambda one: (-one.idle_seconds, one.notebook))
    return frozenset(one.notebook for one in ordered[: max(0, waiting)])


def hurried(policy: Policy, after: float) -> Policy:
    """The same, but parked after no more than this. What is never to be parked (its programs may not survive it) is not for who waits either."""
    if policy.park_after is None or policy.park_after <= after:
        return policy
    return replace(policy, park_after=after, origins={**policy.origins, "park_after": RULE})
