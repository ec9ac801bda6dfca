"""10,000 hours of notebooks that work, rest or cannot be seen: no working one is touched, and the idle ones are when it is due."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from nbd.idle.model import Abilities, Policy, Site, Step

from .idle_weeks import CARD, DARK, MIB, REST, WORK, Notebook, Phase, Story, due_moments, live, ticks

MINUTE, HOUR = 60.0, 3600.0
HOURS = 10_000
TYPES = Phase(10 * MINUTE, WORK, types=True, tab=True)
LEFT = Phase(6 * HOUR, REST)
"""Its person went; whatever ran has ended."""
OPEN = replace(LEFT, tab=True)
VSCODE = Site(cards=(CARD,), editor="vscode", asks_editor=False)
NO_CARD = Abilities(freeze="this box has no CRIU")


def long(seconds: float, chance: random.Random) -> float:
    return seconds * chance.uniform(0.5, 1.5)


def silent_cell(chance: random.Random) -> Story:
    """Five hours, nothing printed, no tab: the thread that is open since 2017."""
    return Story("silent cell", (TYPES, Phase(long(5 * HOUR, chance), WORK, cpu=1.0, gpu=0.6, busy=True), LEFT))


def gpu_only(chance: random.Random) -> Story:
    return Story("all on the card", (TYPES, Phase(long(30 * HOUR, chance), WORK, cpu=0.006, gpu=0.9), LEFT))


def nohup(chance: random.Random) -> Story:
    """No kernel, no tab: only its processes."""
    return Story("nohup", (replace(TYPES, prints=True), Phase(long(40 * HOUR, chance), WORK, cpu=2.0, gpu=0.5), LEFT))


def tmux(chance: random.Random) -> Story:
    return Story("tmux, no card", (TYPES, Phase(long(40 * HOUR, chance), WORK, cpu=0.3), LEFT), Site(), NO_CARD)


def debug_run(chance: random.Random) -> Story:
    """Stops at breakpoints, where its person thinks for a quarter of an hour."""
    run, think = Phase(20 * MINUTE, WORK, cpu=0.5, gpu=0.2, tab=True), Phase(15 * MINUTE, REST, cpu=0.03, tab=True)
    return Story("debug run", (TYPES, *(run, think, TYPES) * round(long(12, chance)), replace(LEFT, cpu=0.03)), VSCODE)


def loading(chance: random.Random) -> Story:
    """Data is read for longer than a GPU notebook may be idle, at 0 % of the card, and by a process that waits more than it computes."""
    disk, net = Phase(50 * MINUTE, WORK, cpu=0.01, disk=3 * MIB), Phase(50 * MINUTE, WORK, cpu=0.01, network=400_000)
    train = Phase(30 * MINUTE, WORK, cpu=1.0, gpu=0.95)
    return Story("loading", (TYPES, *(disk, train, net, train) * round(long(8, chance)), LEFT))


def slow_download(chance: random.Random) -> Story:
    """200 KiB/s: neither network nor disk are enough alone."""
    return Story("slow download", (TYPES, Phase(long(40 * HOUR, chance), WORK, cpu=0.005, network=200 << 10, disk=200 << 10), LEFT))


def download(chance: random.Random) -> Story:
    """500 GB."""
    return Story("download", (TYPES, Phase(long(500e9 / 14e6, chance), WORK, cpu=0.02, network=14e6, disk=14e6), LEFT))


def forgotten_tab(chance: random.Random) -> Story:
    return Story("forgotten tab", (replace(TYPES, seconds=long(2 * HOUR, chance)), Phase(48 * HOUR, REST, cpu=0.015, tab=True)))


def stuck_input(chance: random.Random) -> Story:
    """A kernel waits for an answer: it counts for busy_grace, then it is asked about; from max_session on it is idle."""
    waits = Phase(2 * HOUR, WORK, busy=True)
    lost = replace(waits, seconds=6 * HOUR - 2 * MINUTE, truth=DARK)
    story = Story("stuck input()", (replace(TYPES, seconds=long(HOUR, chance)), waits, lost, Phase(2 * MINUTE, DARK, busy=True), OPEN))
    return replace(story, phases=(*story.phases[:-1], replace(OPEN, busy=True)))


def mig(chance: random.Random) -> Story:
    """A card that does not say who uses it, and a process of the notebook on it."""
    return Story("MIG", (TYPES, Phase(long(40 * HOUR, chance), DARK, gpu=None)))


def mig_left(chance: random.Random) -> Story:
    """The same, and its process has ended: then nothing of it can be on the card."""
    return Story("MIG, left", (TYPES, Phase(long(20 * HOUR, chance), DARK, gpu=None), replace(LEFT, gpu=None, on_card=False)))


def neighbour(chance: random.Random) -> Story:
    """Somebody else's work on a shared card is no work of this one, which only holds memory there."""
    return Story("neighbour", (replace(TYPES, seconds=long(HOUR, chance)), replace(OPEN, neighbour=0.99)), Site(cards=(CARD,), exclusive=False))


def shared_work(chance: random.Random) -> Story:
    work = Phase(long(30 * HOUR, chance), WORK, gpu=0.04, neighbour=0.95)
    return Story("work beside a neighbour", (TYPES, work, replace(LEFT, neighbour=0.9)), Site(cards=(CARD,), exclusive=False))


