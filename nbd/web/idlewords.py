"""How idleness is told on the pages: what comes next, when; the evidence of a day as bars; settings by their names. `now` is a parameter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..idlemessages import EvidenceView, HistoryView, LaneView, SpanView, WhyView
from ..messages import NotebookView
from .words import sentence

KEEP_SECONDS = 2 * 3600
SLOTS = 480
"""Of a day that can be told apart in a picture: three minutes each."""
STRONG = 1.0
LEAST_SHOWN_SECONDS = 3600.0
MOST_HOURS = 9
SIGNALS: Mapping[str, str] = {
    "gpu": "GPU", "vram": "GPU memory", "cpu": "CPU", "disk": "Disk", "network": "Network", "kernel": "Kernels", "terminal": "Terminals",
    "typing": "Typing", "click": "Clicks", "probe": "Probe", "heartbeat": "Heartbeat", "tab": "Open tabs", "keep": "Kept",
    "cgroup": "Counters", "editor": "Editor", "door": "Web door",
}  # fmt: skip
MOODS: Mapping[str, str] = {"active": "Active", "idle": "Idle", "unknown": "Unknown", "parked": "Parked", "frozen": "Frozen", "off": "Not running"}
SETTINGS: Mapping[str, str] = {
    "warn_before": "Each step is announced before",
    "park_after": "Its GPU is given back after",
    "freeze_after": "It is frozen after",
    "stop_after": "Where it cannot be frozen, it is stopped after",
    "busy_grace": "A busy kernel that nothing measures counts for",
    "max_session": "With nobody there, what is only claimed counts for",
    "max_running": "A run ends after",
    "auto_restart": "It is started again then",
    "quiet_hours": "Nothing is frozen or stopped at",
    "shadow": "Only said, not done",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of a bar: where it begins and how long it is, in hundredths of a day's width, as SVG wants it."""

    x: str
    width: str
    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    label: str
    marks: tuple[Mark, ...]
    told: str
    """In words, for who does not see the picture."""


@dataclass(frozen=True, slots=True)
class Timeline:
    moods: Lane
    lanes: tuple[Lane, ...]
    steps: tuple[Mark, ...]
    hours: tuple[Mark, ...]


def hour(moment: float, now: float | None = None) -> str:
    """ "14:32" by the box's clock, with the day where it is another."""
    local, today = time.localtime(moment), time.localtime(time.time() if now is None else now)
    return time.strftime("%H:%M" if local[:3] == today[:3] else "%a %H:%M", local)


