"""The person's own rules for what is left out of snapshots: `.nbdignore` at the top of the home."""

from __future__ import annotations

from ..model import Kind
from ..ports import OpenHome

RULES_FILE = b".nbdignore"
MOST_RULES = 64 << 10


async def own_rules(home: OpenHome) -> str:
    """Its text; empty where there is none that can be read."""
    (listing,) = await home.look([(b"", True)])
    seen = next((one for one in listing.entries if one.name == RULES_FILE and one.kind == Kind.FILE and one.size <= MOST_RULES), None)
    return (await home.read(b"", [seen]))[0].data.decode("utf-8", "surrogateescape") if seen else ""
