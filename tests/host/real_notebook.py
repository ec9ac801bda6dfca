"""One real container as nbd makes them, without nbd: for tests of what is read from it and done in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import psutil

from nbd.editors import EDITORS
from nbd.host.containers import PodmanContainers
from nbd.host.editor import UnixEditor
from nbd.host.execs import PodmanExecs
from nbd.host.limits import host_limits
from nbd.host.podman import Podman
from nbd.host.processes import KernelProcesses
from nbd.idle.ports import Subject
from nbd.notebooks.model import Notebook, Occupant
from nbd.notebooks.spec import Site, build, group, passwd
from nbd.profiles import parse_profile
from nbd.unixdoor import Place

T = TypeVar("T")
PROFILE = parse_profile('title = "P"\nimage = "jupyter"\nmemory = "1GiB"\nshm = "16MiB"\ntmp = "16MiB"\n', "p", "p")
BASE_IMAGE = "localhost/nbd/base:latest"
PATIENCE = 40.0
UID = 4321
"""Nobody's on the box."""


@dataclass(frozen=True)
class RealNotebook:
    subject: Subject
    home: Path
    execs: PodmanExecs
    processes: KernelProcesses


@asynccontextmanager
async def real_notebook(folder: Path, socket: Path, command: tuple[str, ...] = ()) -> AsyncIterator[RealNotebook]:
    """With a JupyterLab that is ready, or with this command in an image that has little more than a shell."""
    home, run, identity = (folder / name for name in ("home", "run", "identity"))
    who = Occupant("ada", UID, UID, str(home))
    for one in (home, run, identity):
        one.mkdir()
        os.chown(one, UID, UID)
    (identity / "passwd").write_text(passwd(who))
    (identity / "group").write_text(group(who))
    row = Notebook("nabcdefghi", "main", who.name, "p", "jupyterlab", 5.0, run=1)
    site = Site(str(folder), "localhost/nbd/", str(run), str(identity), str(folder / "log"), None, host_limits())
    spec = replace(build(row, PROFILE, who, [], site), name=f"nbd-test-{os.getpid()}-idle")
    if command:
        spec = replace(spec, image=BASE_IMAGE, command=command)
    podman, processes = Podman(str(socket), 60), KernelProcesses()
    containers = PodmanContainers(podman, processes, str(folder))
    place = Place(str(run / "editor.sock"), who.uid)
    try:
        container = await containers.create(spec)
        process = await containers.start(container)
        if not command:
            await UnixEditor().wait_ready(place, EDITORS["jupyterlab"].ready_path, PATIENCE)
        subject = Subject(row.id, who.name, "main", container, process.pid, place, "jupyterlab", "p", "RUNNING")
        yield RealNotebook(subject, home, PodmanExecs(podman, str(socket), processes), processes)
    finally:
        for seen in await containers.seen():
            await containers.remove(seen.container)
            end_sleepers(seen.container)
        await podman.close()


def end_sleepers(container: str) -> None:
    """Of each program that was run in a container through Podman's API, its conmon sleeps for five minutes (exit_command_delay)."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "conmon" and container in (process.info["cmdline"] or ()):
            process.kill()


async def until(what: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
    """The first true value."""
    async with asyncio.timeout(seconds):
        while not (value := await what()):
            await asyncio.sleep(0.02)
    return value
