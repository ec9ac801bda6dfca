"""The route of the box's figures, for Prometheus and for people with a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..notebooks import figures
from ..notebooks.figures import Figure
from ..notebooks.homenews import HomeNews
from .routes import Ask, Route, Stream

EXPOSITION = "text/plain; version=0.0.4"


class MetricsRoutes:
    def __init__(self, news: HomeNews, write: Callable[[Iterable[Figure]], str], wall: Callable[[], float]) -> None:
        self._news, self._write, self._wall = news, write, wall

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", "Figures of homes: your own; all of them for an admin", str, stream=self.metrics, content_type=EXPOSITION)]

    async def metrics(self, ask: Ask, stream: Stream) -> None:
        briefs = self._news.all()
        shown = [brief for brief in briefs if ask.person.admin or brief.person == ask.person.name]
        found = [*figures.of_all(briefs), *figures.of_homes(shown, self._wall())]
        if ask.person.admin:
            found += figures.of_store(self._news.store)
        await stream.send(self._write(found))
