"""What sync tells core about a home beyond how it is kept: as routes of sync's own socket."""

from __future__ import annotations

from ..homes.insight import Insight
from ..homes.model import HomeRequest
from ..homes.wishes import LookWish
from ..messages import LossView, TextView, UsageView, VersionView
from .routes import Ask, Route, Who


class HomeWindow:
    def __init__(self, insight: Insight) -> None:
        self._insight = insight

    def routes(self) -> list[Route]:
        def route(path: str, summary: str, answer: object, handler: object, body: object) -> Route:
            return Route("POST", f"/v1/homes/{path}", summary, answer, handler, body=body, who=Who.DOOR)  # type: ignore[arg-type]

        return [
            route("usage", "What takes the room", UsageView, self.usage, HomeRequest),
            route("losses", "What a confirmation lets go of", LossView, self.losses, HomeRequest),
            route("text", "The text of a file of a snapshot", TextView, self.text, LookWish),
            route("versions", "The states that a path had", tuple[VersionView, ...], self.versions, LookWish),
        ]

    async def usage(self, ask: Ask) -> UsageView:
        return await self._insight.usage(ask.body)

    async def losses(self, ask: Ask) -> LossView:
        return await self._insight.losses(ask.body)

    async def text(self, ask: Ask) -> TextView:
        wish: LookWish = ask.body
        return await self._insight.text(wish.home, wish.snapshot, wish.path)

    async def versions(self, ask: Ask) -> list[VersionView]:
        wish: LookWish = ask.body
        return await self._insight.versions(wish.home, wish.path)
