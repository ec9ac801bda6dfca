"""What people are told of their home's snapshots. Pure."""

from __future__ import annotations

import datetime
from urllib.parse import quote

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
    return EntryView(shown(one.name), kind(one), one.mode, one.size, one.mtime / 1e9, note, quoted(one.name))


def kind(one: Entry) -> str:
    return Kind(one.kind).name.lower()


def difference(one: Difference) -> DifferenceView:
    before, after = (entry.size if entry else None for entry in (one.before, one.after))
    what = kind(entry) if (entry := one.after or one.before) else ""
    return DifferenceView(one.change, shown(one.path) or ".", shown(one.source), what, before, after, quoted(one.path))


def quoted(path: bytes) -> str:
    """Percent-encoded, where it is not plain UTF-8."""
    try:
        path.decode()
    except UnicodeDecodeError:
        return quote(path)
    return ""


def withheld(guardian: Guardian) -> str:
    """Why a person has to confirm what is gone."""
    known = guardian.known
    if known.trouble is not None and known.trouble.code == "home_missing":
        return known.trouble.message
    return known.withheld


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
