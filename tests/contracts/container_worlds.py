"""The worlds that test_containers.py holds to the contract of `notebooks.ports.Containers` and `Processes`: one in memory, one real Podman."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nbd.host.containers import PodmanContainers
from nbd.host.limits import host_limits
from nbd.host.podman import Podman
from nbd.host.processes import KernelProcesses
from nbd.notebooks.ports import Containers, Processes
from tests.fakes.machine import FakeContainers, FakeMachine, FakeProcesses, Image

BASE_IMAGE = "localhost/nbd/base:latest"


@dataclass
class World:
    ours: Containers
    theirs: Containers
    """The same Podman, as another nbd on this box sees it."""
    processes: Processes
    folder: Path
    commands: Mapping[str, tuple[str, ...]]
    images: Mapping[str, str] = field(default_factory=dict)


COMMANDS = {
    "sleeps": ("sleep", "1000"),
    "ends": ("sh", "-c", "exit 3"),
    "missing": ("no-such-editor",),
    "stubborn": ("sh", "-c", "trap '' TERM; sleep 1000"),
}


@asynccontextmanager
async def memory(folder: Path, socket: Path | None) -> AsyncIterator[World]:
    images = {"sleeps": Image(), "ends": Image(ends_at_once=3), "missing": Image(has_editor=False), "stubborn": Image(ignores_term=True)}
    machine = FakeMachine(images={f"image-{name}": image for name, image in images.items()})
    ours, theirs = FakeContainers(machine, "/ours"), FakeContainers(machine, "/theirs")
    yield World(ours, theirs, FakeProcesses(machine), folder, COMMANDS, {name: f"image-{name}" for name in images})


@asynccontextmanager
async def real(folder: Path, socket: Path | None) -> AsyncIterator[World]:
    podman, processes = Podman(str(socket), 60), KernelProcesses()
    ours, theirs = PodmanContainers(podman, processes, str(folder / "ours")), PodmanContainers(podman, processes, str(folder / "theirs"))
    try:
        yield World(ours, theirs, processes, folder, COMMANDS, dict.fromkeys(COMMANDS, BASE_IMAGE))
    finally:
        for containers in (ours, theirs):
            for seen in await containers.seen():
                await containers.remove(seen.container)
        await podman.close()


WORLDS = {"memory": memory, "podman": real}
LIMITS = host_limits()
