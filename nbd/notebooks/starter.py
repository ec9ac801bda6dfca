"""One start, from the image to an editor that answers. Carries out; decides nothing that spec.py, failure.py or the pool can decide.

Order (rule 2 of the design): image, home, network first, the lease last, so that a card is held only while it can be used. A failure in
any phase leaves what was made; the manager then tears down everything the notebook has, which is the same repair as after a crash.

A step that has begun in Podman is not abandoned: cancelling a start while Podman creates a container would leave one that nobody knows
of. `finished` lets the step end first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ..editors import EDITORS
from ..errors import Conflict, Deadline, HostUnfit, NbdError, NoCapacity, StartFailed
from ..gpus.model import Grant, Lease, Refusal, Request
from ..messages import Progress, RestoreView, Waiting
from ..profiles import Profile
from ..unixdoor import Place
from . import homecoming, spec
from .attacher import Attacher
from .image_trouble import absent
from .images import Images
from .model import USING, Notebook, Occupant, Phase
from .ports import Containers, EditorDoor, Folders, Gpus, Homes, Leases, Logs, Networks, People, Process, Processes
from .rest.ports import Freezer
from .roster import Passing, Roster

T = TypeVar("T")
PULL_POLL_SECONDS = 0.2
HOME_PAUSE_SECONDS, MOST_HOME_PAUSE_SECONDS = 2.0, 60.0

WORDS = {
    Phase.IMAGE: "looking for its image",
    Phase.HOME: "getting the home ready",
    Phase.DATA: "bringing what is attached",
    Phase.NETWORK: "making its network",
    Phase.LEASE: "asking for its GPUs",
    Phase.CREATE: "making its container",
    Phase.START: "starting its container",
    Phase.READY: "waiting for the editor",
}


@dataclass(frozen=True, slots=True)
class Clocks:
    wall: Callable[[], float]
    """Seconds since the epoch: shown to people."""
    steady: Callable[[], float]
    """Monotonic seconds: measured with."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports that a notebook's life needs; built once in core.py."""

    containers: Containers
    networks: Networks
    processes: Processes
    editors: EditorDoor
    homes: Homes
    folders: Folders
    logs: Logs
    people: People
    gpus: Gpus
    leases: Leases
    images: Images
    clocks: Clocks
    freezer: Freezer


@dataclass(frozen=True, slots=True)
class House:
    """What is the same for every notebook of this daemon."""

    instance: str
    image_prefix: str
    limits: spec.HostLimits
    ready_seconds: float
    pull_images: bool = True
    """Whether an image of somebody else's that a profile names is fetched when it is not here."""
    own: tuple[str, ...] = ()
    """nbd's own folders, hidden from every notebook."""
    recipes: frozenset[str] = frozenset()
    """The images that nbd can build."""


