"""What people are told of their home's snapshots. Pure."""

from __future__ import annotations

import datetime
from urllib.parse import quote

from ..messages import (
    CulpritView,
    DifferenceView,
    EntryView,
    ExcludedView,
    FolderUseView,
    GoneView,
    LossView,
    RoomView,
    RuleView,
    Saving,
    SnapshotView,
    TextView,
    UnsavedView,
    UsageView,
    VersionView,
    WaitingView,
)
from .keeping.guardian import Guardian
from .keeping.looker import Unsaved
from .losses import Losses
from .model import Entry, HomeRequest, Kind, Listed
from .offline.spool import Spooled
from .sizes import culprits
from .sizes.room import Room, Verdict, amount, monthly
from .sizes.surveyor import Survey
from .sizes.usage import CulpritUse
from .snapshots.contents import shown
from .snapshots.diff import Difference
from .snapshots.reader import State, Text
from .snapshots.repository import Moving

NOTED = (Kind.LINK, Kind.SKIPPED)
SHOWN_GONE = 200


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
    before, after = (known.size if known else None for known in (one.before, one.after))
    what = one.after or one.before
    return DifferenceView(one.change, shown(one.path) or ".", shown(one.source), kind(what) if what else "", before, after, quoted(one.path))


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


def saving(moving: Moving, unsaved: Unsaved | None) -> Saving | None:
    """How much of what changed is stored; what is already known of it counts as soon as it is found."""
    if not moving.found:
        return None
    return Saving(moving.sent, max(moving.found, unsaved.bytes if unsaved else 0))


def unsaved(found: Unsaved | None) -> UnsavedView | None:
    return None if found is None else UnsavedView(found.since, found.folders, found.files, found.bytes)


def sentence(guardian: Guardian, *, in_use: bool = False) -> tuple[str, str]:
    """How the home is kept, and the next step if there is one."""
    known = guardian.known
    if known.trouble is not None:
        meant = "; if it is as you want it: nbctl home confirm" if known.trouble.code == "home_missing" else ""
        return f"not protected: {known.trouble.message}", (known.trouble.hint or "it is tried again by itself") + meant
    if known.withheld:
        return f"{known.withheld}: what is gone is kept in the snapshots until you confirm", "if that is as it should be: nbctl home confirm"
    if known.rules_trouble:
        return f"protected, and of your .nbdignore is left out: {known.rules_trouble}", "mend it: the syntax is that of .gitignore"
    if guardian.watched or (in_use and not guardian.pending()):
        return "protected" if known.protected is not None else "it is being looked at for the first time", ""
    if known.protected is not None and not guardian.pending():
        return "protected; no notebook runs, so nothing is looked at", ""
    if known.snapshot is not None:
        when = datetime.datetime.fromtimestamp(known.snapshot.time / 1e9, datetime.UTC)
        return f"no notebook runs; the last snapshot is of {when:%Y-%m-%d %H:%M} UTC", ""
    return "there are no snapshots yet: they begin with the next notebook", ""


def waiting(spooled: Spooled | None) -> WaitingView | None:
    return WaitingView(spooled.bytes, spooled.snapshots, seconds(spooled.since), spooled.trouble) if spooled else None


def waits(spooled: Spooled, where: str) -> tuple[str, str]:
    """The sentence on a home of which something waits, and the next step."""
    since = "" if spooled.since is None else f", since {datetime.datetime.fromtimestamp(spooled.since / 1e9, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    hint = f"it gets there by itself once {where} answers"
    told = f"not protected: in the spool on this box ({amount(spooled.bytes)}), not in the store yet{since}"
    return told, f"{hint}; now: {spooled.trouble}" if spooled.trouble else hint


def room(known: Room, verdict: Verdict, hint: str) -> RoomView:
    return RoomView(verdict.level, verdict.kind, verdict.used, verdict.limit, known.space.free, verdict.sentence, hint, verdict.refuse)


def usage(home: HomeRequest, survey: Survey | None, *, measuring: bool) -> UsageView:
    found = survey.usage if survey else None
    if survey is None or found is None:
        return UsageView(home.path, None, measuring, trouble=survey.trouble if survey else "")
    return UsageView(
        home.path, survey.at / 1e9, measuring, found.bytes, found.files, found.excluded_bytes, found.excluded_files, found.unseen, found.whole,
        tuple(FolderUseView(shown(one.path), one.bytes, one.files, one.excluded) for one in found.folders),
        tuple(ExcludedView(shown(one.path) or ".", one.rule, one.bytes, one.files) for one in found.places),
        tuple(RuleView(one.rule, one.bytes, one.files) for one in found.rules),
        tuple(culprit(home, one) for one in found.culprits),
    )  # fmt: skip


def culprit(home: HomeRequest, one: CulpritUse) -> CulpritView:
    kind = culprits.KINDS[one.kind]
    return CulpritView(kind.title, shown(one.place), one.bytes, kind.advice, culprits.command(one.kind, home.path, one.place))


def cost(tariff: str, stored: int | None) -> str:
    return "" if stored is None else monthly(tariff, stored)


def loss(found: Losses) -> LossView:
    gone = tuple(GoneView(shown(path), kind(entry), 1 + (entry.size if entry.kind == Kind.FOLDER else 0)) for path, entry in found.gone[:SHOWN_GONE])
    return LossView(found.entries, gone, found.whole)


def text(path: str, listed: Listed, found: Text) -> TextView:
    entry = found.entry
    where = shown(path.encode("utf-8", "surrogateescape"))
    return TextView(where, snapshot(listed), entry.size, entry.mtime / 1e9, found.text, found.cut, found.why_not)


def version(state: State) -> VersionView:
    entry = state.entry
    if entry is None:
        return VersionView(snapshot(state.last), snapshot(state.first), "")
    return VersionView(snapshot(state.last), snapshot(state.first), kind(entry), entry.size, entry.mtime / 1e9)
