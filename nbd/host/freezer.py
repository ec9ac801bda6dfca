"""Freeze and thaw through Podman: its checkpoint and restore calls, which podman-py lacks, and what CRIU leaves when it is cut off.

The checkpoint stays beside the container (no export): nothing is packed, copied or sent, the container keeps its id, labels and name, and the
image survives core, Podman and the box. An export would pass through Podman's /var/tmp and this socket, and whoever dies meanwhile takes the
kernel along. See docs/decisions/0012-freeze.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Conflict, Deadline, HostUnfit, NbdError, NotFound, Unreachable
from ..notebooks.ports import Process
from ..notebooks.rest.freeze_plan import Engine, Traces, engine_obstacle, mounts_obstacle, seconds_for, whole, why_not
from ..notebooks.rest.ports import Image
from . import commands
from .blocking import Blocking
from .freezefolder import Begun, FreezeFolder
from .freezegroup import FreezeGroup
from .freezepack import pack, tidy, unpack
from .podman import SHORT_SECONDS, Call, Podman, understood
from .processes import KernelProcesses

log = logging.getLogger(__name__)
OPTIONS = {"keep": "true", "tcpEstablished": "true", "fileLocks": "true"}
"""keep: the image and CRIU's log stay until they are forgotten here."""
EXISTS = "already exists"
ASK_AGAIN_SECONDS = 60.0
POLL_SECONDS = 0.05
END_SECONDS = 10.0
CRIU_SECONDS = 5.0
PLUGINS = ("/usr/lib/criu", "/usr/lib/x86_64-linux-gnu/criu", "/usr/libexec/criu", "/usr/local/lib/criu")
CUDA_PLUGIN = "cuda_plugin.so"


@dataclass(frozen=True, slots=True)
class Body:
    """A container as far as freezing must know it."""

    id: str
    bundle: Path
    process: Process | None


@dataclass(frozen=True, slots=True)
class Way:
    level: int = 0
    """How hard zstd tries to make an image small, 1 to 19; 0 leaves it as it is, which is the fastest."""
    enter: tuple[str, ...] = ()
    """Words before a program of Podman's side (criu, its runtime), where that sees other mounts than this process: nsenter and its options."""


