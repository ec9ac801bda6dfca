"""The page that says why, with the evidence of the last day, and the forms of idleness: keep, park, freeze and back, one's own settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from ..errors import InvalidInput, NbdError
from ..idlemessages import HistoryView, IdleSettings, KeepRequest, WhyView
from ..messages import NotebookView
from . import idlewords as words
from .corelink import CoreLink
from .notices import seconds_of
from .render import Renderer
from .visit import Policy, Route, Visit

T = TypeVar("T")
SECTION_SECONDS = 5.0
OWN = "own."
"""What the name of a field begins with that holds one's own word for a setting."""


class IdlePages:
    def __init__(self, core: CoreLink, render: Renderer, mine: Callable[[Visit, str], Awaitable[NotebookView]]) -> None:
        """`mine` finds the visitor's notebook, or raises NotFound."""
        self._core, self._render, self._mine = core, render, mine

    def routes(self) -> list[Route]:
        one = "/notebooks/{id}"
        return [
            Route("GET", one + "/why", Policy.SIGNED_IN, self.why),
            Route("POST", one + "/keep", Policy.FORM, self.keep),
            Route("POST", one + "/idle", Policy.FORM, self.settings),
            *(Route("POST", f"{one}/{verb}", Policy.FORM, self._rest(verb)) for verb in ("park", "unpark", "freeze", "thaw")),
        ]

    async def why(self, visit: Visit, id: str) -> web.StreamResponse:
        return await self._why(visit, await self._mine(visit, id))

    async def _why(self, visit: Visit, view: NotebookView, error: NbdError | None = None) -> web.StreamResponse:
        path = f"/v1/notebooks/{view.id}"
        found, history = await asyncio.gather(
            self._core.get(WhyView, path + "/why", visit.token), self._section(self._core.get(HistoryView, path + "/idle/history", visit.token))
        )
        day = history if isinstance(history, NbdError) else words.timeline(history)
        happened = () if isinstance(history, NbdError) else history.happened
        values: dict[str, Any] = {"notebook": view, "why": found, "day": day, "happened": happened, "error": error, "now": time.time()}
        typed = {key.removeprefix(OWN): value for key, value in visit.form.items() if key.startswith(OWN)}
        return self._render.page(visit, "why.html", status=error.status if error else 200, typed=typed, **values)

    async def keep(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self._mine(visit, id)
        path = f"/v1/notebooks/{view.id}/keep"
        if "end" in visit.form:
            await self._core.do("DELETE", path, visit.token)
        else:
            await self._core.post(WhyView, path, visit.token, KeepRequest(seconds_of(visit.form.get("seconds", ""))))
        return self._render.redirect(f"/notebooks/{view.id}/why" if visit.form.get("from") == "why" else f"/notebooks/{view.id}")

    async def settings(self, visit: Visit, id: str) -> web.StreamResponse:
        view = await self._mine(visit, id)
        asked = {key.removeprefix(OWN): value.strip() for key, value in visit.form.items() if key.startswith(OWN)}
        if not asked:
            raise InvalidInput("this form has no setting in it")
        try:
            await self._core.patch(WhyView, f"/v1/notebooks/{view.id}/idle", visit.token, IdleSettings(asked))
        except NbdError as error:
            return await self._why(visit, view, error)
        return self._render.redirect(f"/notebooks/{view.id}/why")

    def _rest(self, verb: str) -> Callable[[Visit, str], Awaitable[web.StreamResponse]]:
        async def handler(visit: Visit, id: str) -> web.StreamResponse:
            view = await self._mine(visit, id)
            await self._core.post(NotebookView, f"/v1/notebooks/{view.id}/{verb}", visit.token)
            return self._render.redirect(f"/notebooks/{view.id}")

        return handler

    @staticmethod
    async def _section(asking: Awaitable[T]) -> T | NbdError:
        """A part of a page, or why it is not there: the others are shown all the same."""
        try:
            async with asyncio.timeout(SECTION_SECONDS):
                return await asking
        except NbdError as error:
            return error
        except TimeoutError:
            return NbdError("this takes too long just now", hint="reload the page in a while")
