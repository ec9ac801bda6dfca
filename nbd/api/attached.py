"""Routes of a person's attached data: how each folder is kept, the word that a loss is meant, keys of their own, and its end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

from ..attachments import AttachedView, Entrusted
from ..homes.attached.url import parsed, persons_options
from ..notebooks.model import LIVE, Notebook
from ..notebooks.roster import Roster
from .routes import Ask, Route


class Keeper(Protocol):
    async def views(self, person: str, ids: Collection[str]) -> Sequence[AttachedView]: ...

    async def confirm(self, person: str, one: str) -> None: ...

    async def forget(self, person: str, one: str) -> None: ...

    async def entrust(self, person: str, url: str, options: dict[str, str]) -> None: ...


class AttachedRoutes:
    def __init__(self, keeper: Keeper, roster: Roster) -> None:
        self._keeper, self._roster = keeper, roster

    def routes(self) -> list[Route]:
        every, one = "/v1/home/attached", "/v1/home/attached/{id}"
        return [
            Route("GET", every, "What is attached to your notebooks, and how it is kept", tuple[AttachedView, ...], self.all),
            Route("POST", "/v1/home/bucket-keys", "Your own keys for a bucket; none: forget them", dict[str, str], self.entrust, body=Entrusted),
            Route("POST", one + "/confirm", "What is gone on one side may go on the other", tuple[AttachedView, ...], self.confirm),
            Route("DELETE", one, "Remove the copy on this box; the bucket stays as it is", tuple[AttachedView, ...], self.forget),
        ]

    async def all(self, ask: Ask) -> list[AttachedView]:
        mine = [row for row in self._roster.all() if row.owner == ask.person.name]
        seen = {one.id for row in mine for one in row.attached}
        views = await self._keeper.views(ask.person.name, seen)
        return sorted((replace(view, places=places(view.id, mine)) for view in views), key=lambda view: (not view.used, view.url, view.writable))

    async def confirm(self, ask: Ask) -> list[AttachedView]:
        await self._keeper.confirm(ask.person.name, ask.args["id"])
        return await self.all(ask)

    async def forget(self, ask: Ask) -> list[AttachedView]:
        await self._keeper.forget(ask.person.name, ask.args["id"])
        return await self.all(ask)

    async def entrust(self, ask: Ask) -> dict[str, str]:
        given: Entrusted = ask.body
        place = parsed(given.url)
        await self._keeper.entrust(ask.person.name, place.url, persons_options(place.scheme, given.options))
        return {}


def places(one: str, rows: Sequence[Notebook]) -> tuple[str, ...]:
    """Where it is seen now."""
    return tuple(sorted(f"{row.name}:{at.path}" for row in rows if row.state in LIVE for at in row.attached if at.id == one))
