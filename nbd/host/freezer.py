"""Freeze and thaw through Podman: its checkpoint and restore calls, which podman-py lacks, and what CRIU leaves when it is cut off.

The checkpoint stays beside the container (no export): nothing is packed, copied or sent, the container keeps its id, labels and name, and the
image survives core, Podman and the box. An export would pass through Podman's /var/tmp and this socket, and whoever dies meanwhile takes the
kernel along. See docs/decisions/0012-freeze.md.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Conflict, Deadline, HostUnfit, NbdError, NotFound
from ..notebooks.ports import Process
from ..notebooks.rest.freeze_plan import Engine, Traces, engine_obstacle, mounts_obstacle, seconds_for, whole, why_not
from ..notebooks.rest.ports import Image
from . import commands
from .blocking import Blocking
from .freezefolder import Begun, FreezeFolder, links
from .freezegroup import FreezeGroup
from .freezepack import pack, tidy, unpack
from .podman import SHORT_SECONDS, Call, Podman, understood
from .processes import KernelProcesses
from .restorer import OPTIONS, Restorer, until

log = logging.getLogger(__name__)
ASK_AGAIN_SECONDS = 60.0
CRIU_SECONDS = 5.0
PLUGINS = ("/usr/lib/criu", "/usr/lib/x86_64-linux-gnu/criu", "/usr/libexec/criu", "/usr/local/lib/criu")
CUDA_PLUGIN = "cuda_plugin.so"


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
        self._restorer = Restorer(podman, processes, group, folder, way.enter)
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
        body = await self._restorer.body(container)
        return self._group.memory(body.process.pid, body.id) if body.process else 0

    async def room(self) -> int:
        return self._folder.room()

    async def freeze(self, container: str, notebook: str) -> Image:
        body = await self._restorer.body(container)
        if body.process is None:
            raise Conflict("it cannot be frozen: it does not run", code="not_running")
        found = await self._disk.run("the disk of what it sees", SHORT_SECONDS, lambda: links(body.bundle))
        if why := mounts_obstacle(found):
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
        return await self._kept(notebook, seconds)

    async def thaw(self, container: str, notebook: str) -> Process:
        image, begun, body = await self.image(notebook), self._folder.begun(notebook), await self._restorer.body(container)
        if image is None or begun is None or not image.whole:
            raise NotFound("it cannot be thawed: there is no whole image of it", code="no_image")
        if body.process:
            return body.process
        return await self._restored(notebook, begun, seconds_for(image.bytes))

    async def image(self, notebook: str) -> Image | None:
        path = self._folder.path(notebook)
        if not path.exists():
            return None
        count = self._folder.marked(notebook)
        if count is not None:
            return Image(str(path), count, whole=True)
        if users := self._restorer.at_work(notebook):
            raise Deadline(f"CRIU is still at work on the image of {notebook}: process {min(users)}", hint="it ends by itself")
        begun = self._folder.begun(notebook)
        if begun is None or not self._is_whole(notebook, begun):
            return Image(str(path), self._folder.bytes(notebook), whole=False)
        return await self._kept(notebook, seconds_for(self._folder.bytes(notebook)))

    async def images(self) -> Sequence[str]:
        return self._folder.all()

    async def forget(self, notebook: str) -> None:
        begun = self._folder.begun(notebook)
        if begun and self._folder.marked(notebook) is None:
            await self._mend(begun.container)
        await self._folder.remove(notebook)

    async def _kept(self, notebook: str, seconds: float) -> Image:
        """The image as it is once it is on the disk. One that the disk does not take is thawed at once, while it is in memory."""
        await self._packed(notebook, seconds)
        try:
            count = await self._disk.run("the disk for images", seconds, lambda: self._folder.mark(notebook))
        except OSError as error:
            log.warning("the image of %s is not on the disk: %s; it is thawed again", notebook, error)
            begun = self._folder.begun(notebook)
            with contextlib.suppress(NbdError):
                if begun:
                    await self._restored(notebook, begun, seconds)
                    await self._folder.remove(notebook)
            raise HostUnfit(f"it cannot be frozen: {error.strerror or error}", code="disk_full", hint="make room on the disk for images") from None
        return Image(str(self._folder.path(notebook)), count, whole=True)

    async def _restored(self, notebook: str, begun: Begun, seconds: float) -> Process:
        image = self._folder.image(notebook)
        try:
            await unpack(image, seconds)
            return await self._restorer.restore(notebook, begun, seconds)
        except NbdError:
            if not self._restorer.at_work(notebook):
                tidy(image)
            raise

    async def _packed(self, notebook: str, seconds: float) -> None:
        try:
            await pack(self._folder.image(notebook), self._way.level, seconds)
        except NbdError as error:
            log.warning("the image of %s is not packed: %s", notebook, error, extra={"NBD_NOTEBOOK": notebook})

    async def _cut_off(self, notebook: str, begun: Begun, error: NbdError, seconds: float) -> None:
        """Return if it is frozen all the same: Podman was killed when CRIU had done its work. Else mend, tidy up and raise why."""
        if isinstance(error, Deadline) or not await until(lambda: not self._restorer.at_work(notebook), seconds):
            raise error  # CRIU is at work, and to disturb it now could cost the kernel. What comes of it is seen later.
        if self._is_whole(notebook, begun):
            return
        said = why_not("frozen", error, self._folder.log(begun, "dump.log"))
        log.info("the freeze of %s failed: %s; Podman: %s", notebook, said, error)
        if self._processes.of_container(begun.container):
            await self.forget(notebook)
        raise said

    def _is_whole(self, notebook: str, begun: Begun) -> bool:
        living = bool(self._processes.of_container(begun.container))
        same_boot = begun.boot == self._folder.boot()
        return whole(Traces(mark=False, inventory=self._folder.has_inventory(notebook), same_boot=same_boot, living=living))

    async def _mend(self, container: str) -> None:
        for pid in sorted(self._processes.of_container(container))[:1]:
            if self._group.thaw(pid, container):
                log.warning("the processes of container %s were left stopped; they run again", container[:12])
            await self._group.unlock_network(pid)

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