class Starter:
    def __init__(self, parts: Parts, roster: Roster, house: House, attacher: Attacher) -> None:
        self._parts = parts
        self._roster = roster
        self._house = house
        self._attacher = attacher
        self._clocks = parts.clocks

    async def start(self, notebook: str, profile: Profile, at_home: Callable[[str], Awaitable[None]] | None = None) -> Process:
        """Bring the notebook up. On return its editor answers. `at_home` is called once its home is ready. Raises NbdError; the caller tears down."""
        who = await self._occupant(notebook)
        async with self._phase(notebook, Phase.IMAGE):
            await self._image(notebook, profile)
        async with self._phase(notebook, Phase.HOME):
            await self._home(notebook, who)
            if at_home:
                await at_home(notebook)
            folder = await self._parts.folders.make(notebook, who)
            await self._parts.logs.fresh(notebook)
            row = self._roster.get(notebook)
            identity = await self._parts.folders.identity(who, spec.passwd(who), spec.group(who))
        attached = await self._data(notebook, profile, who)
        async with self._phase(notebook, Phase.NETWORK):
            network = await finished(self._parts.networks.ensure(notebook)) if profile.network != "none" else None
        async with self._phase(notebook, Phase.LEASE):
            leases = await self._lease(row, profile.gpu_request(row.gpus))
        house = self._house
        site = spec.Site(
            house.instance, house.image_prefix, folder, identity, self._parts.logs.path(notebook), network, house.limits, house.own, attached
        )
        async with self._phase(notebook, Phase.CREATE):
            row = self._roster.get(notebook)
            wanted = spec.build(row, profile, who, leases, site)
            container = await finished(self._parts.containers.create(wanted))
            await self._roster.change(notebook, container=container)
        async with self._phase(notebook, Phase.START):
            process = await finished(self._parts.containers.start(container))
            await self._roster.change(notebook, started=self._clocks.wall())
        async with self._phase(notebook, Phase.READY):
            await self.answers(notebook, process)
        return process

    async def lay_out(self, notebook: str, profile: Profile) -> None:
        """What a container that was made before needs around it: after a reboot nothing of it is there. May be called twice. Raises NbdError."""
        who = await self._occupant(notebook)
        await self._parts.folders.make(notebook, who)
        await self._parts.folders.identity(who, spec.passwd(who), spec.group(who))
        await self._data(notebook, profile, who)
        if profile.network != "none":
            await finished(self._parts.networks.ensure(notebook))

    async def answers(self, notebook: str, process: Process) -> None:
        """Return once the editor answers. Raises StartFailed(editor_exited) the moment its process ends, Deadline when it stays silent."""
        row, who = self._roster.get(notebook), await self._occupant(notebook)
        gone = asyncio.Event()
        kills, killed = self._parts.processes.memory_kills(process), 0

        def on_exit() -> None:
            nonlocal killed
            killed = kills()  # Now: the cgroup goes with the container.
            gone.set()

        cancel = self._parts.processes.on_exit(process, on_exit)
        path, place = EDITORS[row.editor].ready_path, Place(self._parts.folders.socket(notebook), who.uid)
        ready = asyncio.ensure_future(self._parts.editors.wait_ready(place, path, self._house.ready_seconds))
        ended = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise StartFailed("the editor ended before it was ready", code="out_of_memory" if killed else "editor_exited")
            await ready
        except Deadline:
            raise StartFailed("the editor did not answer", code="never_answered") from None
        finally:
            cancel()
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def _occupant(self, notebook: str) -> Occupant:
        owner = self._roster.get(notebook).owner
        who = await self._parts.people.occupant(owner)
        if who is None:
            raise HostUnfit(f"{owner} has no account on this box any more", code="home_unfit", hint=f"make one: useradd --create-home {owner}")
        return who

    async def _home(self, notebook: str, who: Occupant) -> None:
        """Who said that they wait, waits for a store that is away as for a card."""

        def tell(view: RestoreView) -> None:
            self._roster.show(notebook, Passing(homecoming.progress(view)))

        pause = HOME_PAUSE_SECONDS
        while True:
            try:
                in_use = any(row.owner == who.name and row.id != notebook and (row.state in USING or row.container) for row in self._roster.all())
                return await self._parts.homes.ready(who, tell, in_use=in_use)
            except NbdError as error:
                row = self._roster.get(notebook)
                if not (row.wait and error.retryable and error.code == homecoming.NOT_BACK):
                    raise homecoming.failed(error, row.name) from None
                self._roster.show(notebook, Passing(homecoming.waiting(error)))
            await asyncio.sleep(pause)
            pause = min(2 * pause, MOST_HOME_PAUSE_SECONDS)

    async def _data(self, notebook: str, profile: Profile, who: Occupant) -> tuple[spec.Bind, ...]:
        if not self._attacher.has_any(notebook, profile):
            return ()
        async with self._phase(notebook, Phase.DATA):
            return await self._attacher.bring(notebook, profile, who, lambda progress: self._roster.show(notebook, Passing(progress)))

    async def _image(self, notebook: str, profile: Profile) -> None:
        reference = spec.image_of(profile, self._house.image_prefix)
        if await self._parts.containers.image_exists(reference):
            return
        built_here = reference.startswith(self._house.image_prefix)
        if built_here or reference.startswith("localhost/") or not self._house.pull_images:
            hint = absent(reference, self._house.image_prefix, self._house.recipes)
            raise StartFailed(f"the image {reference} of profile {profile.name} is not on this box", code="image_missing", hint=hint)
        try:
            await self._pull(notebook, reference)
        except Conflict:
            await self._pulled_by_another(notebook, reference)

    async def _pull(self, notebook: str, reference: str) -> None:
        async with aclosing(self._parts.images.pull(reference)) as steps:
            async for progress in steps:
                self._roster.show(notebook, Passing(progress))

    async def _pulled_by_another(self, notebook: str, reference: str) -> None:
        """Somebody else's start fetches the same image: wait for that; when it fails, fetch it ourselves."""
        self._roster.show(notebook, Passing(Progress(Phase.IMAGE, f"{reference} is being fetched for another notebook")))
        while self._parts.images.pulling(reference):
            await asyncio.sleep(PULL_POLL_SECONDS)
        if not await self._parts.containers.image_exists(reference):
            await self._pull(notebook, reference)

    async def _lease(self, row: Notebook, request: Request | None) -> list[Lease]:
        if request is None:
            return []
        answer: Grant | Refusal
        if row.wait:
            since = self._clocks.wall()

            def in_line(position: int, reason: str) -> None:
                self._roster.show(row.id, Passing(Progress(Phase.LEASE, f"number {position} in line", None), Waiting(position, reason, since)))

            answer = await self._parts.gpus.wait(row.id, row.title, request, in_line)
        else:
            answer = await self._parts.gpus.lease(row.id, row.title, request)
        if isinstance(answer, Refusal):
            raise no_capacity(answer, row.name)
        return [lease for lease in await self._parts.leases.leases() if lease.notebook == row.id]

    @asynccontextmanager
    async def _phase(self, notebook: str, phase: Phase) -> AsyncIterator[None]:
        self._roster.show(notebook, Passing(Progress(phase, WORDS[phase])))
        began = self._clocks.steady()
        yield
        took = round(self._clocks.steady() - began, 4)
        # In memory until the next durable change: times are worth showing, not worth a write each.
        self._roster.note_phase(notebook, phase, took)


def no_capacity(refusal: Refusal, name: str) -> NoCapacity:
    hint = f"wait in line: nbctl start {name} --wait" if refusal.worth_waiting else "waiting cannot help; see: nbctl gpus"
    return NoCapacity(refusal.summary, hint=hint, retryable=refusal.worth_waiting)


async def finished(step: Coroutine[Any, Any, T]) -> T:
    """Await `step`; when cancelled meanwhile, let it end (it has a deadline of its own) before the cancellation goes on."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
