"""Notebooks that live through simulated weeks: what each does is known, so whatever is done to them can be held against it.

A life is a row of phases. In each phase everything is constant: what the counters grow by, what the editor and the door say, which sources fail, and
what the truth is: WORK, REST (idle, and it can be seen), DARK (nobody can know). Time is simulated; the box's own clocks play no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from nbd.idle import agenda, evidence, history, judge, replay
from nbd.idle.history import Stamp, Stretch
from nbd.idle.model import (
    ACTS,
    Abilities,
    CardUse,
    Counters,
    Decision,
    DoorLook,
    EditorLook,
    GpuLook,
    GpuUse,
    KernelLook,
    Look,
    Mood,
    Policy,
    Sample,
    Site,
    Situation,
    Step,
    TerminalLook,
    Unknown,
    Verdict,
)

WORK, REST, DARK = "work", "rest", "dark"
CARD, MINE, OTHERS = "GPU-1a2b3c4d", 4711, 9
MIB = 1 << 20
ALONE = Site(cards=(CARD,))
NO_FREEZE = Abilities(freeze="this box has no CRIU", held=True)


@dataclass(frozen=True, slots=True)
class Phase:
    """What a notebook does for some time. Rates are per second."""

    seconds: float
    truth: str
    cpu: float = 0.004
    """Cores, beside the editor's own: a kernel at rest beats."""
    gpu: float | None = 0.0
    """Share of the card that its own process takes; None: the card does not say."""
    on_card: bool = True
    """Whether a process of it is on the card."""
    neighbour: float = 0.0
    disk: float = 0.0
    network: float = 0.0
    busy: bool = False
    types: bool = False
    tab: bool = False
    prints: bool = False
    """In a terminal."""
    fails: tuple[str, ...] = ()
    down: bool = False
    """nbd does not run."""
    hangs: bool = False
    """It runs, and gets nowhere."""
    wall_jump: float = 0.0
    """Of the wall's clock, when the phase begins."""


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    phases: tuple[Phase, ...]
    site: Site = ALONE
    abilities: Abilities = NO_FREEZE


@dataclass(frozen=True, slots=True)
class Act:
    at: float
    step: Step
    reason: str


@dataclass(slots=True)
class Box:
    """The world of one notebook: counters that grow."""

    cpu: float = 0.0
    editor: float = 0.0
    disk: float = 0.0
    network: float = 0.0
    typed: int = 0
    printed: float = 0.0
    beats: float = 0.0

    def grow(self, phase: Phase, seconds: float) -> None:
        self.cpu += (phase.cpu + 0.01) * seconds
        self.editor += 0.01 * seconds
        self.disk += phase.disk * seconds
        self.network += phase.network * seconds
        self.typed += phase.types
        self.printed += phase.prints
        self.beats += phase.tab

    def look(self, at: float, phase: Phase, site: Site, state: str) -> Look:
        pids = frozenset({MINE}) if phase.on_card else frozenset({1})
        cards = site.cards if state == "RUNNING" else ()
        gone = {source: Unknown(source, "it does not answer") for source in phase.fails}
        return Look(
            at=at,
            run="container",
            state=state,
            counters=None if "cgroup" in gone else Counters(self.cpu, self.editor, int(self.disk), int(self.network), 0, pids),
            gpu=None if "gpu" in gone or not cards else card_of(phase),
            editor=None if "editor" in gone or not site.asks_editor else self._editor(phase),
            door=None if "door" in gone else DoorLook("door", self.typed, tabs=int(phase.tab)),
            unknown=tuple(gone.values()),
        )

    def _editor(self, phase: Phase) -> EditorLook:
        kernel = KernelLook("k", "train.ipynb", phase.busy, 0.0)
        return EditorLook((kernel,), (TerminalLook("1", self.printed),), self.beats)


def card_of(phase: Phase) -> GpuLook:
    uses: tuple[GpuUse, ...] = (GpuUse(CARD, MINE, phase.gpu, MIB, "python"),) if phase.on_card else ()
    if phase.neighbour:
        uses += (GpuUse(CARD, OTHERS, phase.neighbour, MIB, "python"),)
    return GpuLook((CardUse(CARD, None if phase.gpu is None else phase.gpu + phase.neighbour, MIB),), uses)


