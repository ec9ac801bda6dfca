"""The person's own rules for what is left out of snapshots: `.nbdignore` at the top of the home."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Kind
from ..ports import OpenHome

RULES_FILE = b".nbdignore"
MOST_RULES = 64 << 10


class OwnRules(NamedTuple):
    text: str = ""
    trouble: str = ""
    """Why there is a file of that name, and it cannot be heeded."""


async def own_rules(home: OpenHome) -> OwnRules:
    (listing,) = await home.look([(b"", True)])
    seen = next((one for one in listing.entries if one.name == RULES_FILE), None)
    if seen is None:
        return OwnRules()
    if seen.kind != Kind.FILE:
        return OwnRules(trouble="it is no plain file (no link is followed)")
    if seen.size > MOST_RULES:
        return OwnRules(trouble=f"it is larger than {MOST_RULES >> 10} KiB")
    reading = (await home.read(b"", [seen]))[0]
    return OwnRules(reading.data.decode("utf-8", "surrogateescape"), reading.trouble)
