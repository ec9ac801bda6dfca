"""The nouns of idleness: what a look sees, what of it is evidence of work, what is concluded.

How to think about it. Every few seconds a *look* reads counters and states of one running notebook; two looks in a row make a *sample*: evidence
with weights, and what could not be known. A *standing* is the fold of all samples since the run began; from it and a *policy* follow the
*verdict* and the next *step*. All of it is values: nothing accumulates in a timer, and the same samples under another policy can be replayed.

Moments are seconds of the kernel's monotonic clock (CLOCK_MONOTONIC): setting the clock moves nobody's deadline, and a night in which the box
was suspended is no idle night. They count from the boot, so what is kept of them names its boot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Signal(StrEnum):
    """What can show that somebody or something works. SSH and exec come with their doors."""

    GPU = "gpu"
    VRAM = "vram"
    CPU = "cpu"
    DISK = "disk"
    NETWORK = "network"
    KERNEL = "kernel"
    TERMINAL = "terminal"
    TYPING = "typing"
    CLICK = "click"
    PROBE = "probe"
    HEARTBEAT = "heartbeat"
    TAB = "tab"
    KEEP = "keep"


MEASURED = frozenset({Signal.GPU, Signal.VRAM, Signal.CPU, Signal.DISK, Signal.NETWORK})
"""The machine's own word: nobody can fake it without doing the work."""
PERSON = frozenset({Signal.TYPING, Signal.CLICK, Signal.KEEP})
"""A person is there. What is neither of these (a busy kernel, a probe, a tab) is only claimed, and `max_session` bounds it."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Of a notebook's cgroup and network, counted since its container started. None where it cannot be read, each on its own."""

    cpu_seconds: float | None = None
    """Of all its processes."""
    editor_cpu_seconds: float | None = None
    """Of these, those of the editor's own process, which has a heartbeat even when nobody works."""
    disk_bytes: int | None = None
    """Read and written."""
    network_bytes: int | None = None
    """In and out of its network namespace; 0 for one without a network."""
    memory_bytes: int | None = None
    pids: frozenset[int] | None = None
    """Its living processes, as the host counts them."""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One process on one card since the last look."""

    card: str
    pid: int | None
    """None: the card does not say whose it is."""
    share: float | None
    """0 to 1: the largest share of a moment in which its kernels ran. None: the card cannot say (MIG, old cards). Unknown is never zero."""
    memory_bytes: int | None = None
    name: str = ""
    """Of the program: "python"."""


@dataclass(frozen=True, slots=True)
class CardUse:
    """One card or MIG instance since the last look, whoever used it."""

    card: str
    share: float | None
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GpuLook:
    """All cards of the box at one moment."""

    cards: tuple[CardUse, ...] = ()
    processes: tuple[GpuUse, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)
    """Card to why it does not say who is on it: there, nobody can be ruled out."""


@dataclass(frozen=True, slots=True)
class KernelLook:
    id: str
    name: str
    """What people call it: "train.ipynb", or the kernel's name where no document is open."""
    busy: bool
    last_activity: float
    """Seconds since the epoch, by the editor's clock: compared with its own earlier word only."""
    connections: int = 0


@dataclass(frozen=True, slots=True)
class TerminalLook:
    name: str
    last_activity: float


@dataclass(frozen=True, slots=True)
class EditorLook:
    kernels: tuple[KernelLook, ...] = ()
    terminals: tuple[TerminalLook, ...] = ()
    heartbeat: float | None = None
    """Of editors that keep one: when it last beat, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class DoorLook:
    """What passed through the browser's door to and from one notebook, counted since the door started. Sizes and directions only."""

    door: str
    """Which life of the door counted: another one's counts begin at zero."""
    typed: int = 0
    """Messages from the browser that a person caused, as far as size and direction tell; keep-alives are not in it."""
    relayed_bytes: int = 0
    """Both ways: the notebook's network has carried them too, where its editor is reached by it."""
    clicks: int = 0
    """Pages of the editor opened, files sent up."""
    tabs: int = 0
    """WebSockets that are open now."""