@dataclass(slots=True)
class Notebook:
    """What the monitor keeps of it."""

    policy: Policy
    site: Site
    abilities: Abilities
    started: float = 0.0
    standing: judge.Standing = field(default_factory=lambda: judge.begin(0.0))
    look: Look | None = None
    state: str = "RUNNING"
    warned: Mapping[Step, float] = field(default_factory=dict)
    asked: float | None = None
    end_told: float | None = None
    lines: list[bytes] = field(default_factory=list)
    growing: Stretch | None = None
    verdict: Verdict | None = None
    acts: list[Act] = field(default_factory=list)
    told: list[Act] = field(default_factory=list)

    def see(self, look: Look, wall: float) -> Decision:
        site = self.site if self.state == "RUNNING" else replace(self.site, cards=())
        sample, self.look = evidence.sample(self.look, look, site), look
        return self.take(sample, wall)

    def take(self, sample: Sample, wall: float) -> Decision:
        self.standing = judge.observe(self.standing, sample, self.policy)
        self.verdict = verdict = judge.verdict(self.standing, self.policy, sample.at)
        if verdict.mood is Mood.ACTIVE:
            self.warned, self.asked = {}, None
        able = replace(self.abilities, held=self.abilities.held and self.state == "RUNNING")
        situation = Situation(self.state, able, self.started, wall / 60 % 1440, self.warned, self.end_told, self.asked)
        decision = agenda.decide(verdict, self.policy, situation, sample.at)
        self._note(history.seen("container", Stamp("boot", sample.at, wall), sample, verdict.mood))
        if decision.step is not Step.NOTHING:
            self._do(decision, Stamp("boot", sample.at, wall))
        return decision

    def _note(self, row: Stretch) -> None:
        self.growing, lines = history.noted(self.growing, row)
        self.lines += lines

    def _do(self, decision: Decision, stamp: Stamp) -> None:
        if self.growing:
            self.lines.append(history.encode(self.growing))
            self.growing = None
        self.lines.append(history.encode(history.happened("container", stamp, decision)))
        if decision.step is Step.WARN and decision.reason == "max_running":
            self.end_told = stamp.at
        elif decision.step is Step.WARN:
            self.warned = {**self.warned, decision.next: stamp.at}
        elif decision.step is Step.ASK:
            self.asked = stamp.at
        elif decision.step in (Step.PARK, Step.UNPARK):
            self.state = "PARKED" if decision.step is Step.PARK else "RUNNING"
            self.warned = {step: told for step, told in self.warned.items() if step is not decision.step}
        (self.acts if decision.step in ACTS else self.told).append(Act(stamp.at, decision.step, decision.reason))

    def restart(self, *, killed: bool = False) -> None:
        """nbd is there again. Where it was killed, what was not written down is lost."""
        if self.growing and not killed:
            self.lines.append(history.encode(self.growing))
        known = replay.resume(history.entries(self.lines), "container", "boot", self.policy)
        self.look, self.growing = None, None
        if known:
            self.standing, self.warned, self.asked, self.end_told = known.standing, known.warned, known.asked, known.end_told


def live(story: Story, policy: Policy, begin: float = 0.0) -> Notebook:
    """From the first look to the end of the story, or until it is frozen or stopped."""
    notebook, box = Notebook(policy, story.site, story.abilities), Box()
    wall = 1_700_000_000.0 + begin
    for at, phase, first in ticks(story, policy.sample_every):
        wall += policy.sample_every + (phase.wall_jump if first else 0.0)
        box.grow(phase, policy.sample_every)
        if phase.down and first:
            notebook.restart()
        if phase.down or phase.hangs:
            continue
        decision = notebook.see(box.look(at, phase, story.site, notebook.state), wall)
        if decision.step in (Step.FREEZE, Step.STOP):
            break
    return notebook


def ticks(story: Story, every: float) -> Iterator[tuple[float, Phase, bool]]:
    at = 0.0
    for phase in story.phases:
        for number in range(max(1, round(phase.seconds / every))):
            at += every
            yield at, phase, number == 0


def due_moments(story: Story, policy: Policy) -> Mapping[Step, list[float]]:
    """When each step is due, by the truth alone: after so much rest that could be seen since the last work. A second source of the same rule, as
    plain as it can be. A step whose stretch ends before is not due."""
    found: dict[Step, list[float]] = {Step.PARK: [], Step.STOP: []}
    park, stop = policy.park_after or 0.0, policy.stop_after or 0.0
    rested, parked, blinded = 0.0, False, False
    for at, phase, first in ticks(story, policy.sample_every):
        if phase.truth == WORK:
            rested, parked = 0.0, False
        if phase.truth == REST and not (blinded and first):
            before, rested = rested, rested + policy.sample_every
            # The look after a step has nothing to compare with.
            end = stop + (policy.sample_every if parked else 0.0)
            if before < end <= rested:
                return {**found, Step.STOP: [at]}
            if before < park <= rested:
                found[Step.PARK].append(at)
                parked = story.abilities.held and not story.abilities.park
        blinded = phase.down or phase.hangs or bool(phase.fails)
    return found
