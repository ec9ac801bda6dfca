"""What core may have sync do with what is kept: as routes of sync's own socket."""

from __future__ import annotations

from ..homemessages import PruneView
from ..homes.caretaker import Caretaker
from ..homes.model import HomeRequest
from ..homes.wishes import ForgetWish, PruneWish
from ..messages import SnapshotView, VerifyView
from .routes import Ask, Route, Who


class CareWindow:
    def __init__(self, caretaker: Caretaker) -> None:
        self._caretaker = caretaker

    def routes(self) -> list[Route]:
        def route(path: str, summary: str, answer: object, handler: object, body: object) -> Route:
            return Route("POST", f"/v1/homes/{path}", summary, answer, handler, body=body, who=Who.DOOR)  # type: ignore[arg-type]

        return [
            route("prune", "Drop what the retention does not keep", PruneView, self.prune, PruneWish),
            route("forget", "Drop one snapshot", SnapshotView, self.forget, ForgetWish),
            route("verify", "Whether all that is kept is what was stored", VerifyView, self.verify, HomeRequest),
        ]

    async def prune(self, ask: Ask) -> PruneView:
        wish: PruneWish = ask.body
        return await self._caretaker.prune(wish.person, dry_run=wish.dry_run)

    async def forget(self, ask: Ask) -> SnapshotView:
        wish: ForgetWish = ask.body
        return await self._caretaker.forget(wish.person, wish.snapshot)

    async def verify(self, ask: Ask) -> VerifyView:
        home: HomeRequest = ask.body
        return await self._caretaker.verify(home.person)