def length(seconds: float) -> str:
    """ "40 s", "25 min", "2 h 10 min", "3 days"."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")
    return f"{whole // 86400} days"


def notice(view: NotebookView) -> str:
    """The notice as one sentence, with its moment and whose rule it is; empty for none."""
    if view.notice is None:
        return ""
    text = view.notice.text.rstrip(".")
    text += f", at {hour(view.notice.due)}" if view.notice.due else ""
    text += f" ({view.notice.rule})" if view.notice.rule and view.notice.rule not in text else ""
    return sentence(text)


def standing(view: NotebookView) -> str:
    """Whether anything works in it, and what that leads to; empty where that is not known yet."""
    if view.verdict is None:
        return ""
    mood = MOODS.get(view.verdict, view.verdict)
    if view.next is None or view.next.due is None or view.verdict != "idle":
        return f"{mood}." if view.state == "RUNNING" else ""
    return f"{mood}. " + sentence(f"{view.next.text.rstrip('.')}, at {hour(view.next.due)}")


def keeps(view: NotebookView) -> float | None:
    """For how long one click would keep it; None where there is nothing to keep it from."""
    if view.notice is not None:
        return view.notice.keep_seconds
    return KEEP_SECONDS if view.verdict == "idle" and view.next is not None and view.next.due is not None else None


def share(one: EvidenceView) -> float:
    """Of what is enough by itself."""
    return min(1.0, max(0.0, one.weight / STRONG))


def timeline(view: HistoryView) -> Timeline | None:
    """The last day as bars; None where nothing is known of it."""
    if not view.moods and not view.lanes:
        return None
    view = _zoomed(view)
    moods = Lane("Verdict", tuple(_marks(view.moods, view, by_name=True)), _told("", view.moods))
    known = sorted(view.lanes, key=lambda lane: list(SIGNALS).index(lane.signal) if lane.signal in SIGNALS else len(SIGNALS))
    return Timeline(moods, tuple(_lane(lane, view) for lane in known if lane.spans), tuple(_steps(view)), tuple(_hours(view)))


def _zoomed(view: HistoryView) -> HistoryView:
    """From where something is known: a notebook of an hour is no dot at the end of a day."""
    first = min([one.begin for one in view.moods] + [one.begin for lane in view.lanes for one in lane.spans], default=view.begin)
    return replace(view, begin=max(view.begin, min(first, view.end - LEAST_SHOWN_SECONDS)))


def _lane(lane: LaneView, view: HistoryView) -> Lane:
    label = SIGNALS.get(lane.signal, lane.signal)
    whole = sum(one.end - one.begin for one in lane.spans)
    told = f"{label}: seen {len(lane.spans)} times, {length(whole)} in all, last at {hour(lane.spans[-1].end)}: {lane.spans[-1].what}"
    return Lane(label, tuple(_marks(lane.spans, view, by_name=False)), told)


def _told(label: str, spans: Sequence[SpanView]) -> str:
    times: dict[str, float] = {}
    for one in spans:
        times[one.what] = times.get(one.what, 0.0) + one.end - one.begin
    return label + ", ".join(f"{MOODS.get(what, what).lower()} for {length(seconds)}" for what, seconds in times.items())


def _marks(spans: Sequence[SpanView], view: HistoryView, *, by_name: bool) -> Iterator[Mark]:
    """At most one for each slot: what follows so closely that it could not be seen apart is one."""
    held: tuple[int, int, str, str] | None = None
    for one in spans:
        kind = one.what if by_name else "strong" if one.weight >= STRONG else "weak"
        begin, end = _slot(one.begin, view), max(_slot(one.begin, view) + 1, _slot(one.end, view))
        if held is not None and held[2] == kind and begin <= held[1]:
            held = (held[0], max(held[1], end), kind, held[3])
            continue
        if held is not None:
            yield _mark(*held)
        begin = max(begin, held[1]) if held is not None else begin
        held = (begin, max(end, begin), kind, f"{hour(one.begin)} to {hour(one.end)}: {MOODS.get(one.what, one.what) if by_name else one.what}")
    if held is not None:
        yield _mark(*held)


def _mark(begin: int, end: int, kind: str, text: str) -> Mark:
    return Mark(f"{100 * begin / SLOTS:.2f}%", f"{100 * (end - begin) / SLOTS:.2f}%", kind, text)


def _slot(moment: float, view: HistoryView) -> int:
    return min(SLOTS, max(0, round(SLOTS * (moment - view.begin) / max(1.0, view.end - view.begin))))


def _steps(view: HistoryView) -> Iterator[Mark]:
    for one in view.happened:
        yield Mark(f"{100 * _slot(one.time, view) / SLOTS:.2f}%", "", one.step, f"{hour(one.time)} {one.step}: {one.text}")


def _hours(view: HistoryView) -> Iterator[Mark]:
    """Round moments of the box's clock, nine at most; every second one also where there is little room."""
    whole = max(1.0, view.end - view.begin)
    minutes = next((step for step in (10, 30, 60, 180) if whole / 60 / step <= MOST_HOURS), 180)
    # A zone is off by whole quarters of an hour; by whole minutes each of its rounds is met.
    moment = view.begin - view.begin % 60 + 60
    while moment < view.end:
        local = time.localtime(moment)
        here = local.tm_hour * 60 + local.tm_min
        if here % minutes == 0:
            kind, text = "wide" if here // minutes % 2 == 0 else "", time.strftime("%H" if minutes >= 60 else "%H:%M", local)
            yield Mark(f"{100 * (moment - view.begin) / whole:.2f}%", "", kind, text)
        moment += 60


def forms(view: WhyView) -> list[tuple[str, str, str, str]]:
    """Of each setting that its person may tighten: key, what it means, their own word, what holds now."""
    return [(row.key, SETTINGS.get(row.key, row.key), view.own.get(row.key, ""), row.value) for row in view.policy if row.own]
