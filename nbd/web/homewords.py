"""How a home is told on its pages: its mood, the days of its snapshots, paths in them, sizes as bars, notebooks as text."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..messages import EntryView, FolderUseView, HomeView, SnapshotView, UsageView

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What moves text about, or cannot be seen. Joiners stay: some languages write with them."""
RECENT_DAYS = 14
MOST_MARKS = 120
"""Unnamed snapshots of one day that are listed; of more, one of every so many minutes."""
SLOT_MINUTES, DAY_MINUTES = 12, 24 * 60
TICK_MINUTES = 10
Clock = Callable[[float], time.struct_time]
"""Seconds since the epoch to the clock on the wall."""


# paths


@dataclass(frozen=True, slots=True)
class At:
    """A place in a home. Bytes that are no UTF-8 are lone surrogates in `path`, as everywhere in Python; empty is the home itself."""

    path: str = ""

    @classmethod
    def of(cls, quoted: str) -> At:
        """From an address or a form."""
        return cls(unquote_to_bytes(quoted).decode("utf-8", "surrogateescape").strip("/"))

    @property
    def quoted(self) -> str:
        """As an address has it, and core."""
        return quote(self.path.encode("utf-8", "surrogateescape"), safe="/")

    @property
    def shown(self) -> str:
        return plain(self.path)

    @property
    def name(self) -> str:
        return plain(self.path.rpartition("/")[2])

    @property
    def parent(self) -> At:
        return At(self.path.rpartition("/")[0])

    @property
    def crumbs(self) -> tuple[At, ...]:
        """The folders on the way there, and itself; not the home."""
        names = self.path.split("/") if self.path else []
        return tuple(At("/".join(names[: number + 1])) for number in range(len(names)))

    def below(self, entry: EntryView) -> At:
        name = unquote_to_bytes(entry.quoted).decode("utf-8", "surrogateescape") if entry.quoted else entry.name
        return At(f"{self.path}/{name}" if self.path else name)


def plain(text: str) -> str:
    """A name made harmless: nothing in it moves, hides or turns what stands beside it."""
    known = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return UNSAFE.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode("ascii"), known)


# moods


class Mood(NamedTuple):
    kind: str
    """good, wait, look, bad, rest, none: colour and sign."""
    title: str
    live: bool = False
    """`protected` is a moment ago, and moves on."""


def mood(view: HomeView) -> Mood:
    if view.withheld:
        return Mood("look", "Waiting for your word")
    if view.waiting is not None and not view.trouble:
        return Mood("look", "Not in the store yet")
    if view.trouble or view.sentence.startswith("not protected"):
        return Mood("bad", "Not protected")
    if view.watched and view.protected is None:
        return Mood("wait", "Being looked at for the first time")
    if view.watched:
        return Mood("good", "Protected", live=True)
    if view.pending:
        return Mood("wait", "On its way")
    if view.protected is not None:
        return Mood("rest", "Protected")
    return Mood("rest", "At rest") if "snapshot is of" in view.sentence else Mood("none", "Nothing is kept yet")


def told(view: HomeView) -> str:
    """What the mood's title does not say."""
    return (view.trouble or view.sentence).removeprefix("not protected: ")


def unsaved(view: HomeView, now: float) -> str:
    """ "3 files (5.0 KiB), for 4 s"; empty where all is saved."""
    found = view.unsaved
    if found is None:
        return ""
    if found.files:
        what = f"{found.files:,} {'file' if found.files == 1 else 'files'} ({amount(found.bytes)})"
    else:
        what = f"changes in {found.folders:,} {'folder' if found.folders == 1 else 'folders'}" if found.folders else "all of it is looked at"
    return what if found.since is None else f"{what}, for {since(now - found.since)}"


def on_this_box(store: str) -> bool:
    """A folder does not survive the loss of its disk; whoever made it another machine's knows that better than this page."""
    return "://" not in store


def since(seconds: float) -> str:
    """ "2 s", "5 min", "3 h", "6 d": static/live.js counts on in the same words. A moment is a second."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def amount(count: int) -> str:
    """ "512 B", "3.4 KiB", "12 MiB"."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


# the timeline


@dataclass(frozen=True, slots=True)
class Mark:
    id: str
    clock: str
    words: str
    """ "stop main"; empty for one that was taken by itself."""


@dataclass(frozen=True, slots=True)
class Day:
    title: str
    date: str
    count: int
    named: tuple[Mark, ...]
    hours: tuple[tuple[str, tuple[Mark, ...]], ...]
    """The others, by hour, newest first."""
    left_out: int
    """Of the others, so many are not listed."""
    ticks: tuple[tuple[int, bool], ...]
    """When on that day, in minutes, and whether it has a name: for the picture."""


@dataclass(frozen=True, slots=True)
class Timeline:
    days: tuple[Day, ...] = ()
    older: tuple[tuple[str, tuple[Day, ...]], ...] = ()
    """By month."""
    count: int = 0


def timeline(snapshots: Sequence[SnapshotView], now: float, clock: Clock = time.localtime) -> Timeline:
    """`snapshots` are newest first."""
    days = [day(list(group), now, clock) for _, group in groupby(snapshots, lambda one: clock(one.time)[:3])]
    months = [(title, tuple(some)) for title, some in groupby(days[RECENT_DAYS:], lambda one: month(one.date))]
    return Timeline(tuple(days[:RECENT_DAYS]), tuple(months), len(snapshots))


