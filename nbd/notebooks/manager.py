"""Brings notebooks to where they are wanted.

Three callers: the API (start, stop, delete), the kernel (a process ended; see lives.py) and the clock (reconcile). Each only sets what
is wanted and sees to it that the notebook's one task is the right one. What a task does is in lives.py, what is due in reconcile.py.

Shutting down cancels the tasks and cleans nothing up: that is the same as a crash, which is repaired anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..editors import checked_editor
from ..errors import Conflict, NbdError, Unreachable
from ..gpus.model import Refusal
from ..messages import StartRequest
from ..profiles import Profile
from .lives import Hands, Lives, Offered, Rules, everything
from .model import LIVE, USING, Notebook, State, Want, checked_name
from .reconcile import (
    Action,
    Adopt,
    Begin,
    Discard,
    DropImage,
    Ended,
    Finish,
    FreeLease,
    Lost,
    Recover,
    Restore,
    Seen,
    Vanished,
    World,
    plan,
)
from .roster import Roster
from .starter import Parts, no_capacity

log = logging.getLogger(__name__)
FIRST_LOOK_SECONDS = 15.0
DELETED_SECONDS = 30.0


class Manager:
    def __init__(self, parts: Parts, roster: Roster, hands: Hands, lives: Lives, rules: Rules) -> None:
        self._parts = parts
        self._roster = roster
        self._tasks = hands.tasks
        self._protector = hands.protector
        self._attacher = hands.attacher
        self._lives = lives
        self._rules = rules
        self._clocks = parts.clocks
        self._looking = asyncio.Lock()
        """One look at a time: two that begin at once would each repair what both saw."""
        self._looked = asyncio.Event()
        """Set once what runs was compared with what is wanted."""
        self._deciding = asyncio.Lock()
        """Held from reading what is wanted of a notebook to having written what is wanted now, so that ten who ask at once make one."""
        self.wake: Callable[[str], Awaitable[None]] = nobody_sleeps
        """What brings back a notebook that rests when somebody asks for it."""

    async def start(self, owner: str, request: StartRequest, offered: Offered = everything) -> tuple[Notebook, bool]:
        """The notebook, on its way up, and whether this call began that. Asking again for one that is up or coming changes nothing.
        `offered` says which profiles the person may use; to them the others are not there.

        Raises InvalidInput (name, editor, profile, GPUs), NoCapacity when nothing fits and nobody waits; then nothing was made.
        """
        name = checked_name(request.name)
        if request.editor is not None:
            checked_editor(request.editor)
        await self._first_look()
        row = await self._not_being_deleted(owner, name)
        if request.empty_home and not any(other.owner == owner and other.state in USING for other in self._roster.all()):
            # Also for a start that waits for the store just now: it asks again, and need not wait any more.
            await self._protector.accept(owner)
        if row and row.want is Want.RUNNING:
            await self.wake(row.id)
            return row, False
        profile = self._lives.profile(request.profile or (row.profile if row else self._rules.default_profile), offered)
        wanted = profile.gpu_request(request.gpus)
        if wanted:
            answer = await self._parts.gpus.preview(wanted)
            if isinstance(answer, Refusal) and not (request.wait and answer.worth_waiting):
                raise no_capacity(answer, name)
        if request.attach:
            await self._attacher.check(owner, profile, request.attach)
        async with self._deciding:
            return await self._want_running(owner, name, profile, request)

    async def stop(self, notebook: str, reason: str) -> Notebook:
        """Set on its way down; returns at once. Stopping what is stopped changes nothing."""
        async with self._deciding:
            row = self._roster.get(notebook)
            if row.want is Want.RUNNING:
                row = await self._roster.change(notebook, want=Want.STOPPED, stop_reason=reason)
                if row.state in LIVE:
                    self._tasks.replace(notebook, self._lives.stop(notebook))
            return self._roster.get(notebook)

    async def delete(self, notebook: str) -> Notebook:
        """Set on its way out; returns at once. The home stays as it is."""
        async with self._deciding:
            row = self._roster.get(notebook)
            if row.want is not Want.DELETED:
                row = await self._roster.change(notebook, want=Want.DELETED, stop_reason="deleted")
                self._tasks.replace(notebook, self._lives.stop(notebook))
            return row

    async def reconcile(self) -> tuple[Action, ...]:
        """Compare and repair once. Raises Unreachable when Podman cannot be asked: then nothing is concluded."""
        async with self._looking:
            return await self._reconcile()

    async def _reconcile(self) -> tuple[Action, ...]:
        await self._parts.networks.guard()
        # What is busy now may rest when Podman has answered: what it said is old for those too.
        busy = self._tasks.busy()
        seen = await self._parts.containers.seen()
        leased = {lease.notebook for lease in await self._parts.leases.leases()}
        images = await self._images()
        rows = {row.id: row for row in self._roster.all()}
        actions = plan(World(tuple(rows.values()), seen, busy | self._tasks.busy(), self._lives.watches.containers(), leased, images))
        if any(isinstance(action, (Adopt, Restore)) for action in actions):
            # Before anybody can be given a card: what runs, and is not known to have given its cards back, holds those that its label names.
            known = leased | {row.id for row in rows.values() if row.state is State.PARKED}
            await self._parts.gpus.rebuild([lease for lease in await self._parts.containers.leases() if lease.notebook not in known])
        for notebook, group in groupby(actions, key=subject):
            async with self._deciding:
                await self._repair(notebook, tuple(group), rows.get(notebook))
        await self._sweep(seen, busy)
        self._looked.set()
        await self._lives.tell()
        return actions

    async def settled(self, notebook: str) -> None:
        """Return when no task works on it."""
        await self._tasks.settled(notebook)

    async def close(self) -> None:
        """Stop working; every notebook stays as it is."""
        self._lives.watches.close()
        await self._tasks.close()
        await self._protector.close()

    async def _not_being_deleted(self, owner: str, name: str) -> Notebook | None:
        """Who deletes and starts again means a new one: the old one's end is waited for, a while."""
        row = self._roster.find(owner, name)
        if row and row.want is Want.DELETED:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DELETED_SECONDS):
                    await self._tasks.settled(row.id)
        return self._roster.find(owner, name)

    async def _first_look(self) -> None:
        """A start that went ahead of the first look could make a second copy of what runs and is not known yet."""
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._looked.wait()
        except TimeoutError:
            raise Unreachable("nbd has not seen yet what runs on this box", hint="nbctl status says what is in the way") from None

    async def _want_running(self, owner: str, name: str, profile: Profile, request: StartRequest) -> tuple[Notebook, bool]:
        row = self._roster.find(owner, name)
        if row is None:
            row = Notebook(new_id(), name, owner, profile.name, request.editor or profile.editor, self._clocks.wall())
            await self._roster.add(row)
        if row.want is Want.DELETED:
            raise Conflict(f"{row.title} is being deleted", hint="start it again in a moment", retryable=True)
        if row.want is Want.RUNNING:
            return row, False
        asked: dict[str, Any] = {"profile": profile.name, "editor": request.editor or profile.editor, "gpus": request.gpus, "wait": request.wait}
        asked |= {"want": Want.RUNNING, "crashes": (), "attach": row.attach if request.attach is None else request.attach}
        busy = row.id in self._tasks.busy()
        if row.state is State.STOPPING or busy:
            # Whoever has it sees at the end that it is wanted again.
            await self._roster.change(row.id, **asked)
            if not busy:
                self._tasks.follow(row.id, self._lives.stop(row.id))
        else:
            # In one write: a look between two would find it wanted and not begun, and begin it as well.
            await self._lives.begin(row.id, **asked)
        return self._roster.get(row.id), True

    async def _repair(self, notebook: str, actions: Sequence[Action], planned: Notebook | None) -> None:
        """One that fails is due again at the next look; the others are carried out all the same. A notebook that has changed since the plan
        was made is left to the next look too: what somebody asked for meanwhile must not be undone by what was seen before."""
        now = next((row for row in self._roster.all() if row.id == notebook), None)
        if notebook in self._tasks.busy() or standing(now) != standing(planned):
            return
        for action in actions:
            log.info("%s %s: %s", type(action).__name__, notebook, action.reason)
            try:
                await self._carry_out(action)
            except NbdError as error:
                log.warning("%s %s failed: %s", type(action).__name__, notebook, error)

    async def _carry_out(self, action: Action) -> None:
        lives, tasks = self._lives, self._tasks
        match action:
            case Restore(row, container):
                if self._roster.find(row.owner, row.name):
                    raise Conflict(f"{row.title} runs unknown to the state, and another has its name")
                await self._roster.add(row)
                tasks.follow(row.id, lives.adopt(row.id, container))
            case Adopt(notebook, container):
                tasks.follow(notebook, lives.adopt(notebook, container))
            case Discard(container, notebook):
                tasks.follow(notebook, lives.discard(notebook, container))
            case Ended(notebook, seen):
                tasks.follow(notebook, lives.ended(notebook, seen.container))
            case Vanished(notebook):
                tasks.follow(notebook, lives.vanished(notebook))
            case Begin(notebook):
                await lives.begin(notebook)
            case Finish(notebook):
                tasks.follow(notebook, lives.stop(notebook))
            case FreeLease(notebook):
                tasks.follow(notebook, lives.free(notebook))
            case Recover(notebook):
                tasks.follow(notebook, lives.frozen(notebook))
            case Lost(notebook, reason):
                tasks.follow(notebook, lives.lost(notebook, reason))
            case DropImage(notebook):
                tasks.follow(notebook, lives.drop_image(notebook))

    async def _images(self) -> Mapping[str, bool | None]:
        """Who has something to be thawed from, and whether it is whole; None where that cannot be known yet."""
        found: dict[str, bool | None] = {}
        for notebook in await self._parts.freezer.images():
            try:
                image = await self._parts.freezer.image(notebook)
            except NbdError as error:
                log.info("%s: what it was frozen in cannot be judged yet: %s", notebook, error, extra={"NBD_NOTEBOOK": notebook})
                found[notebook] = None
            else:
                found |= {} if image is None else {notebook: image.whole}
        return found

    async def _sweep(self, seen: Sequence[Seen], busy: frozenset[str]) -> None:
        """Networks and folders of notebooks that neither live nor have a container."""
        there = set(await self._parts.networks.existing()) | set(await self._parts.folders.existing())
        # From here to having the notebook's task nothing else runs: a start that came while we listed is busy, or comes after the sweep.
        keep = {item.notebook for item in seen} | {row.id for row in self._roster.all() if row.state in LIVE} | busy | self._tasks.busy()
        for notebook in there - keep:
            self._tasks.follow(notebook, self._lives.sweep(notebook))


async def nobody_sleeps(notebook: str) -> None:
    return None


def subject(action: Action) -> str:
    return action.row.id if isinstance(action, Restore) else action.notebook


def standing(row: Notebook | None) -> object:
    """What a plan was made on."""
    return row and (row.state, row.want, row.container, row.run)


def new_id() -> str:
    """Ten characters that no name can collide with and nobody can guess: 26 * 36^9 possibilities. Also a DNS label."""
    letters = string.ascii_lowercase
    return secrets.choice(letters) + "".join(secrets.choice(letters + string.digits) for _ in range(9))
