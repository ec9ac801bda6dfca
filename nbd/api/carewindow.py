"""What core may have sync do with what is kept, and how all homes stand: as routes of sync's own socket."""

from __future__ import annotations

from ..homemessages import HomesBrief, PruneView
from ..homes.keeping.caretaker import Caretaker
from ..homes.model import HomeRequest
from ..homes.steward import Steward
from ..homes.stores.traffic import Counts
from ..homes.wishes import ForgetWish, PruneWish
from ..messages import SnapshotView, VerifyView
from ..storemessages import TrafficView
from .routes import Ask, Route, Who


class CareWindow:
    def __init__(self, caretaker: Caretaker, steward: Steward, counts: Counts) -> None:
        self._caretaker, self._steward, self._counts = caretaker, steward, counts

    def routes(self) -> list[Route]:
        def route(path: str, summary: str, answer: object, handler: object, body: object) -> Route:
            return Route("POST", f"/v1/homes/{path}", summary, answer, handler, body=body, who=Who.DOOR)  # type: ignore[arg-type]

        return [
            route("briefs", "How all homes stand", HomesBrief, self.briefs, None),
            route("prune", "Drop what the retention does not keep", PruneView, self.prune, PruneWish),
            route("forget", "Drop one snapshot", SnapshotView, self.forget, ForgetWish),
            route("verify", "Whether all that is kept is what was stored", VerifyView, self.verify, HomeRequest),
        ]

    async def briefs(self, ask: Ask) -> HomesBrief:
        counts = tuple(
            TrafficView(kind, one.requests, one.errors, one.sent, one.received, round(one.seconds, 3)) for kind, one in sorted(self._counts.items())
        )
        return HomesBrief(await self._steward.briefs(), counts)

    async def prune(self, ask: Ask) -> PruneView:
        wish: PruneWish = ask.body
        return await self._caretaker.prune(wish.person, dry_run=wish.dry_run)

    async def forget(self, ask: Ask) -> SnapshotView:
        wish: ForgetWish = ask.body
        return await self._caretaker.forget(wish.person, wish.snapshot)

    async def verify(self, ask: Ask) -> VerifyView:
        home: HomeRequest = ask.body
        return await self._caretaker.verify(home.person)