@dataclass(frozen=True, slots=True)
class ProbeLook:
    """The answer of a profile's own script."""

    active: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """One source that could not be asked, or did not say."""

    source: str
    """ "gpu", "cgroup", "editor", "door", "probe"."""
    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at one notebook saw. A source that failed is in `unknown`, and its part is None."""

    at: float
    run: str
    """The container: counters of another one say nothing about this one."""
    counters: Counters | None = None
    gpu: GpuLook | None = None
    """None for a notebook without cards, too; `Site.cards` tells the two apart."""
    editor: EditorLook | None = None
    door: DoorLook | None = None
    probe: ProbeLook | None = None
    unknown: tuple[Unknown, ...] = ()
    state: str = "RUNNING"
    """Of the notebook. What parking it costs is not its own work: looks in two states are not compared."""
    kept_until: float | None = None
    """Its person asked for that."""


@dataclass(frozen=True, slots=True)
class Site:
    """What has to be known of a notebook to read a look at it."""

    cards: tuple[str, ...] = ()
    """Those it holds a lease on."""
    exclusive: bool = True
    """Whether they are its alone: then the card's own figures are about it, too."""
    editor: str = "jupyterlab"
    asks_editor: bool = True
    """Whether its editor can be asked at all."""
    probes: bool = False
    over_network: bool = False
    """Whether the door reaches its editor by its network: then what the door relayed is in the network's bytes, too."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One dated observation that a notebook works."""

    signal: Signal
    weight: float
    """1 and more: enough by itself. Weights of one moment add up; each fades with its signal's half-life."""
    text: str
    """Without its age: "pid 4711 python used 63 % of GPU-1a2b"."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Two looks in a row, compared: what shows work between them, and what cannot be ruled out."""

    at: float
    seconds: float
    """Since the look before."""
    evidence: tuple[Evidence, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    busy: tuple[str, ...] = ()
    """Kernels that say they are busy, by name: also beyond the time for which that alone counts."""


class Mood(StrEnum):
    ACTIVE = "active"
    IDLE = "idle"
    UNKNOWN = "unknown"


class Step(StrEnum):
    """What can be done about an idle notebook, the cheapest first. WARN announces the next of the others; ASK wants an answer from a person and does
    nothing without one."""

    NOTHING = "nothing"
    WARN = "warn"
    ASK = "ask"
    UNPARK = "unpark"
    PARK = "park"
    FREEZE = "freeze"
    STOP = "stop"


ACTS = (Step.PARK, Step.FREEZE, Step.STOP)
DAY = (0, 24 * 60)


@dataclass(frozen=True, slots=True)
class Policy:
    """When what is done, in seconds. None: never. Made by `policy.py` of what admin, profile and person say."""

    warn_before: float = 5 * 60.0
    """Each step is announced so long before, and never done without that."""
    park_after: float | None = 30 * 60.0
    """Of idleness; for notebooks that hold a card."""
    freeze_after: float | None = 60 * 60.0
    stop_after: float | None = 60 * 60.0
    """Where it cannot be frozen. One that is frozen is not stopped."""
    busy_grace: float = 2 * 3600.0
    """So long a kernel that says it is busy counts as work although nothing measures any; then its person is asked."""
    max_session: float | None = 8 * 3600.0
    """So long after a person was last there, what is only claimed (a busy kernel, a probe, a kept tab) counts no more. Measured work always does."""
    max_running: float | None = 7 * 86400.0
    """The end of every run, working or not, announced a day and an hour before."""
    auto_restart: bool = False
    """Whether it is started again then."""
    quiet: tuple[tuple[int, int], ...] = ()
    """Minutes of the local day, from and to, in which nobody can answer a warning: nothing is frozen or stopped for idleness."""
    shadow: bool = False
    """Say what would be done, and do nothing."""
    sample_every: float = 10.0
    """What is older than one and a half of these is nothing to act on."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Key to whose word it is: "the admin's default", "profile gpu-small", "you"."""


@dataclass(frozen=True, slots=True)
class Verdict:
    mood: Mood
    since: float
    """Active: of the evidence that it rests on. Idle: the end of the last work. Unknown: since when nothing can be said."""
    idle_seconds: float
    """How much of the time since the last work was seen, and seen to be idle; what could not be seen is not in it."""
    reasons: tuple[str, ...] = ()
    """The heaviest first, each with its age as of the verdict: "pid 4711 python used 63 % of GPU-1a2b 4 s ago"."""
    cardless: bool = False
    """Active, but by nothing that can want a card: a disk or a network at work, a probe's word, its person's wish to keep it."""
    expired: bool = False
    """Idle, but for what is only claimed, and nobody was there for `max_session`."""
    ask: bool = False
    """Something claims to work and nothing measures it, for longer than it may: only its person knows."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What can be done to one notebook now. Empty text: it can; else why not, for a person."""

    park: str = ""
    freeze: str = ""
    held: bool = False
    """Whether it holds a card: otherwise there is nothing to park for."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What beside the evidence decides what is done now."""

    state: str
    """RUNNING, PARKED."""
    abilities: Abilities
    started: float
    """When this run began, by the monotonic clock."""
    local_minute: float
    """Of the day, by the wall clock here: for quiet hours."""
    warned: Mapping[Step, float] = field(default_factory=dict)
    """When each step was announced. Forgotten when the notebook works again."""
    end_told: float | None = None
    """When the end of this run (`max_running`) was last announced. Not forgotten when it works again."""
    asked: float | None = None
    """When its person was last asked in this stretch."""
    kept_until: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    step: Step
    reason: str
    """ "idle" or "max_session" or "max_running": what a stop is recorded with; empty for NOTHING."""
    text: str
    """For people: what is done or comes next, and whose rule that is."""
    next: Step = Step.NOTHING
    """The act that comes next if nothing changes."""
    due: float | None = None
    """When that is, by the monotonic clock; None for never."""
    look_at: float | None = None
    """When there is something to decide again, at the latest."""
