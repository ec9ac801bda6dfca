"""Freeze and thaw over the machine in memory. Passes tests/contracts/test_freezer.py.

What it does on demand is what the real one was seen to do: refuse, be out of room, be cut off before or after the work was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from nbd.errors import Conflict, Deadline, HostUnfit, NbdError, NotFound
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.ports import Image
from tests.fakes.machine import Box, FakeMachine

GIB = 1 << 30
SIGKILLED = 137


@dataclass
class Frozen:
    container: str
    whole: bool = False


class FakeFreezer:
    """`refusals`: what the next freezes and thaws end in, one each. `cut`: the next freeze is killed "before" or "after" CRIU had done its work."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self.frozen: dict[str, Frozen] = {}
        self.unfit = ""
        self.memory, self.free = GIB, 100 * GIB
        self.refusals: list[NbdError] = []
        self.cut = ""
        self.working: set[str] = set()
        """Notebooks that CRIU is at work on."""

    async def obstacle(self) -> str:
        return self.unfit

    async def estimate(self, container: str) -> int:
        return self.memory if self._box(container).state == "running" else 0

    async def room(self) -> int:
        return self.free

    async def freeze(self, container: str, notebook: str) -> Image:
        await self._machine.podman("checkpoint")
        box = self._box(container)
        if box.state != "running":
            raise Conflict("it cannot be frozen: it does not run", code="not_running")
        if self.refusals:
            raise self.refusals.pop(0)
        if self.memory > self.free:
            raise HostUnfit("it cannot be frozen: the disk for images is full", code="disk_full")
        kept = self.frozen[notebook] = Frozen(container)
        if self.cut == "before":
            raise asyncio.CancelledError
        self._machine.end(container, SIGKILLED)
        kept.whole = True
        if self.cut == "after":
            raise asyncio.CancelledError
        return Image(f"/frozen/{notebook}", self.memory, whole=True)

    async def thaw(self, container: str, notebook: str) -> Process:
        await self._machine.podman("restore")
        box, kept = self._box(container), self.frozen.get(notebook)
        if kept is None or not kept.whole:
            raise NotFound("it cannot be thawed: there is no whole image of it", code="no_image")
        if self.refusals:
            raise self.refusals.pop(0)
        if box.state != "running":
            box.pid, box.state, box.exit_code = self._machine.next_number(), "running", None
        return Process(box.pid, box.pid)

    async def image(self, notebook: str) -> Image | None:
        if notebook in self.working:
            raise Deadline("CRIU is still at work on it")
        kept = self.frozen.get(notebook)
        return Image(f"/frozen/{notebook}", self.memory, kept.whole) if kept else None

    async def images(self) -> Sequence[str]:
        return sorted(self.frozen)

    async def forget(self, notebook: str) -> None:
        self.frozen.pop(notebook, None)

    def _box(self, container: str) -> Box:
        found = self._machine.box_of(container)
        if found is None:
            raise NotFound(f"there is no container {container}")
        return found[1]
