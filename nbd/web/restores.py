"""Restores that were begun on a page: core tells each step as it happens, and pages look here for how far it is.

The door holds them while it runs. One that is cut off (the door is started again) leaves nothing half-written under its name, and is gone on with by
asking for the same again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass

from ..errors import Conflict, NbdError, NotFound, Unreachable
from ..messages import RestoreRequest, RestoreView
from .corelink import CoreLink

log = logging.getLogger(__name__)
AGAIN = "restore the same again: what is there already is left alone"
REMEMBERED = 200
"""So many that ended can still be looked at, of all people together."""


@dataclass(slots=True)
class Restore:
    id: str
    person: str
    asked: RestoreRequest
    began: float
    view: RestoreView | None = None
    """The last that was heard."""
    error: NbdError | None = None
    task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def fraction(self) -> float | None:
        view = self.view
        if view is None or not view.total:
            return None
        return min(1.0, (view.entries + view.already + len(view.skipped) + len(view.damaged)) / view.total)


class Restores:
    def __init__(self, core: CoreLink) -> None:
        self._core = core
        self._all: dict[str, Restore] = {}

    def begin(self, person: str, token: str, asked: RestoreRequest) -> Restore:
        """Raises Conflict where one of theirs is under way."""
        for one in self._all.values():
            if one.person == person and one.running:
                raise Conflict("something is being restored for you already", hint="wait for it, or stop it", code="restoring")
        made = Restore(secrets.token_hex(8), person, asked, time.time())
        made.task = asyncio.create_task(self._run(made, token), name=f"restore for {person}")
        self._all[made.id] = made
        self._forget()
        return made

    def of(self, person: str, id: str) -> Restore:
        """Raises NotFound, also for another's."""
        found = self._all.get(id)
        if found is None or found.person != person:
            raise NotFound("this restore is not known here any more", hint=f"if it was cut off, {AGAIN}")
        return found

    def running(self, person: str) -> Restore | None:
        return next((one for one in self._all.values() if one.person == person and one.running), None)

    def stop(self, person: str, id: str) -> None:
        found = self.of(person, id)
        if found.task is not None and found.running:
            found.task.cancel()

    async def close(self) -> None:
        tasks = [one.task for one in self._all.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, one: Restore, token: str) -> None:
        try:
            async with aclosing(self._core.stream(RestoreView, "/v1/home/restore", token, one.asked)) as steps:
                async for view in steps:
                    one.view = view
            if one.view is None or not one.view.done:
                raise Unreachable("the restore was broken off", hint=AGAIN)
        except asyncio.CancelledError:
            one.error = Conflict("the restore was stopped", hint="restore the same again to go on with it", code="stopped")
            raise
        except NbdError as error:
            one.error = error
        except Exception:
            log.exception("a restore for %s met a defect", one.person)
            one.error = NbdError("nbd met an unexpected error while it restored", hint="please report it with: journalctl -u nbd-web")

    def _forget(self) -> None:
        ended = [id for id, one in self._all.items() if not one.running]
        for id in ended[: max(0, len(ended) - REMEMBERED)]:
            del self._all[id]
