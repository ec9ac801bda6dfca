"""What core may ask sync about attached data, as routes of sync's own socket."""

from __future__ import annotations

from collections.abc import Sequence

from ..attachments import AttachedView
from ..homes.attached.model import Attachment
from ..homes.attached.service import AttachedData
from ..homes.attached.wishes import NOTHING, AllOf, EntrustWish, OneOf, Used
from .routes import Ask, Route, Who


class AttachedDesk:
    def __init__(self, data: AttachedData) -> None:
        self._data = data

    def routes(self) -> list[Route]:
        def route(path: str, summary: str, answer: object, handler: object, body: object) -> Route:
            return Route("POST", f"/v1/homes/attached/{path}", summary, answer, handler, body=body, who=Who.DOOR)  # type: ignore[arg-type]

        return [
            route("ready", "In step before a start, if nothing has to come down for that", dict[str, str], self.ready, Attachment),
            route("use", "Exactly these are in use", dict[str, str], self.use, Used),
            route("flush", "What is here goes up now", dict[str, str], self.flush, Used),
            route("status", "A person's, and the shared ones that are named", tuple[AttachedView, ...], self.status, AllOf),
            route("confirm", "What is gone may go", dict[str, str], self.confirm, OneOf),
            route("forget", "One that is in step is not kept any more", Attachment, self.forget, OneOf),
            route("entrust", "A person's own keys", dict[str, str], self.entrust, EntrustWish),
        ]

    async def ready(self, ask: Ask) -> dict[str, str]:
        return {"bring": NOTHING if await self._data.ready(ask.body) else "something"}

    async def use(self, ask: Ask) -> dict[str, str]:
        self._data.use(ask.body.ids)
        return {"health": self._data.health()}

    async def flush(self, ask: Ask) -> dict[str, str]:
        await self._data.flush(ask.body.ids)
        return {}

    async def status(self, ask: Ask) -> Sequence[AttachedView]:
        return await self._data.views(ask.body.person, ask.body.ids)

    async def confirm(self, ask: Ask) -> dict[str, str]:
        await self._data.confirm(ask.body.person, ask.body.id)
        return {}

    async def forget(self, ask: Ask) -> Attachment:
        return await self._data.forget(ask.body.person, ask.body.id)

    async def entrust(self, ask: Ask) -> dict[str, str]:
        wish: EntrustWish = ask.body
        await self._data.entrust(wish.person, wish.url, wish.options)
        return {}
