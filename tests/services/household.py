"""A manager with everything it needs, over a fake machine; can "crash" and come up again on what was left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nbd.gpus.model import Card
from nbd.gpus.pool import Pool
from nbd.messages import StartRequest
from nbd.notebooks.attach import Ground
from nbd.notebooks.attacher import Attacher
from nbd.notebooks.homenews import HomeNews
from nbd.notebooks.images import Images
from nbd.notebooks.lives import Hands, Lives, Rules
from nbd.notebooks.manager import Manager
from nbd.notebooks.model import Notebook, Occupant, State
from nbd.notebooks.protector import Pace, Protector
from nbd.notebooks.roster import Roster
from nbd.notebooks.spec import HostLimits
from nbd.notebooks.starter import Clocks, House, Parts, Starter
from nbd.notebooks.stopper import Stopper
from nbd.notebooks.tasks import Tasks
from nbd.profiles import Profile, parse_profile
from tests.fakes.driver import FakeDriver, FakeSpecs
from tests.fakes.freezer import FakeFreezer
from tests.fakes.images import FakeImageStore
from tests.fakes.leases import MemoryLeases
from tests.fakes.machine import (
    FakeAttachments,
    FakeContainers,
    FakeEditors,
    FakeFolders,
    FakeHomes,
    FakeLogs,
    FakeMachine,
    FakeNetworks,
    FakePeople,
    FakeProcesses,
    Image,
    MemoryStore,
)

GIB = 1 << 30
IMAGE = "localhost/nbd/jupyter:latest"
RULES = Rules("cpu", stop_grace_seconds=0.05, crash_limit=3, crash_window_seconds=600.0, ready_seconds=0.2)
PROFILES: dict[str, Profile] = {
    name: parse_profile(f'title = "{name}"\n{rest}', name, name)
    for name, rest in {
        "cpu": "",
        "gpu": "[gpu]\n",
        "shared": '[gpu]\nshared = true\nmemory = "8GiB"\n',
        "odd": 'image = "odd"\n',
        "foreign": 'image = "example.org/lab/torch:2"\n',
        "unknown": 'image = "example.org/lab/none:1"\n',
        "alone": 'network = "none"\n',
    }.items()
}


@dataclass
class Household:
    machine: FakeMachine = field(default_factory=lambda: FakeMachine(images={IMAGE: Image()}))
    store: MemoryStore = field(default_factory=MemoryStore)
    driver: FakeDriver = field(default_factory=lambda: FakeDriver(Card("GPU-a", "A4000", 16 * GIB), Card("GPU-b", "A4000", 16 * GIB)))
    leases: MemoryLeases = field(default_factory=MemoryLeases)
    release_seconds: float = 0.1
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.freezer = FakeFreezer(self.machine)
        self.build()

    def build(self) -> None:
        pool = Pool(self.driver, self.leases, FakeSpecs(), lambda: self.now, recheck_seconds=0.01)
        machine, instance = self.machine, "/test"
        clocks = Clocks(lambda: self.now, time.monotonic)
        parts = Parts(
            FakeContainers(machine, instance), FakeNetworks(machine), FakeProcesses(machine), FakeEditors(machine), FakeHomes(machine),
            FakeFolders(machine), FakeLogs(), FakePeople(), pool, self.leases, Images(FakeImageStore(machine)), clocks, self.freezer,
        )  # fmt: skip
        self.pool, self.roster, self.news = pool, Roster(self.store), HomeNews(lambda: self.now)
        house = House(instance, "localhost/nbd/", HostLimits(20_000, 16_000, 8, 64 * GIB), RULES.ready_seconds)
        protector = Protector(parts.homes, parts.people, self.roster, self.news, Pace(0.2, 0.02))
        stopper = Stopper(parts, self.roster, self.release_seconds, kill_seconds=0.05)
        ground = Ground("/attached", Occupant("nobody", 65534, 65534, "/"))
        self.attacher = attacher = Attacher(FakeAttachments(machine), parts.people, self.roster, ground, 0.2)
        hands = Hands(Starter(parts, self.roster, house, attacher), stopper, Tasks(), protector, attacher)
        lives = Lives(parts, self.roster, hands, RULES, lambda: PROFILES)
        self.manager = Manager(parts, self.roster, hands, lives, RULES)
        self.parts, self.hands, self.lives = parts, hands, lives

    async def crash(self) -> None:
        """The daemon dies and comes up again: the machine and the store are all that is left of it."""
        await self.manager.close()
        self.build()
        await self.roster.load()

    async def start(self, name: str = "main", profile: str = "cpu", *, owner: str = "ada", gpus: int | None = None, wait: bool = False) -> Notebook:
        row, _ = await self.manager.start(owner, StartRequest(name, profile, None, gpus, wait))
        return row

    async def up(self, name: str = "main", profile: str = "cpu") -> Notebook:
        row = await self.start(name, profile)
        await self.manager.settled(row.id)
        row = self.roster.get(row.id)
        assert row.state is State.RUNNING, row
        return row

    async def calm(self) -> None:
        """Reconcile until there is nothing to do. Fails when it never ends."""
        for _ in range(10):
            actions = await self.manager.reconcile()
            for row in self.roster.all():
                await self.settled_or_in_line(row.id)
            if not actions:
                return
        raise AssertionError(f"reconcile goes on and on: {actions}")

    async def settled_or_in_line(self, notebook: str) -> None:
        """Who waits for a card that somebody keeps would wait for ever."""
        settled = asyncio.create_task(self.manager.settled(notebook))
        try:
            await self.until(lambda: settled.done() or self.roster.passing(notebook).waiting is not None)
        finally:
            settled.cancel()
            await asyncio.gather(settled, return_exceptions=True)

    async def calm_but_for_leases(self) -> None:
        for _ in range(5):
            await self.manager.reconcile()
            for row in self.roster.all():
                await self.manager.settled(row.id)

    async def until(self, what: Callable[[], bool], seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it never came true"
            await asyncio.sleep(0.001)

    async def nothing_left(self) -> None:
        assert self.machine.boxes == {}
        assert self.machine.networks == set()
        assert self.machine.folders == set()
        assert list(await self.leases.leases()) == []
