"""Routes of what is done with a person's snapshots: dropping what the retention does not keep, and one that they name."""

from __future__ import annotations

from typing import Any, Protocol

from .. import wire
from ..errors import Refused
from ..homemessages import ForgetRequest, PruneRequest, PruneView
from ..homes.wishes import ForgetWish, PruneWish
from ..messages import SnapshotView
from .routes import Ask, Route

PRUNE_SECONDS = 24 * 3600.0


class Sync(Protocol):
    async def ask(self, path: str, body: object, seconds: float = 30.0) -> Any: ...


class HomeCareRoutes:
    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/home/prune", "Drop the snapshots that the retention does not keep", PruneView, self.prune, body=PruneRequest),
            Route("POST", "/v1/home/forget", "Drop one snapshot for good", SnapshotView, self.forget, body=ForgetRequest),
        ]

    async def prune(self, ask: Ask) -> PruneView:
        asked: PruneRequest = ask.body
        person = asked.user or ask.person.name
        if person != ask.person.name and not ask.person.admin:
            raise Refused("only an admin may do this for others", hint="without --user it is for you")
        return wire.load(PruneView, await self._sync.ask("prune", PruneWish(person, asked.dry_run), PRUNE_SECONDS))

    async def forget(self, ask: Ask) -> SnapshotView:
        """Always of one's own home: nobody forgets for another."""
        asked: ForgetRequest = ask.body
        return wire.load(SnapshotView, await self._sync.ask("forget", ForgetWish(ask.person.name, asked.snapshot)))
