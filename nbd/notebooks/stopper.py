"""The end of a run: the editor saves, the container goes, the lease ends, nothing is left. Also the repair after a half-made start.

Every step may be done twice. What cannot be done now is found again by the next reconcile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from ..errors import Deadline, NbdError
from . import spec
from .ports import Process
from .roster import Roster
from .starter import Parts

log = logging.getLogger(__name__)
KILL_SECONDS = 10.0
"""A killed process is gone within milliseconds, unless it hangs in a driver; then the container cannot be removed either."""
RELEASE_POLL_SECONDS = 0.05


class Stopper:
    def __init__(self, parts: Parts, roster: Roster, release_seconds: float, kill_seconds: float = KILL_SECONDS) -> None:
        self._parts = parts
        self._roster = roster
        self._clocks = parts.clocks
        self._release_seconds = release_seconds
        self._kill_seconds = kill_seconds
        self._lingering: dict[str, Collection[int]] = {}
        """The pids a notebook had when it ended, while its lease has not."""

    async def stop(self, notebook: str, grace_seconds: float) -> None:
        """SIGTERM, time to save, then kill; then everything else. The home is not touched."""
        container = self._roster.get(notebook).container
        process = await self._parts.containers.process(container) if container else None
        if container and process:
            self._remember(notebook, container)
            await self._end(container, process, grace_seconds)
        await self.clear(notebook)

    async def clear(self, notebook: str, *, keep_lease: bool = False) -> None:
        """Remove all that a run left: container, network, folder, and the lease once the cards are seen free.

        Raises what removing the container raises. Then nothing else goes either: while it may live, its cards are nobody else's.
        """
        row = self._roster.get(notebook)
        self._remember(notebook, row.container)
        # First: what CRIU left stopped cannot even be killed before that is mended.
        await self._try(notebook, "what it was frozen in", self._parts.freezer.forget(notebook))
        # By name too: a start that was cut off may have made a container whose id was never written down.
        for container in {row.container, spec.container_name(row)} - {None}:
            await self._parts.containers.remove(str(container))
        await self._try(notebook, "its network", self._parts.networks.remove(notebook))
        await self._try(notebook, "its folder", self._parts.folders.remove(notebook))
        if not keep_lease:
            await self._try(notebook, "its lease", self.release(notebook))

    async def release(self, notebook: str) -> None:
        """End the lease when the cards show none of the notebook's processes; quarantine those that go on showing one."""
        deadline = self._clocks.steady() + self._release_seconds
        while held := await self._parts.gpus.release(notebook, self._lingering.get(notebook, ())):
            if self._clocks.steady() > deadline:
                whose = next((row.title for row in self._roster.all() if row.id == notebook), notebook)
                for card in held:
                    await self._parts.gpus.quarantine(card, f"processes of {whose} did not let go of it")
                return
            await asyncio.sleep(RELEASE_POLL_SECONDS)
        self._lingering.pop(notebook, None)

    def _remember(self, notebook: str, container: str | None) -> None:
        if container and (pids := self._parts.processes.of_container(container)):
            self._lingering[notebook] = frozenset(pids) | frozenset(self._lingering.get(notebook, ()))

    async def _end(self, container: str, process: Process, grace_seconds: float) -> None:
        gone = asyncio.Event()
        cancel = self._parts.processes.on_exit(process, gone.set)
        try:
            await self._signal_and_wait(container, "SIGTERM", gone.wait, grace_seconds)
            if not gone.is_set():
                await self._signal_and_wait(container, "SIGKILL", gone.wait, self._kill_seconds)
        finally:
            cancel()

    async def _signal_and_wait(self, container: str, signal: str, gone: Callable[[], Awaitable[object]], seconds: float) -> None:
        await self._parts.containers.kill(container, signal)
        try:
            async with asyncio.timeout(seconds):
                await gone()
        except TimeoutError:
            log.info("%s was ignored for %g s by container %s", signal, seconds, container[:12])

    async def _try(self, notebook: str, what: str, step: Awaitable[None]) -> None:
        try:
            await step
        except Deadline as error:
            log.warning("%s: %s is still there: %s; it is tried again", notebook, what, error, extra={"NBD_NOTEBOOK": notebook})
        except NbdError as error:
            log.warning("%s: %s is still there: %s", notebook, what, error, extra={"NBD_NOTEBOOK": notebook})
