"""What the idle slice needs of the world. A source that cannot answer raises NbdError, or says None for what it does not know: unknown is never
idle. Every call answers within a deadline of its own; nothing blocks the loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..unixdoor import Place
from .judge import Standing
from .model import Abilities, Counters, Decision, EditorLook, GpuLook, Policy, ProbeLook, Sample, Step, Verdict


@dataclass(frozen=True, slots=True)
class Subject:
    """One running notebook, as its sources know it."""

    notebook: str
    owner: str
    name: str
    container: str
    pid: int
    """Of its first process, as the host counts."""
    place: Place
    """Where its editor listens."""
    editor: str
    profile: str
    state: str
    cards: tuple[str, ...] = ()
    exclusive: bool = True
    own: Mapping[str, str] = field(default_factory=dict)
    """Its person's own settings."""
    kept_until: float | None = None
    """By the monotonic clock."""
    began: float = 0.0
    """When its first process was started, by the monotonic clock: setting the wall's does not make a run older."""


class Gauges(Protocol):
    """The kernel's counters of cgroups (v1 and v2) and network namespaces."""

    async def counters(self, subjects: Sequence[Subject]) -> Mapping[str, Counters]:
        """By notebook; one that is gone is missing. Two hundred cost some milliseconds."""


class GpuWork(Protocol):
    async def look(self) -> GpuLook:
        """All cards and all processes on them since the last call. Raises Unreachable, Deadline."""


class EditorStates(Protocol):
    async def look(self, place: Place, editor: str) -> EditorLook:
        """Its kernels and terminals, over its socket. Raises Unreachable where it does not answer or answers nonsense."""


class Probes(Protocol):
    async def ask(self, container: str, script: str) -> ProbeLook:
        """Run the profile's script in the notebook, as the person, for a bounded time. Raises Unreachable where it fails or says nothing
        that is understood."""


class Acts(Protocol):
    """What is done to notebooks: the notebook slice's."""

    async def subjects(self) -> Sequence[Subject]:
        """Those that run or are parked now."""

    async def abilities(self, notebook: str) -> Abilities: ...

    async def park(self, notebook: str) -> None:
        """Returns when it is begun. Nothing happens to one that is not RUNNING any more. Raises why it cannot be."""

    async def unpark(self, notebook: str) -> None: ...

    async def freeze(self, notebook: str) -> None: ...

    async def stop(self, notebook: str, reason: str, *, again: bool = False) -> None:
        """`again`: it is started again when it is down."""

    async def keep(self, notebook: str, seconds: float) -> None:
        """From now on, durable; 0 ends it."""

    async def settle(self, notebook: str, own: Mapping[str, str]) -> None:
        """These are its person's own settings from now on, durable."""


class Crier(Protocol):
    """Tells people: in their terminals. Pages and nbctl read the notice from the API."""

    async def call(self, container: str, text: str) -> None:
        """To every terminal of the notebook; never raises for one that does not listen."""


class Records(Protocol):
    """The evidence of the last day of each notebook, kept over restarts: at most 1 MB each. May be lost."""

    async def append(self, notebook: str, line: bytes) -> None: ...

    async def read(self, notebook: str) -> Sequence[bytes]:
        """Oldest first."""

    async def keep_only(self, notebooks: Collection[str]) -> None:
        """Those of others go."""


class Clock(Protocol):
    boot: str
    """Which boot of the box `steady` counts from."""

    def steady(self) -> float:
        """Seconds of the monotonic clock."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def minute_of(self, wall: float) -> float:
        """The minute of the day that this moment has where the box stands."""

    def text(self, moment: float | None) -> str:
        """A moment of the monotonic clock as this box's wall clock says it: "14:32", or with the day where that is another; empty for None."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What was known of a run before nbd was started again."""

    standing: Standing
    warned: Mapping[Step, float] = field(default_factory=dict)
    asked: float | None = None
    end_told: float | None = None


class Diary(Protocol):
    """The last day of each notebook."""

    async def resume(self, subject: Subject, policy: Policy) -> Resumed | None:
        """None where nothing is known of this run since it began or was thawed, or nothing that this boot can go on with."""

    async def note(self, notebook: str, run: str, sample: Sample, verdict: Verdict) -> None: ...

    async def happened(self, notebook: str, run: str, decision: Decision) -> None: ...
