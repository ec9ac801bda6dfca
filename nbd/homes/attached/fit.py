"""Whether what would come down has room on this box. Pure."""

from __future__ import annotations

from ...errors import HostUnfit
from ..model import HomeFacts
from .model import Do, Here, Plan

MOST_FREE = 10 << 30


def fits(made: Plan, here: Here, facts: HomeFacts, most_bytes: int) -> None:
    """Raises HostUnfit before the first byte of what is too much."""
    comes = sum(action.remote.size for action in made.of(Do.DOWNLOAD) if action.remote)
    goes = sum(action.seen.size for action in made.of(Do.DOWNLOAD, Do.DELETE_HERE) if action.seen)
    total = sum(seen.size for seen in here.files.values()) + comes - goes
    if comes and total > most_bytes:
        hint = "attach a part of it, or ask the admin: attached.most"
        raise HostUnfit(f"it holds {gib(total)}, and {gib(most_bytes)} may be attached", code="data_too_large", hint=hint)
    reserve = min(facts.total_bytes // 10, MOST_FREE)
    if comes and comes + reserve > facts.free_bytes:
        hint = f"{gib(reserve)} stay free; look: nbctl home attached"
        raise HostUnfit(f"{gib(comes)} have to come, and {gib(facts.free_bytes)} are free on this box", code="disk_full", hint=hint)


def gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