def day(snapshots: list[SnapshotView], now: float, clock: Clock) -> Day:
    first = clock(snapshots[0].time)
    named = tuple(mark(one, clock) for one in snapshots if one.name)
    others = [one for one in snapshots if not one.name]
    listed = others if len(others) <= MOST_MARKS else [next(slot) for _, slot in groupby(others, lambda one: minute(one, clock) // SLOT_MINUTES)]
    hours = tuple((hour, tuple(mark(one, clock) for one in some)) for hour, some in groupby(listed, lambda one: time.strftime("%H", clock(one.time))))
    ticks = {minute(one, clock) // TICK_MINUTES * TICK_MINUTES: False for one in snapshots}
    ticks |= {minute(one, clock) // TICK_MINUTES * TICK_MINUTES: True for one in snapshots if one.name}
    return Day(
        day_title(snapshots[0].time, now, clock), time.strftime("%Y-%m-%d", first), len(snapshots), named, hours, len(others) - len(listed),
        tuple(sorted(ticks.items())),
    )  # fmt: skip


def mark(one: SnapshotView, clock: Clock) -> Mark:
    return Mark(one.id, time.strftime("%H:%M:%S" if not one.name else "%H:%M", clock(one.time)), plain(f"{one.event} {one.name}") if one.name else "")


def minute(one: SnapshotView, clock: Clock) -> int:
    at = clock(one.time)
    return at.tm_hour * 60 + at.tm_min


def day_title(then: float, now: float, clock: Clock) -> str:
    at = clock(then)
    if at[:3] == clock(now)[:3]:
        return "Today"
    # Noon is on the day before, whatever a change of the clock does to its length.
    if at[:3] == clock(now - 3600 * (clock(now).tm_hour + 12))[:3]:
        return "Yesterday"
    return time.strftime("%a %-d %b" if at.tm_year == clock(now).tm_year else "%a %-d %b %Y", at)


def month(date: str) -> str:
    return time.strftime("%B %Y", time.strptime(date, "%Y-%m-%d"))


def titled(one: SnapshotView, now: float, clock: Clock = time.localtime) -> str:
    """ "Today 14:05:12, stop main"."""
    named = f", {plain(f'{one.event} {one.name}')}" if one.name else ""
    return f"{day_title(one.time, now, clock)} {time.strftime('%H:%M:%S', clock(one.time))}{named}"


def when(one: SnapshotView, now: float, clock: Clock = time.localtime) -> str:
    """The same in the middle of a sentence: "today 14:05:12", "on Tue 17 Nov 14:05:12"."""
    said = titled(one, now, clock)
    return said[0].lower() + said[1:] if said.startswith(("Today", "Yesterday")) else f"on {said}"


def neighbours(snapshots: Sequence[SnapshotView], id: str) -> tuple[SnapshotView | None, SnapshotView | None]:
    """The one before it in time, and the one after."""
    at = next((number for number, one in enumerate(snapshots) if one.id == id), None)
    if at is None:
        return None, None
    return snapshots[at + 1] if at + 1 < len(snapshots) else None, snapshots[at - 1] if at else None


# sizes


@dataclass(frozen=True, slots=True)
class Bar:
    """A folder and those below it: widths in thousandths of the largest."""

    name: str
    use: FolderUseView
    kept: int
    excluded: int
    below: list[Bar] = field(default_factory=list)


def bars(folders: Sequence[FolderUseView]) -> list[Bar]:
    """The folders, each with what is in it, largest first. `folders` are by path."""
    most = max((one.bytes for one in folders), default=1) or 1
    tops: list[Bar] = []
    made: dict[str, Bar] = {}
    for one in folders:
        above, _, name = one.path.rpartition("/")
        bar = Bar(plain(name), one, round(1000 * (one.bytes - one.excluded) / most), round(1000 * one.excluded / most))
        made[one.path] = bar
        (made[above].below if above in made else tops).append(bar)
    for some in (tops, *(bar.below for bar in made.values())):
        some.sort(key=lambda bar: -bar.use.bytes)
    return tops


class Part(NamedTuple):
    """A part of one long bar, in thousandths."""

    kind: str
    x: int
    width: int


def parts(usage: UsageView) -> list[Part]:
    """Kept, left out, and what is free, side by side: of the home's limit, or of what home and disk have together."""
    room = usage.room
    whole = max(usage.bytes, 1)
    if room is not None:
        whole = max(whole, room.limit if room.kind != "disk" else usage.bytes + room.free)
    kept = round(1000 * (usage.bytes - usage.excluded_bytes) / whole)
    return [Part("kept", 0, kept), Part("excluded", kept, round(1000 * usage.excluded_bytes / whole))]


# notebooks as text


@dataclass(frozen=True, slots=True)
class Cell:
    kind: str
    number: int | None
    source: str


def cells(text: str) -> list[Cell]:
    """Of a notebook's file: its cells, without what they put out. Empty for what is none."""
    try:
        found = json.loads(text)
        raw = found.get("cells") if isinstance(found, dict) else None
        return list(map(cell, raw)) if isinstance(raw, list) else []
    except (ValueError, RecursionError, TypeError):
        return []


def cell(raw: Any) -> Cell:
    """Raises TypeError for what is no cell."""
    if not isinstance(raw, Mapping):
        raise TypeError("no cell")
    source, number = raw.get("source", ""), raw.get("execution_count")
    lines = source if isinstance(source, list) else [source]
    return Cell(str(raw.get("cell_type", ""))[:20], number if isinstance(number, int) else None, "".join(str(line) for line in lines))


def as_lines(path: str, text: str) -> list[str]:
    """A file for comparing: of a notebook its cells' sources, for nobody compares JSON."""
    found = cells(text) if path.endswith(".ipynb") else []
    return list(cell_lines(found)) if found else text.splitlines()


def cell_lines(found: Sequence[Cell]) -> Iterator[str]:
    for one in found:
        yield f"# --- {one.kind}"
        yield from one.source.splitlines()
