"""A monitor over fakes of everything outside, with a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nbd.config import IdleSettings
from nbd.errors import NbdError
from nbd.idle.desk import About, Files, IdleDesk
from nbd.idle.diary import RecordedDiary
from nbd.idle.looker import Looker, Sources
from nbd.idle.model import Abilities, Counters, EditorLook, GpuUse, KernelLook, Policy, Step
from nbd.idle.monitor import Means, Monitor
from nbd.idle.policy import effective
from nbd.idle.ports import Subject
from nbd.idle.prober import Prober
from nbd.idlemessages import IdleBrief, NotebookTraffic, TrafficReport
from nbd.unixdoor import Place
from tests.fakes.idle_sources import FakeCrier, FakeEditorStates, FakeGauges, FakeGpuWork, FakeProbes, FakeRecords

CARD = "GPU-1a2b0000"
PID = 4711


class FakeClock:
    """`jumps`: how far somebody has set the wall's clock."""

    def __init__(self) -> None:
        self.boot, self.now, self.jumps = "boot-1", 1000.0, 0.0

    def steady(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now + self.jumps

    def minute_of(self, wall: float) -> float:
        return wall / 60 % 1440

    def text(self, moment: float | None) -> str:
        return "" if moment is None else f"T{moment:g}"


class FakeActs:
    """What was done, in order. A parked notebook has no card."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.there: dict[str, Subject] = {}
        self.able = Abilities(held=True)
        self.done: list[tuple[str, str]] = []
        self.failure: NbdError | None = None

    async def subjects(self) -> Sequence[Subject]:
        return list(self.there.values())

    async def abilities(self, notebook: str) -> Abilities:
        one = self.there[notebook]
        return replace(self.able, held=self.able.held and bool(one.cards) and one.state == "RUNNING")

    async def park(self, notebook: str) -> None:
        self._do("park", notebook)
        self.there[notebook] = replace(self.there[notebook], state="PARKED", cards=())

    async def unpark(self, notebook: str) -> None:
        self._do("unpark", notebook)
        self.there[notebook] = replace(self.there[notebook], state="RUNNING", cards=(CARD,))

    async def freeze(self, notebook: str) -> None:
        self._do("freeze", notebook)
        del self.there[notebook]

    async def stop(self, notebook: str, reason: str, *, again: bool = False) -> None:
        self._do(f"stop {reason}{' again' if again else ''}", notebook)
        del self.there[notebook]

    async def keep(self, notebook: str, seconds: float) -> None:
        until = self.clock.steady() + seconds if seconds else None
        self.there[notebook] = replace(self.there[notebook], kept_until=until)

    async def settle(self, notebook: str, own: Mapping[str, str]) -> None:
        self.there[notebook] = replace(self.there[notebook], own=own)

    def _do(self, what: str, notebook: str) -> None:
        if self.failure:
            raise self.failure
        self.done.append((what, notebook))


@dataclass
class IdleWorld:
    admin: IdleSettings = field(default_factory=IdleSettings)
    clock: FakeClock = field(default_factory=FakeClock)
    records: FakeRecords = field(default_factory=FakeRecords)
    crier: FakeCrier = field(default_factory=FakeCrier)
    briefs: dict[str, IdleBrief | None] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    typed: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    """In line for a card."""

    def __post_init__(self) -> None:
        self.gauges, self.gpu, self.editors, self.probes = FakeGauges(), FakeGpuWork(), FakeEditorStates(), FakeProbes()
        self.acts = FakeActs(self.clock)
        self.build()

    def build(self) -> None:
        """As when core is started: what is known is on the disk, or not at all."""

        def policy(profile: str, own: Mapping[str, str]) -> Policy:
            return effective(self.admin, profile, None, own)

        def about(notebook: str) -> About:
            one = self.acts.there.get(notebook)
            return About(notebook, "ada", notebook, one.state if one else "STOPPED", "gpu", one.own if one else {})

        self.prober = Prober(self.probes, self.gauges, self.clock.steady, self.scripts.get)
        self.looker = looker = Looker(Sources(self.gauges, self.gpu, self.editors, self.prober), self.clock.steady)
        self.diary = RecordedDiary(self.records, self.clock)
        means = Means(
            looker, self.acts, self.crier, self.diary, self.clock, lambda subject: policy(subject.profile, subject.own),
            self.briefs.__setitem__, lambda profile: profile in self.scripts, lambda: (self.waiting, self.admin.preempt_after),
        )  # fmt: skip
        self.monitor = Monitor(means)
        self.desk = IdleDesk(self.monitor, self.acts, self.diary, self.clock, Files(about, policy, lambda: self.admin))

    def put(self, name: str = "main", *, cards: tuple[str, ...] = (CARD,)) -> str:
        place = Place(f"/run/{name}.sock", 1000)
        self.acts.there[name] = Subject(
            name, "ada", name, f"container-{name}", 4000, place, "jupyterlab", "gpu", "RUNNING", cards, began=self.clock.now
        )  # fmt: skip
        self.gauges.shown[name] = Counters(1.0, 0.5, 0, 0, 1 << 28, frozenset({4000, PID}))
        self.editors.shown[place.path] = EditorLook((KernelLook("k1", "train.ipynb", busy=False, last_activity=1.0),))
        self.gpu.shown = replace(self.gpu.shown, processes=(GpuUse(CARD, PID, 0.0, 1 << 30, "python"),))
        self.typed[name] = 0
        return name

    def use_gpu(self, share: float) -> None:
        self.gpu.shown = replace(self.gpu.shown, processes=(GpuUse(CARD, PID, share, 1 << 30, "python"),))

    def busy(self, name: str, *, busy: bool) -> None:
        path = self.acts.there[name].place.path
        self.editors.shown[path] = EditorLook((KernelLook("k1", "train.ipynb", busy=busy, last_activity=1.0),))

    def type(self, name: str) -> None:
        self.typed[name] += 1
        self.report()

    def report(self) -> None:
        self.desk.heard(TrafficReport("door-1", tuple(NotebookTraffic(name, typed) for name, typed in self.typed.items())))

    async def passes(self, seconds: float, every: float = 10.0) -> None:
        """Look again and again for so long."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += every
            self.report()
            await self.monitor.look()
            await self.calm()

    async def calm(self) -> None:
        """What is done beside the looks is done."""
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def steps(self) -> list[str]:
        return [what for what, _ in self.acts.done]

    def notice(self, name: str) -> str:
        brief = self.briefs.get(name)
        return brief.notice.text if brief and brief.notice else ""

    async def happened(self, name: str) -> list[str]:
        return [one.step for one in (await self.desk.history(name)).happened]


MINUTE = 60.0
WARN = str(Step.WARN)
