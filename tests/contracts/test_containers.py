"""What `notebooks.ports.Containers` promises, asked of the fake machine and of real Podman."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nbd.errors import Conflict, StartFailed
from nbd.gpus.model import Lease
from nbd.notebooks.model import Notebook, Occupant
from nbd.notebooks.ports import Containers, Process
from nbd.notebooks.spec import ContainerSpec, Site, build
from nbd.profiles import parse_profile

from .container_worlds import LIMITS, WORLDS, World

PROFILE = parse_profile('title = "P"\nmemory = "256MiB"\nshm = "16MiB"\ntmp = "16MiB"\n', "p", "p")
ROW = Notebook("nabcdefghi", "main", "ada", "p", "jupyterlab", 5.0, run=3)
LEASE = Lease("GPU-1", ROW.id, "ada/main", 7.0)


@pytest.fixture(params=["memory", pytest.param("podman", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[World]:
    socket = request.getfixturevalue("podman_socket") if request.param == "podman" else None
    async with WORLDS[request.param](short_path, socket) as opened:
        yield opened


def spec(world: World, kind: str = "sleeps", instance: str = "ours") -> ContainerSpec:
    home, run, identity = (world.folder / name for name in ("home", "run", "identity"))
    for folder in (home, run, identity):
        folder.mkdir(exist_ok=True)
    (identity / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (identity / "group").write_text("root:x:0:\n")
    who = Occupant("root", os.getuid(), os.getgid(), str(home))
    name = instance if world.images[kind].startswith("image-") else str(world.folder / instance)
    name = f"/{name}" if not name.startswith("/") else name
    site = Site(name, "localhost/nbd/", str(run), str(identity), str(world.folder / "log"), None, LIMITS)
    made = build(ROW, PROFILE, who, [LEASE], site)
    return replace(made, name=f"nbd-test-{os.getpid()}-{instance}", image=world.images[kind], command=world.commands[kind], devices=())


async def until(what: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await maybe(what()):
            await asyncio.sleep(0.01)


async def maybe(value: object) -> object:
    return await value if asyncio.iscoroutine(value) else value


async def ended(world: World, process: Process) -> None:
    gone = asyncio.Event()
    cancel = world.processes.on_exit(process, gone.set)
    async with asyncio.timeout(10):
        await gone.wait()
    cancel()


async def test_a_life(world: World) -> None:
    container = await world.ours.create(spec(world))
    (seen,) = await world.ours.seen()
    assert (seen.container, seen.notebook, seen.run, seen.alive, seen.made, seen.label) == (container, ROW.id, 3, False, False, ROW)
    process = await world.ours.start(container)
    (seen,) = await world.ours.seen()
    assert (seen.alive, seen.made, seen.exit_code) == (True, True, None)
    assert await world.ours.process(container) == process
    assert process.pid in world.processes.of_container(container)
    assert list(await world.ours.leases()) == [LEASE]
    await world.ours.kill(container, "SIGKILL")
    await ended(world, process)
    assert await world.ours.process(container) is None
    assert not world.processes.of_container(container)
    await world.ours.remove(container)
    assert list(await world.ours.seen()) == []


async def test_sigterm_reaches_the_editor(world: World) -> None:
    container = await world.ours.create(spec(world))
    process = await world.ours.start(container)
    await world.ours.kill(container, "SIGTERM")
    await ended(world, process)
    await until(lambda: exit_code_is(world.ours, container, 143))


async def exit_code_is(containers: Containers, container: str, code: int) -> bool:
    seen = await containers.look(container)
    return seen is not None and seen.exit_code == code


async def test_a_stubborn_editor_outlives_sigterm(world: World) -> None:
    container = await world.ours.create(spec(world, "stubborn"))
    process = await world.ours.start(container)
    await world.ours.kill(container, "SIGTERM")
    assert await world.ours.process(container) == process
    await world.ours.remove(container)
    assert await world.ours.process(container) is None


async def test_its_exit_code_is_seen(world: World) -> None:
    container = await world.ours.create(spec(world, "ends"))
    assert await code_of_start(world, container) in ("", "editor_exited")
    await until(lambda: exit_code_is(world.ours, container, 3))
    (seen,) = await world.ours.seen()
    assert not seen.alive


async def test_an_image_without_the_editor(world: World) -> None:
    container = await world.ours.create(spec(world, "missing"))
    assert await code_of_start(world, container) in ("", "editor_missing", "editor_exited")
    await until(lambda: ended_wrongly(world.ours, container))


async def code_of_start(world: World, container: str) -> str:
    """Start what ends by itself: "" when it was seen alive first, else the error's code."""
    try:
        await ended(world, await world.ours.start(container))
    except StartFailed as error:
        return error.code
    return ""


async def ended_wrongly(containers: Containers, container: str) -> bool:
    """1 or 127: the container's own first process, catatonit, says 1 when what it should run is not there."""
    seen = await containers.look(container)
    return seen is not None and not seen.alive and seen.exit_code in (1, 127)


async def test_no_image_is_a_sentence(world: World) -> None:
    assert not await world.ours.image_exists("localhost/nbd/absent:latest")
    assert await world.ours.image_exists(world.images["sleeps"])
    with pytest.raises(StartFailed) as caught:
        await world.ours.create(replace(spec(world), image="localhost/nbd/absent:latest"))
    assert caught.value.code == "image_missing"


async def test_a_name_is_taken_once(world: World) -> None:
    await world.ours.create(spec(world))
    with pytest.raises(Conflict):
        await world.ours.create(spec(world))
    assert len(await world.ours.seen()) == 1


async def test_what_is_not_there_needs_no_removal(world: World) -> None:
    container = await world.ours.create(spec(world))
    await world.ours.remove(container)
    await world.ours.remove(container)
    await world.ours.kill(container, "SIGTERM")
    assert await world.ours.look(container) is None
    assert await world.ours.process(container) is None


async def test_another_nbds_containers_are_invisible_and_safe(world: World) -> None:
    foreign = await world.theirs.create(spec(world, instance="theirs"))
    process = await world.theirs.start(foreign)
    assert list(await world.ours.seen()) == []
    assert list(await world.ours.leases()) == []
    assert await world.ours.look(foreign) is None
    assert await world.ours.process(foreign) is None
    await world.ours.remove(foreign)
    await world.ours.remove(f"nbd-test-{os.getpid()}-theirs")
    assert await world.theirs.process(foreign) == process


async def test_who_ended_long_ago_is_told_at_once(world: World) -> None:
    container = await world.ours.create(spec(world))
    process = await world.ours.start(container)
    await world.ours.remove(container)
    await ended(world, process)
