"""Freezes a notebook to the disk and thaws it: the same container, kernels and addresses afterwards. Carries out; freeze_plan.py decides.

The state of the row is its caller's: `freeze` returns with the image whole and the lease ended, then it is FROZEN; `thaw` returns with an editor
that answers, then it is RUNNING, and the image is forgotten after that. Whatever is cut off between, `recover` says what is true.

Whoever calls must not watch the container's process meanwhile: its end here is no crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...errors import HostUnfit, NbdError
from ..model import Notebook, State
from ..ports import Containers, Process
from ..roster import Roster
from ..starter import finished
from .freeze_plan import Outcome, gpu_obstacle, outcome, room_obstacle, thaw_failed
from .ports import Freezer, Image

log = logging.getLogger(__name__)
CONNECTED_TRIES, CONNECTED_SECONDS = 5, 0.2
"""An editor lets go of a connection a moment after its other end is closed."""

Step = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else belongs to a freeze and a thaw, each by the notebook's id. May be called again."""

    hang_up: Step
    """Its proxied connections are closed, and new ones wait."""
    let_in: Step
    """New ones wait no longer: it goes on running."""
    save_home: Step
    """A snapshot of the home tied to the event "freeze". Never raises: a store that is away keeps it pending."""
    release: Step
    """Its lease ends, if it has one."""
    lay_out: Step
    """Folder, network with its rules, and attached data are there: /run is empty after a reboot. Raises NbdError."""
    lease: Step
    """The cards that it had are its own again, if it had any. Raises NoCapacity."""
    answers: Callable[[str, Process], Awaitable[None]]
    """Returns once the editor answers, its cards in use again. Raises NbdError."""
    cards: Callable[[str], tuple[str, ...]]
    """Those that it holds now."""


class Freezing:
    def __init__(self, roster: Roster, containers: Containers, freezer: Freezer, around: Surroundings, *, saves_cards: bool = False) -> None:
        """`saves_cards`: the freezer can save what is on a card."""
        self._roster = roster
        self._containers = containers
        self._freezer = freezer
        self._around = around
        self._saves_cards = saves_cards
        self._failed: dict[str, int] = {}
        """How often a notebook could not be thawed."""

    async def obstacle(self, notebook: str) -> str:
        """Why it cannot be frozen now; empty where it can be tried. Cheap: it may be asked at every look."""
        try:
            return await self._freezer.obstacle() or self._gpu_obstacle(self._roster.get(notebook))
        except NbdError as error:
            return f"it cannot be asked whether this box can freeze: {error.message}"

    async def freeze(self, notebook: str) -> Image:
        """Raises NbdError: then it runs as before, and nothing is left of the attempt, unless `recover` says otherwise."""
        row = self._roster.get(notebook)
        container = str(row.container)
        if why := await self._freezer.obstacle() or self._gpu_obstacle(row) or await self._room_obstacle(container):
            raise HostUnfit(f"{row.title} cannot be frozen: {why}", code="cannot_freeze")
        try:
            await self._around.hang_up(notebook)
            await self._around.save_home(notebook)
            # A freeze that has begun in Podman is not abandoned: nobody would know what came of it.
            image = await finished(self._frozen(notebook, container))
        except BaseException:
            await self._around.let_in(notebook)
            raise
        await self._around.release(notebook)
        self._failed.pop(notebook, None)
        log.info("%s is frozen: %d MiB", row.title, image.bytes >> 20, extra={"NBD_NOTEBOOK": notebook})
        return image

    async def thaw(self, notebook: str) -> Process:
        """Its editor answers. Raises NbdError: then it is frozen as before, its image as it was, and no lease is held."""
        row = self._roster.get(notebook)
        try:
            await self._around.lay_out(notebook)
            await self._around.lease(notebook)
            process = await finished(self._freezer.thaw(str(row.container), notebook))
        except NbdError as error:
            await self._around.release(notebook)
            self._failed[notebook] = self._failed.get(notebook, 0) + 1
            log.warning("%s cannot be thawed: %s", row.title, error, extra={"NBD_NOTEBOOK": notebook})
            raise thaw_failed(error, self._failed[notebook], row.name) from None
        # From here on it lives. An editor that is slow to answer is no reason to end what has come back.
        try:
            await self._around.answers(notebook, process)
        except NbdError as error:
            log.warning("%s is thawed, and %s", row.title, error, extra={"NBD_NOTEBOOK": notebook})
        self._failed.pop(notebook, None)
        return process

    async def forget(self, notebook: str) -> None:
        """Its image goes, with what a freeze that was cut off left on its processes. To be called once the row says that it runs, or is over."""
        await self._freezer.forget(notebook)

    async def recover(self, notebook: str) -> Outcome:
        """What is true of a notebook whose freeze or thaw may have been cut off. Of one that lives nothing is left of the attempt when this
        returns. Raises NbdError where that cannot be known yet: nothing may be concluded then."""
        image = await self._freezer.image(notebook)
        container = self._roster.get(notebook).container
        process = await self._containers.process(container) if container and image else None
        found = outcome(image, living=process is not None)
        if found in (Outcome.RUNNING, Outcome.LOST):
            await self._freezer.forget(notebook)
        return found

    async def _frozen(self, notebook: str, container: str) -> Image:
        for _ in range(CONNECTED_TRIES - 1):
            try:
                return await self._freezer.freeze(container, notebook)
            except NbdError as error:
                if error.code != "connected":
                    raise
                log.info("%s: %s; tried again", notebook, error.message, extra={"NBD_NOTEBOOK": notebook})
            await asyncio.sleep(CONNECTED_SECONDS)
            await self._around.hang_up(notebook)
        return await self._freezer.freeze(container, notebook)

    def _gpu_obstacle(self, row: Notebook) -> str:
        return gpu_obstacle(self._around.cards(row.id), parked=row.state is State.PARKED, plugin=self._saves_cards)

    async def _room_obstacle(self, container: str) -> str:
        return room_obstacle(await self._freezer.estimate(container), await self._freezer.room())