def blind(source: str) -> Callable[[random.Random], Story]:
    def story(chance: random.Random) -> Story:
        """Ten minutes without an answer, in the middle of silent work and of rest; once for ever."""
        work = Phase(long(HOUR, chance), WORK, gpu=0.5, cpu=0.5)
        gone = Phase(10 * MINUTE, DARK, fails=(source,))
        rest = Phase(HOUR / 3, REST)
        return Story(f"without {source}", (TYPES, work, replace(gone, gpu=0.5, truth=WORK if source != "gpu" else DARK), work, rest, gone, LEFT))

    return story


def blind_for_ever(chance: random.Random) -> Story:
    source = chance.choice(["gpu", "cgroup", "editor", "door"])
    return Story("never an answer again", (TYPES, Phase(long(30 * HOUR, chance), DARK, fails=(source,))))


def clock_jumps(chance: random.Random) -> Story:
    jumps = [HOUR, -HOUR, 365 * 86400.0, -365 * 86400.0, 365 * 86400.0]
    work = [Phase(20 * MINUTE, WORK, cpu=1.0, wall_jump=jump) for jump in jumps]
    rest = [Phase(6 * MINUTE, REST, wall_jump=-jump) for jump in jumps]
    return Story("clock jumps", (TYPES, *work, *rest, replace(LEFT, seconds=long(6 * HOUR, chance))))


def suspended(chance: random.Random) -> Story:
    """The monotonic clock stands still meanwhile, so it is a jump of the wall's clock; and nbd needs a moment to come to."""
    night = Phase(8 * MINUTE, DARK, hangs=True, wall_jump=10 * HOUR)
    work = Phase(long(HOUR, chance), WORK, cpu=1.0, gpu=0.5)
    return Story("suspended", (TYPES, work, replace(night, truth=WORK, cpu=1.0), work, Phase(20 * MINUTE, REST), night, LEFT))


def restarted(chance: random.Random) -> Story:
    """nbd is down in the middle of the window, once after the announcement."""
    down = Phase(10 * MINUTE, DARK, down=True)
    rest = Phase(26 * MINUTE, REST)
    return Story("nbd restarted", (TYPES, Phase(long(2 * HOUR, chance), WORK, busy=True, cpu=1.0), rest, down, LEFT))


STORIES = (
    silent_cell, gpu_only, nohup, tmux, debug_run, loading, slow_download, download, forgotten_tab, stuck_input, mig, mig_left, neighbour,
    shared_work, blind("gpu"), blind("cgroup"), blind("editor"), blind_for_ever, clock_jumps, suspended, restarted,
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    hours: float = 0.0
    lives: int = 0
    touched: list[str] = field(default_factory=list)
    """Acts on notebooks that worked, of which nothing could be known, or that had not rested for as long as the policy says."""
    due: int = 0
    late: list[str] = field(default_factory=list)

    def count(self, story: Story, policy: Policy, notebook: Notebook) -> None:
        self.lives += 1
        end = notebook.standing.at
        self.hours += end / HOUR
        rested = rest_at(story, policy)
        due = due_moments(story, policy)
        for act in notebook.acts:
            after = policy.park_after if act.step is Step.PARK else policy.stop_after
            if act.reason != "max_running" and rested.get(act.at, 0.0) < (after or 0.0) - 1e-6:
                self.touched.append(f"{story.name}: {act} after {rested.get(act.at, 0.0)} s of rest")
        for step, moments in due.items():
            if step is Step.PARK and not story.abilities.held:
                continue
            for moment in moments:
                self.due += 1
                acted = [act.at for act in notebook.acts if act.step is step and abs(act.at - moment) <= policy.sample_every + 1e-6]
                self.late += [] if acted else [f"{story.name}: {step} due {moment}, done {[act.at for act in notebook.acts]}"]


def rest_at(story: Story, policy: Policy) -> dict[float, float]:
    """At each tick for how long it could be seen that the notebook rests; nothing where it works, or where nobody can know."""
    found, rested = {}, 0.0
    for at, phase, _ in ticks(story, policy.sample_every):
        rested = 0.0 if phase.truth == WORK else rested + (policy.sample_every if phase.truth == REST else 0.0)
        found[at] = rested if phase.truth == REST else 0.0
    return found


def run(policy: Policy, hours: float, seed: int) -> Tally:
    tally, chance = Tally(), random.Random(seed)
    while tally.hours < hours:
        for tell in STORIES:
            story = tell(chance)
            tally.count(story, policy, live(story, policy, begin=chance.uniform(0, 86400)))
    return tally


@pytest.mark.parametrize(("every", "hours"), [(10.0, 1), (120.0, HOURS)], ids=["ten seconds", "two minutes"])
def test_simulated_weeks(every: float, hours: int) -> None:
    tally = run(Policy(sample_every=every), hours, seed=int(every))
    print(f"{tally.hours:.0f} h, {tally.lives} lives: {len(tally.touched)} touched, {tally.due} due, {len(tally.late)} not then", tally.late[:9])
    assert tally.touched == []
    assert tally.due > tally.lives
    assert len(tally.late) <= tally.due // 100, tally.late[:9]
