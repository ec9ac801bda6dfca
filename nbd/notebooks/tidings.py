"""What happened to a home between two looks at how it stands, as it is told to its person. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..homemessages import HomeBrief, HomeEvent, HomeEventKind
from .homecoming import amount

Kind = HomeEventKind


def tidings(before: HomeBrief | None, after: HomeBrief, now: float) -> list[HomeEvent]:
    """Nothing is told twice while it stays as it is. Without a `before`, core has just come up: only what is wrong is told."""
    told = [*wrong(before or HomeBrief(after.person), after), *(well(before, after) if before else ())]
    return [HomeEvent(kind, after.person, text, now) for kind, text in told]


def wrong(before: HomeBrief, after: HomeBrief) -> Iterator[tuple[Kind, str]]:
    if after.trouble and after.trouble != before.trouble:
        yield Kind.TROUBLE, f"your home is not protected: {after.trouble}"
    if after.spooled_bytes and not before.spooled_bytes:
        yield Kind.WAITING, "the store is away: what changes in your home waits on this box"
    if after.withheld and not before.withheld:
        yield Kind.WITHHELD, f"{after.withheld}: nothing is recorded as deleted until you confirm (nbctl home confirm)"
    if after.half and not before.half:
        yield Kind.HALF, "your home was brought here in part only: nothing is recorded of it until it is whole"
    for alarm in after.alarms:
        if alarm not in before.alarms:
            yield Kind.DAMAGED if after.damages else Kind.ALARM, alarm


def well(before: HomeBrief, after: HomeBrief) -> Iterator[tuple[Kind, str]]:
    if before.trouble and not after.trouble:
        yield Kind.PROTECTED, "your home is protected again"
    if before.spooled_bytes and not after.spooled_bytes:
        yield Kind.PROTECTED, f"what waited on this box is in the store ({amount(before.spooled_bytes)})"
    if after.brought and after.brought != before.brought:
        yield Kind.RESTORED, f"your home is what its snapshot {after.brought[:12]} has"
    if after.dropped > before.dropped:
        gone = after.dropped - before.dropped
        yield Kind.PRUNED, f"{gone} {'snapshot was' if gone == 1 else 'snapshots were'} dropped by the rules of retention"
    if before.damages and not after.damages:
        yield Kind.WHOLE, "all that is kept of your home was read, and is as it was stored"
