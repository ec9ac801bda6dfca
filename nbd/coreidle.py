"""The part of core that gives back what nobody uses: built beside the rest (core.py), which runs and closes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .config import Config, IdleSettings
from .gpus.pool import Pool
from .host.bootclock import BootClock, local_time
from .host.crier import PodmanCrier
from .host.cudapark import CudaParker
from .host.execs import PodmanExecs
from .host.freezefolder import FreezeFolder
from .host.freezegroup import FreezeGroup
from .host.freezer import PodmanFreezer
from .host.gauges import KernelGauges
from .host.gpuwork import NvmlWork
from .host.headroom import KernelMemory
from .host.idlerecords import RecordFiles
from .host.jupyter import JupyterStates
from .host.nvml import NvmlCards
from .host.podman import Podman
from .host.probes import PodmanProbes
from .host.processes import KernelProcesses
from .idle.desk import About, Files, IdleDesk
from .idle.diary import RecordedDiary
from .idle.looker import Looker, Sources
from .idle.model import Policy
from .idle.monitor import Means, Monitor
from .idle.policy import IdleOffer, effective
from .idle.prober import Prober
from .notebooks.lives import Hands, Lives
from .notebooks.manager import Manager
from .notebooks.ports import Process
from .notebooks.rest.freezing import Freezing, Surroundings
from .notebooks.rest.park_survey import ParkParts
from .notebooks.rest.parking import Parking
from .notebooks.rest.service import Resting
from .notebooks.rest.tasks import Crafts
from .notebooks.roster import Roster
from .notebooks.schedule import Schedule
from .notebooks.starter import Parts
from .places import Places
from .profiles import Profile


@dataclass(frozen=True, slots=True)
class Machine:
    """What of this box idleness needs and the rest of core has."""

    podman: Podman
    processes: KernelProcesses
    cards: NvmlCards
    pool: Pool


@dataclass(frozen=True, slots=True)
class Household:
    """The notebooks, as core runs them."""

    parts: Parts
    roster: Roster
    hands: Hands
    lives: Lives
    manager: Manager


@dataclass(frozen=True, slots=True)
class Idle:
    roster: Roster
    resting: Resting
    monitor: Monitor
    desk: IdleDesk
    diary: RecordedDiary
    looker: Looker
    schedule: Schedule
    parker: CudaParker
    editors: JupyterStates

    async def sweep(self) -> None:
        """What is kept of notebooks that are no more goes."""
        await self.diary.keep_only({row.id for row in self.roster.all()})

    async def close(self) -> None:
        await self.monitor.close()
        await self.looker.sources.prober.close()
        await self.diary.close()
        await self.editors.close()
        await self.parker.close()


def freezer_of(machine: Machine, places: Places) -> PodmanFreezer:
    return PodmanFreezer(machine.podman, machine.processes, FreezeGroup(), FreezeFolder(places.state / "frozen"))


def build_idle(config: Config, places: Places, machine: Machine, house: Household, profiles: Callable[[], Mapping[str, Profile]]) -> Idle:
    clock, roster, parts = BootClock(), house.roster, house.parts
    resting = Resting(parts, roster, house.hands, house.lives, house.manager)
    parker = parker_of(config)
    park = ParkParts(parker, machine.cards, machine.processes, KernelMemory(), parts.gpus, parts.leases, parts.clocks)
    freezing = Freezing(roster, parts.containers, parts.freezer, around(house, resting), saves_cards=PodmanFreezer.saves_cards())
    resting.learn(Crafts(Parking(park, roster, resting.in_line), freezing, clock.boot))
    execs, editors = PodmanExecs(machine.podman, config.core.podman_socket, machine.processes), JupyterStates()

    def offer(profile: str) -> IdleOffer | None:
        known = profiles().get(profile)
        return known.idle if known else None

    def policy(profile: str, own: Mapping[str, str]) -> Policy:
        return holding(config.idle, profiles(), profile, own)

    def script(profile: str) -> str | None:
        found = offer(profile)
        return found.probe if found else None

    def about(notebook: str) -> About:
        row = roster.get(notebook)
        return About(row.id, row.owner, row.name, row.state, row.profile, row.idle)

    gauges = KernelGauges()
    prober = Prober(PodmanProbes(execs), gauges, clock.steady, script)
    looker = Looker(Sources(gauges, NvmlWork(machine.cards), editors, prober), clock.steady)
    diary = RecordedDiary(RecordFiles(places.state / "idle"), clock)
    monitor = Monitor(
        Means(
            looker, resting, PodmanCrier(execs, machine.processes), diary, clock,
            lambda subject: policy(subject.profile, subject.own), roster.judged, lambda profile: script(profile) is not None,
            lambda: (len(machine.pool.line), config.idle.preempt_after),
        )
    )  # fmt: skip
    desk = IdleDesk(monitor, resting, diary, clock, Files(about, policy, lambda: config.idle))
    schedule = Schedule(roster, house.manager, profiles, lambda: local_time(clock.wall()))
    return Idle(roster, resting, monitor, desk, diary, looker, schedule, parker, editors)


def holding(admin: IdleSettings, profiles: Mapping[str, Profile], profile: str, own: Mapping[str, str]) -> Policy:
    """What holds for a notebook of this profile. One whose profile is gone, or cannot be read just now, is let be: its rules may have said never."""
    known = profiles.get(profile)
    if known is not None:
        return effective(admin, profile, known.idle, own)
    found = effective(admin, profile, None, own)
    return replace(found, shadow=True, origins={**found.origins, "shadow": f"there is no profile {profile}"})


def around(house: Household, resting: Resting) -> Surroundings:
    """What of the notebooks a freeze and a thaw need."""
    roster, hands = house.roster, house.hands

    def plug(*, unplugged: bool) -> Callable[[str], Awaitable[None]]:
        async def step(notebook: str) -> None:
            roster.unplug(notebook, unplugged=unplugged)

        return step

    async def lay_out(notebook: str) -> None:
        await hands.starter.lay_out(notebook, house.lives.profile(roster.get(notebook).profile))

    async def lease(notebook: str) -> None:
        """Only what holds no card, or has given it back, is frozen: it comes back without one."""

    async def answers(notebook: str, process: Process) -> None:
        await hands.starter.answers(notebook, process)

    return Surroundings(
        hang_up=plug(unplugged=True),
        let_in=plug(unplugged=False),
        save_home=hands.protector.before_freeze,
        release=hands.stopper.release,
        lay_out=lay_out,
        lease=lease,
        answers=answers,
        cards=resting.cards,
    )


def parker_of(config: Config) -> CudaParker:
    gpus = config.gpus
    simulated = Path(gpus.simulated_box) if gpus.simulated_box else None
    return CudaParker(
        library_folder=Path(gpus.library_folder) if gpus.library_folder else None,
        simulated_box=simulated,
        simulated_cuda=simulated.with_suffix(".cuda") if simulated else None,
    )
