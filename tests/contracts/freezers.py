"""The worlds that test_freezer.py holds to the contract of `notebooks.rest.ports.Freezer`: one in memory, one real Podman with CRIU in the box."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nbd.host.limits import host_limits
from nbd.notebooks.model import Notebook, Occupant
from nbd.notebooks.ports import Containers
from nbd.notebooks.rest.ports import Freezer
from nbd.notebooks.spec import ContainerSpec, Site, build
from nbd.profiles import parse_profile
from tests.fakes.freezer import FakeFreezer
from tests.fakes.machine import FakeContainers, FakeMachine, FakeProcesses, Image
from tests.system.freeze_box import IMAGE, INSTANCE, opened

PROFILE = parse_profile('title = "P"\nmemory = "256MiB"\nshm = "16MiB"\ntmp = "16MiB"\nnetwork = "none"\n', "p", "p")
NOTEBOOK = "nabcdefghi"


@dataclass
class World:
    containers: Containers
    freezer: Freezer
    living: Callable[[str], Collection[int]]
    image: str
    instance: str
    folder: Path
    again: Callable[[], Freezer]
    """The freezer as after a restart of core."""

    async def up(self) -> str:
        """A container that sleeps; its id."""
        container = await self.containers.create(self.spec())
        await self.containers.start(container)
        return container

    def spec(self) -> ContainerSpec:
        home, run, identity = (self.folder / name for name in ("home", "run", "identity"))
        for folder in (home, run, identity):
            folder.mkdir(exist_ok=True)
        for name in ("passwd", "group"):
            (identity / name).write_text("root:x:0:0::/root:/bin/sh\n")
        site = Site(self.instance, "localhost/nbd/", str(run), str(identity), str(self.folder / "log"), None, host_limits())
        row = Notebook(NOTEBOOK, "main", "root", "p", "jupyterlab", 5.0, run=3)
        made = build(row, PROFILE, Occupant("root", 0, 0, str(home)), [], site)
        return replace(made, image=self.image, command=("sleep", "1000"))


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[World]:
    machine = FakeMachine(images={"image": Image()})
    freezer = FakeFreezer(machine)
    yield World(FakeContainers(machine, "/ours"), freezer, FakeProcesses(machine).of_container, "image", "/ours", folder, lambda: freezer)


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[World]:
    async with opened(folder) as box:

        def again() -> Freezer:
            box.build()
            return box.freezer

        yield World(box.containers, box.freezer, box.processes.of_container, IMAGE, INSTANCE, folder, again)


WORLDS = {"memory": memory, "box": real}
