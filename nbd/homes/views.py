"""What people are told of their home's snapshots. Pure."""

from __future__ import annotations

import datetime

from ..messages import DifferenceView, EntryView, SnapshotView
from .contents import shown
from .diff import Difference
from .guardian import Guardian
from .model import Entry, Kind, Listed

NOTED = (Kind.LINK, Kind.SKIPPED)


def seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def snapshot(listed: Listed) -> SnapshotView:
    return SnapshotView(listed.id, listed.time / 1e9, listed.event, listed.name)


def entry(one: Entry) -> EntryView:
    note = shown(one.payload) if one.kind in NOTED else ""
    return EntryView(shown(one.name), Kind(one.kind).name.lower(), one.mode, one.size, one.mtime / 1e9, note)


def difference(one: Difference) -> DifferenceView:
    return DifferenceView(one.change, shown(one.path) or ".", shown(one.source))


def sentence(guardian: Guardian) -> tuple[str, str]:
    """How the home is kept, and the next step if there is one."""
    known = guardian.known
    if known.trouble is not None:
        meant = "; if it is as you want it: nbctl home confirm" if known.trouble.code == "home_missing" else ""
        return f"not protected: {known.trouble.message}", (known.trouble.hint or "it is tried again by itself") + meant
    if known.withheld:
        return f"{known.withheld}: what is gone is kept in the snapshots until you confirm", "if that is as it should be: nbctl home confirm"
    if known.rules_trouble:
        return f"protected, and your .nbdignore is left out: {known.rules_trouble}", "mend it: the syntax is that of .gitignore"
    if guardian.watched:
        return "protected" if known.protected is not None else "it is being looked at for the first time", ""
    if known.protected is not None and not guardian.pending():
        return "protected; no notebook runs, so nothing is looked at", ""
    if known.snapshot is not None:
        when = datetime.datetime.fromtimestamp(known.snapshot.time / 1e9, datetime.UTC)
        return f"no notebook runs; the last snapshot is of {when:%Y-%m-%d %H:%M} UTC", ""
    return "there are no snapshots yet: they begin with the next notebook", ""
