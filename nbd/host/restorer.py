"""Podman's restore of a frozen container, and what one that was cut off leaves: stray processes, cgroups, a mount, a runtime that remembers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Deadline, HostUnfit, NbdError, Unreachable
from ..notebooks.ports import Process
from ..notebooks.rest.freeze_plan import why_not
from . import commands
from .freezefolder import Begun, FreezeFolder
from .freezegroup import FreezeGroup
from .podman import SHORT_SECONDS, Call, Podman, understood
from .processes import KernelProcesses

log = logging.getLogger(__name__)
OPTIONS = {"keep": "true", "tcpEstablished": "true", "fileLocks": "true"}
"""Of a checkpoint and of a restore. keep: the image and CRIU's log stay until they are forgotten here."""
EXISTS = "already exists"
POLL_SECONDS = 0.05
END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Body:
    """A container as far as freezing must know it."""

    id: str
    bundle: Path
    process: Process | None


class Restorer:
    def __init__(self, podman: Podman, processes: KernelProcesses, group: FreezeGroup, folder: FreezeFolder, enter: tuple[str, ...]) -> None:
        """`enter`: words before a program of Podman's side, where that sees other mounts than this process."""
        self._podman = podman
        self._processes = processes
        self._group = group
        self._folder = folder
        self._enter = enter

    async def body(self, container: str) -> Body:
        """Raises NotFound for a container that is not there."""
        facts: Mapping[str, Any] = await self._podman.ask(Call("GET", f"/containers/{container}/json", seconds=SHORT_SECONDS))
        with understood():
            process = self._processes.of_pid(int(facts["State"].get("Pid") or 0), facts["Id"])
            return Body(str(facts["Id"]), Path(facts["StaticDir"]), process)

    async def restore(self, notebook: str, begun: Begun, seconds: float) -> Process:
        """The container's process, of its image as it lies there. Raises NbdError: the image is as it was, and no process is left."""
        await self._end_strays(begun.container)
        self._folder.link(notebook, begun)
        self._folder.fresh_log(begun, "restore.log")
        await self._folder.clear_restore(begun)
        self._group.clear(begun.container)
        refused: NbdError = HostUnfit("it ended as soon as it was thawed")
        try:
            await self._ask(begun.container, seconds)
        except NbdError as error:
            refused = error
            if not await until(lambda: not self.at_work(notebook), seconds):
                raise  # CRIU is at work yet.
            if isinstance(error, Deadline):
                await self._end_strays(begun.container)  # Podman waits for what never comes.
        process = await self._process_now(begun.container)
        if process:
            return process
        await self._end_strays(begun.container)
        raise why_not("thawed", refused, self._folder.log(begun, "restore.log"))

    def at_work(self, notebook: str) -> frozenset[int]:
        """Who is at work on the image. Not the container's own processes: a CRIU that was killed leaves some of its descriptors in them."""
        users, begun = self._folder.users(notebook), self._folder.begun(notebook)
        return users - frozenset(self._processes.of_container(begun.container)) if users and begun else users

    async def _ask(self, container: str, seconds: float) -> None:
        call = Call("POST", f"/containers/{container}/restore", OPTIONS, seconds=seconds)
        try:
            await self._podman.ask(call)
        except HostUnfit as error:
            if EXISTS not in error.message:
                raise
            # The runtime remembers a restore that was cut off, and Podman does not. The container itself is Podman's and stays.
            facts = await self._podman.ask(Call("GET", "/info", seconds=SHORT_SECONDS))
            with understood():
                runtime = str(facts["host"]["ociRuntime"]["path"])
            await commands.run([*self._enter, runtime, "delete", "--force", container], END_SECONDS)
            await self._podman.ask(call)

    async def _process_now(self, container: str) -> Process | None:
        """The container's process, by a Podman that may just be coming up again."""
        deadline = time.monotonic() + END_SECONDS
        while True:
            try:
                return (await self.body(container)).process
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _end_strays(self, container: str) -> None:
        """Processes of a restore that was cut off, of which Podman does not know: they are copies, and the image is whole. What watches over them
        tidies up and ends, too."""
        if not self._processes.of_container(container):
            return
        log.warning("processes of container %s that Podman does not know of are ended: its image is whole", container[:12])

        def gone() -> bool:
            pids = self._processes.of_container(container)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        if not await until(gone, END_SECONDS):
            raise Deadline(f"the processes of container {container[:12]} do not end", hint="one may hang in a driver: ps -eo pid,stat,wchan:30,args")
        await until(lambda: not self._processes.naming(container), END_SECONDS)


async def until(what: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True