class PodmanFreezer:
    def __init__(self, podman: Podman, processes: KernelProcesses, group: FreezeGroup, folder: FreezeFolder, way: Way = Way()) -> None:
        self._podman = podman
        self._processes = processes
        self._group = group
        self._folder = folder
        self._way = way
        self._disk = Blocking(4, "is the disk for images well? dmesg | tail")
        self._obstacle: tuple[float, str] | None = None
        """When it was found, and what."""

    async def obstacle(self) -> str:
        now = time.monotonic()
        if self._obstacle is None or now - self._obstacle[0] > ASK_AGAIN_SECONDS:
            self._obstacle = (now, engine_obstacle(await self._engine()))
        return self._obstacle[1]

    @staticmethod
    def saves_cards() -> bool:
        """Whether CRIU's CUDA plugin is here."""
        return any(Path(folder, CUDA_PLUGIN).exists() for folder in PLUGINS)

    async def estimate(self, container: str) -> int:
        body = await self._body(container)
        return self._group.memory(body.process.pid, body.id) if body.process else 0

    async def room(self) -> int:
        return self._folder.room()

    async def freeze(self, container: str, notebook: str) -> Image:
        body = await self._body(container)
        if body.process is None:
            raise Conflict("it cannot be frozen: it does not run", code="not_running")
        links = await self._disk.run("the disk of what it sees", SHORT_SECONDS, lambda: self._folder.links(body.bundle))
        if why := mounts_obstacle(links):
            raise HostUnfit(f"it cannot be frozen: {why}", code="linked_mount")
        if await self.image(notebook):
            await self.forget(notebook)
        seconds = seconds_for(self._group.memory(body.process.pid, body.id))
        begun = Begun(body.id, body.bundle, self._folder.boot())
        try:
            self._folder.begin(notebook, begun)
            await self._podman.ask(Call("POST", f"/containers/{body.id}/checkpoint", OPTIONS, seconds=seconds))
        except NbdError as error:
            await self._cut_off(notebook, begun, error, seconds)
        return await self._kept(notebook, body.id, seconds)

    async def thaw(self, container: str, notebook: str) -> Process:
        image, begun, body = await self.image(notebook), self._folder.begun(notebook), await self._body(container)
        if image is None or begun is None or not image.whole:
            raise NotFound("it cannot be thawed: there is no whole image of it", code="no_image")
        if body.process:
            return body.process
        await self._end_strays(body.id)
        self._folder.link(notebook, begun)
        self._folder.fresh_log(begun, "restore.log")
        await self._folder.clear_restore(begun)
        self._group.clear(body.id)
        seconds = seconds_for(image.bytes)
        refused: NbdError = HostUnfit("it ended as soon as it was thawed")
        try:
            await unpack(self._folder.image(notebook), seconds)
            await self._restore(body.id, seconds)
        except NbdError as error:
            refused = error
            if not await self._until(lambda: not self._at_work(notebook), seconds):
                raise  # CRIU is at work yet.
            if isinstance(error, Deadline):
                await self._end_strays(body.id)  # Podman waits for what never comes.
        process = await self._process_now(container)
        if process:
            return process
        await self._end_strays(body.id)
        tidy(self._folder.image(notebook))
        raise why_not("thawed", refused, self._folder.log(begun, "restore.log"))

    async def image(self, notebook: str) -> Image | None:
        path = self._folder.path(notebook)
        if not path.exists():
            return None
        count = self._folder.marked(notebook)
        if count is not None:
            return Image(str(path), count, whole=True)
        if users := self._at_work(notebook):
            raise Deadline(f"CRIU is still at work on the image of {notebook}: process {min(users)}", hint="it ends by itself")
        begun = self._folder.begun(notebook)
        if begun is None or not self._is_whole(notebook, begun):
            return Image(str(path), self._folder.bytes(notebook), whole=False)
        return await self._kept(notebook, begun.container, seconds_for(self._folder.bytes(notebook)))

    async def images(self) -> Sequence[str]:
        return self._folder.all()

    async def forget(self, notebook: str) -> None:
        begun = self._folder.begun(notebook)
        if begun and self._folder.marked(notebook) is None:
            await self._mend(begun.container)
        await self._folder.remove(notebook)

    async def _kept(self, notebook: str, container: str, seconds: float) -> Image:
        """The image as it is once it is on the disk. One that the disk does not take is thawed at once, while it is in memory."""
        await self._packed(notebook, seconds)
        try:
            count = await self._disk.run("the disk for images", seconds, lambda: self._folder.mark(notebook))
        except OSError as error:
            log.warning("the image of %s is not on the disk: %s; it is thawed again", notebook, error)
            with contextlib.suppress(NbdError):
                await unpack(self._folder.image(notebook), seconds)
                await self._restore(container, seconds)
            if (await self._body(container)).process:
                await self._folder.remove(notebook)
            raise HostUnfit(f"it cannot be frozen: {error.strerror or error}", code="disk_full", hint="make room on the disk for images") from None
        return Image(str(self._folder.path(notebook)), count, whole=True)

    async def _packed(self, notebook: str, seconds: float) -> None:
        try:
            await pack(self._folder.image(notebook), self._way.level, seconds)
        except NbdError as error:
            log.warning("the image of %s is not packed: %s", notebook, error, extra={"NBD_NOTEBOOK": notebook})

    async def _cut_off(self, notebook: str, begun: Begun, error: NbdError, seconds: float) -> None:
        """Return if it is frozen all the same: Podman was killed when CRIU had done its work. Else mend, tidy up and raise why."""
        if isinstance(error, Deadline) or not await self._until(lambda: not self._at_work(notebook), seconds):
            raise error  # CRIU is at work, and to disturb it now could cost the kernel. What comes of it is seen later.
        if self._is_whole(notebook, begun):
            return
        said = why_not("frozen", error, self._folder.log(begun, "dump.log"))
        log.info("the freeze of %s failed: %s; Podman: %s", notebook, said, error)
        if self._processes.of_container(begun.container):
            await self.forget(notebook)
        raise said

    def _at_work(self, notebook: str) -> frozenset[int]:
        """Who is at work on the image. Not the container's own processes: a CRIU that was killed leaves some of its descriptors in them."""
        users, begun = self._folder.users(notebook), self._folder.begun(notebook)
        return users - frozenset(self._processes.of_container(begun.container)) if users and begun else users

    def _is_whole(self, notebook: str, begun: Begun) -> bool:
        living = bool(self._processes.of_container(begun.container))
        same_boot = begun.boot == self._folder.boot()
        return whole(Traces(mark=False, inventory=self._folder.has_inventory(notebook), same_boot=same_boot, living=living))

    async def _mend(self, container: str) -> None:
        for pid in sorted(self._processes.of_container(container))[:1]:
            if self._group.thaw(pid, container):
                log.warning("the processes of container %s were left stopped; they run again", container[:12])
            await self._group.unlock_network(pid)

    async def _restore(self, container: str, seconds: float) -> None:
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
            await commands.run([*self._way.enter, runtime, "delete", "--force", container], END_SECONDS)
            await self._podman.ask(call)

    async def _process_now(self, container: str) -> Process | None:
        """The container's process, by a Podman that may just be coming up again."""
        deadline = time.monotonic() + END_SECONDS
        while True:
            try:
                return (await self._body(container)).process
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

        if not await self._until(gone, END_SECONDS):
            raise Deadline(f"the processes of container {container[:12]} do not end", hint="one may hang in a driver: ps -eo pid,stat,wchan:30,args")
        await self._until(lambda: not self._processes.naming(container), END_SECONDS)

    @staticmethod
    async def _until(what: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def _body(self, container: str) -> Body:
        """Raises NotFound for a container that is not there."""
        facts: Mapping[str, Any] = await self._podman.ask(Call("GET", f"/containers/{container}/json", seconds=SHORT_SECONDS))
        with understood():
            process = self._processes.of_pid(int(facts["State"].get("Pid") or 0), facts["Id"])
            return Body(str(facts["Id"]), Path(facts["StaticDir"]), process)

    async def _engine(self) -> Engine:
        facts = await self._podman.ask(Call("GET", "/info", seconds=SHORT_SECONDS))
        with understood():
            host, store = facts["host"], facts["store"]
            runtime, podman = host["ociRuntime"], str(facts["version"]["Version"])
            rootless, transient = bool(host["security"]["rootless"]), bool(store.get("transientStore"))
            name, says = str(runtime["name"]), str(runtime.get("version"))
        try:
            criu = (
                (await commands.run([*self._way.enter, "criu", "--version"], CRIU_SECONDS)).out.partition("\n")[0].removeprefix("Version: ").strip()
            )
        except NbdError:
            criu = ""
        return Engine(podman, name, says, criu, platform.release(), rootless, transient)
