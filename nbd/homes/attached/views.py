"""What people are told of attached data. Pure, but for looking at a carrier."""

from __future__ import annotations

from collections.abc import Mapping

from ...attachments import AttachedView
from ...messages import Unkept
from .carrier import Carrier
from .model import Known
from .names import is_copy

SHOWN = 100
SECOND = 1e9


def view(carrier: Carrier, ledger: Mapping[str, Known]) -> AttachedView:
    attachment, known = carrier.attachment, carrier.known
    copies = sorted({name for one in ledger.values() for name in (one.path, one.key) if is_copy(name)})
    said, hint = sentence(carrier, len(copies))
    return AttachedView(
        id=attachment.id, url=attachment.url, writable=attachment.writable, shared=not attachment.person, used=carrier.used, sentence=said, hint=hint,
        synced=seconds(known.synced), files=known.files or len(ledger), bytes=known.bytes or sum(one.size for one in ledger.values()),
        pending=len(known.waiting), conflicts=tuple(copies[:SHOWN]), withheld=known.withheld, trouble=known.trouble.message if known.trouble else "",
        since=seconds(known.since), left=tuple(Unkept(name, why) for name, why in sorted(known.left.items())[:SHOWN]), left_count=len(known.left),
    )  # fmt: skip


def sentence(carrier: Carrier, copies: int) -> tuple[str, str]:
    """How it is, and the next step if there is one."""
    known, attachment = carrier.known, carrier.attachment
    if known.trouble is not None:
        wait = f"; {changes(len(known.waiting))} here wait{'s' * (len(known.waiting) == 1)}" if known.waiting else ""
        return f"not in step: {known.trouble.message}{wait}", known.trouble.hint or "it is tried again by itself"
    if known.withheld:
        hint = f"if it is meant: nbctl home attached --confirm {attachment.id}"
        return f"what is gone stays on the other side until you confirm: {known.withheld}", hint
    if copies:
        hint = "compare each .conflict- file with the one beside it, then delete or rename it"
        return f"in step; {copies} file{'s' * (copies > 1)} changed on both sides, both versions are kept", hint
    if known.waiting:
        return f"{changes(len(known.waiting))} just being made", ""
    if known.synced is None:
        return "not looked at since nbd sync came up", ""
    return "in step" if carrier.used or attachment.writable else "as it was at the last start", ""


def changes(number: int) -> str:
    return f"{number:,} change{'s' * (number != 1)}"


def seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / SECOND
