"""What travels about idleness: why a notebook is left alone or not, what comes next, its last day, and what the web door counted.

Moments are seconds since the epoch and durations seconds, as in messages.py, which names the two that stand in a NotebookView.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class NoticeKind(StrEnum):
    """What a notice wants of the person who reads it."""

    WARN = "warn"
    """A step is announced: keeping the notebook, or working in it, prevents it."""
    ASK = "ask"
    """Something claims to work and nothing measures it: only its person knows. Nothing is done without an answer."""
    TOLD = "told"
    """Something was done, or went wrong while it was: nothing is wanted."""


@dataclass(frozen=True, slots=True)
class NoticeView:
    """What a notebook's person is told just now, wherever they look: on the page, inside the editor, by nbctl, in their terminals."""

    kind: NoticeKind
    text: str
    """One sentence without a moment that grows old: "idle for 25 min; its GPU is given back"."""
    due: float | None = None
    """When what the text announces is done; the reader's own clock says it in its zone. None where nothing is due."""
    rule: str = ""
    """Whose word that is: "profile gpu-small", "the admin's default", "you"; empty where no rule is behind it."""
    keep_seconds: float | None = None
    """What one click keeps it for; None where keeping changes nothing (the end of the longest run)."""


@dataclass(frozen=True, slots=True)
class NextView:
    """What is done next if nothing changes."""

    step: str
    """park, freeze, stop; nothing."""
    text: str
    """ "its GPU is given back after 30 min of idleness"."""
    due: float | None = None
    """None for never, or for as long as it works."""
    warn: float | None = None
    """When that is announced; in the past where it was."""
    rule: str = ""
    """As in NoticeView."""


@dataclass(frozen=True, slots=True)
class IdleBrief:
    """What stands in a NotebookView of idleness. A new one is an event to everybody who watches, so nothing in it grows older by itself."""

    verdict: str
    """active, idle, unknown."""
    next: NextView | None = None
    notice: NoticeView | None = None
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Of "park" and "freeze": why it cannot be."""


@dataclass(frozen=True, slots=True)
class EvidenceView:
    signal: str
    """gpu, cpu, kernel, typing, …"""
    text: str
    """Without its age: "pid 4711 python used 63 % of GPU-1a2b"."""
    age: float
    weight: float
    """What is left of it now: 1 and more is enough by itself, and weights add up."""


@dataclass(frozen=True, slots=True)
class UnknownView:
    """What cannot be known now: for as long as it may hide work, nothing is done."""

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class PolicyRow:
    key: str
    """As in a profile's file: "park_after"."""
    value: str
    """As it is written there: "30min", "never", "yes"."""
    origin: str
    """Whose word it is."""
    own: bool = False
    """Whether its person may set it tighter, for themselves."""


@dataclass(frozen=True, slots=True)
class WhyView:
    notebook: str
    name: str
    owner: str
    state: str
    time: float
    """When this was concluded; ages are as of then."""
    sentence: str
    """All of it in one: "RUNNING · active: pid 4711 python used 63 % of GPU-1a2b 4 s ago · nothing will happen before 14:32"."""
    verdict: str
    """active, idle, unknown."""
    since: float | None = None
    """Active: of the evidence it rests on. Idle: the end of the last work. Unknown: since when."""
    idle_seconds: float = 0.0
    """How much of the time since the last work was seen to be idle."""
    reasons: tuple[str, ...] = ()
    evidence: tuple[EvidenceView, ...] = ()
    """The heaviest first."""
    unknown: tuple[UnknownView, ...] = ()
    next: NextView | None = None
    not_before: float | None = None
    """Nothing is done before that, even if all work ended now; None for never."""
    kept_until: float | None = None
    policy: tuple[PolicyRow, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    """What its person set, as they wrote it."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Of "park" and "freeze": why it cannot be, now. What is missing here can be done."""
    shadow: bool = False
    """It is only said what would be done."""
    notice: NoticeView | None = None


@dataclass(frozen=True, slots=True)
class KeepRequest:
    seconds: float


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """A person's own, tighter than the profile's. A key that is not named stays; an empty text takes one's own word for it back."""

    settings: Mapping[str, str]
    """Key to value, as in a profile's file: "park_after" to "10min"."""


@dataclass(frozen=True, slots=True)
class SpanView:
    begin: float
    end: float
    what: str
    """In `moods`: active, idle, unknown, or the state in which nothing was judged (parked, frozen, off). In a lane: the evidence."""
    weight: float = 1.0
    """The heaviest within it."""


@dataclass(frozen=True, slots=True)
class LaneView:
    """All that was seen of one signal."""

    signal: str
    spans: tuple[SpanView, ...] = ()
    """In order, none over another."""


@dataclass(frozen=True, slots=True)
class HappenedView:
    """A step that was announced or done, an answer of a person's, a restart of nbd."""

    time: float
    step: str
    text: str


@dataclass(frozen=True, slots=True)
class HistoryView:
    """The last day of one notebook."""

    begin: float
    end: float
    moods: tuple[SpanView, ...] = ()
    """In order, none over another; where there is none, nothing is known."""
    lanes: tuple[LaneView, ...] = ()
    happened: tuple[HappenedView, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    policy: str
    """A profile's table [idle], as TOML text."""


@dataclass(frozen=True, slots=True)
class ReplayView:
    """What another policy would have done on the same evidence."""

    begin: float
    end: float
    steps: tuple[HappenedView, ...] = ()
    """Under the policy that was asked about."""
    present: tuple[HappenedView, ...] = ()
    """Under the one that holds now."""
    free_seconds: float = 0.0
    """So long its GPU would have been free for others."""
    present_free_seconds: float = 0.0
    policy: tuple[PolicyRow, ...] = ()
    note: str = ""
    """What the evidence cannot say: a notebook that would have been parked would not have gone on as it did."""


@dataclass(frozen=True, slots=True)
class NotebookTraffic:
    """Counted since the web door started. Sizes and directions only, never a byte of content."""

    notebook: str
    typed: int = 0
    """Messages to a kernel or a terminal that a person in a browser caused, as far as direction and time tell. One to a PARKED notebook wakes it."""
    here: int = 0
    """So often a page of the editor said that a person pressed a key or a button in it since it said so last. Counts as typing; not counted while
    it is PARKED: who only reads needs no GPU."""
    relayed_bytes: int = 0
    """Both ways."""
    clicks: int = 0
    """Pages of the editor that a person opened, files sent up."""
    tabs: int = 0
    """WebSockets that are open now."""


@dataclass(frozen=True, slots=True)
class TrafficReport:
    door: str
    """Which life of the door counted: another one's counts begin at zero."""
    notebooks: tuple[NotebookTraffic, ...] = ()
    """Those that passed anything since it started, all of them each time; a notebook that is missing had nothing."""


@dataclass(frozen=True, slots=True)
class Heard:
    notebooks: int
    """Of how many the report was understood."""


@dataclass(frozen=True, slots=True)
class FromInside:
    """What a browser wants on a notebook's own origin. The token is core's word on which notebook that is and whose."""

    token: str
    seconds: float | None = None
    """How long to keep it for."""
