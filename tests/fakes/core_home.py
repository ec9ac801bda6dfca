"""The home part of a fake core: what it answers is a table that a test fills; what it was asked is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from nbd import wire
from nbd.errors import NbdError, Unreachable
from nbd.messages import HomeView, Problem, ProblemAnswer, RestoreRequest, RestoreView

Who = Callable[[web.Request], str]


@dataclass
class FakeHome:
    answers: dict[str, Any] = field(default_factory=dict)
    """By the word after /v1/home: a value, an NbdError to refuse with, or a function of the query."""
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    steps: list[RestoreView | NbdError] = field(default_factory=list)
    """What a restore tells."""
    restored: list[RestoreRequest] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """A restore waits for it before its last step."""
    left: int = 0
    """Restores whose asker went away before the end."""

    def routes(self, who: Who, status: Callable[[], HomeView | None]) -> list[web.RouteDef]:
        async def home(request: web.Request) -> web.Response:
            who(request)
            view = status()
            if view is None:
                raise Unreachable("the sync program does not answer")
            return web.Response(text=wire.encode(view), content_type="application/json")

        async def answer(request: web.Request) -> web.Response:
            who(request)
            word = request.match_info["word"]
            query = dict(parse_qsl(request.rel_url.raw_query_string, errors="surrogateescape"))
            self.asked.append((word, query))
            found = self.answers.get(word, Unreachable(f"the fake has no {word}"))
            found = found(query) if callable(found) else found
            if isinstance(found, NbdError):
                raise found
            return web.Response(text=wire.encode(found), content_type="application/json")

        async def restore(request: web.Request) -> web.StreamResponse:
            who(request)
            self.restored.append(wire.decode(RestoreRequest, await request.read(), strict=True))
            stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await stream.prepare(request)
            try:
                await self._told(stream)
            except (asyncio.CancelledError, ConnectionError):
                self.left += 1
                raise
            return stream

        return [
            web.get("/v1/home", home),
            web.get("/v1/home/{word}", answer),
            web.post("/v1/home/restore", restore),
            web.post("/v1/home/{word}", answer),
        ]

    async def _told(self, stream: web.StreamResponse) -> None:
        for number, step in enumerate(self.steps):
            if number == len(self.steps) - 1:
                await self.go_on.wait()
            said: object = step
            if isinstance(step, NbdError):
                said = ProblemAnswer(Problem(step.code, step.message, step.hint, step.retryable))
            await stream.write((wire.encode(said) + "\n").encode())
