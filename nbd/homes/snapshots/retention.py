"""Which snapshots stay, and why. Pure: the rules are data, every kept one has all its reasons, `now` is a parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..model import Listed

HOUR = 3600 * 1_000_000_000
DAY = 24 * HOUR
BEFORE = "before a restore"
"""The name of what a restore in place was about to replace: nobody gave it, so it keeps a snapshot for a while and not for ever."""
PASSING = ("", BEFORE)
"""What is called so may get another name, by which it is kept for ever."""
EPOCH_MONDAY = 4 * DAY
"""1970 began on a Thursday; its first Monday was the fifth of January."""


@dataclass(frozen=True, slots=True)
class Policy:
    recent: int = HOUR
    """Every one younger than this stays."""
    hourly: int = 24
    daily: int = 14
    weekly: int = 8
    monthly: int = 6
    befores: int = 5
    """Of those from before a restore."""


@dataclass(frozen=True, slots=True)
class Kept:
    snapshot: Listed
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    keep: tuple[Kept, ...]
    drop: tuple[Listed, ...]


def month(time: int) -> int:
    """A number that is the same within one month: the civil calendar from a day count (Hinnant), because a pure module knows no clock."""
    days = time // DAY + 719468
    era, day = divmod(days, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    rest = day - (365 * year + year // 4 - year // 100)
    number = (5 * rest + 2) // 153
    return (era * 400 + year) * 12 + number


BUCKETS: tuple[tuple[str, Callable[[int], int]], ...] = (
    ("hourly", lambda time: time // HOUR),
    ("daily", lambda time: time // DAY),
    ("weekly", lambda time: (time - EPOCH_MONDAY) // (7 * DAY)),
    ("monthly", month),
)


def retain(snapshots: Sequence[Listed], policy: Policy, now: int) -> Verdict:
    """Newest first: the last one of each hour, day, week and month, as many of each as the policy says; named ones and the newest always, but of
    those from before a restore the newest few."""
    newest_first = sorted(snapshots, key=lambda listed: (listed.time, listed.id), reverse=True)
    left = {"hourly": policy.hourly, "daily": policy.daily, "weekly": policy.weekly, "monthly": policy.monthly}
    last: dict[str, int] = {}
    befores = [listed.id for listed in newest_first if listed.name == BEFORE][: policy.befores]
    keep, drop = [], []
    for position, listed in enumerate(newest_first):
        reasons = ["the newest"] if position == 0 else []
        if listed.id in befores:
            reasons.append(f"one of the newest {policy.befores} from {BEFORE}")
        elif listed.name not in PASSING:
            reasons.append(f"named {listed.name}")
        if listed.time > now - policy.recent:
            reasons.append("recent")
        for title, bucket in BUCKETS:
            value = bucket(listed.time)
            if left[title] > 0 and last.get(title) != value:
                last[title] = value
                left[title] -= 1
                reasons.append(title)
        if reasons:
            keep.append(Kept(listed, tuple(reasons)))
        else:
            drop.append(listed)
    return Verdict(tuple(keep), tuple(drop))
