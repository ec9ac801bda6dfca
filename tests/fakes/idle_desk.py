"""The desk of idleness and the hands that park, for core's API: what was asked of them is kept, what they refuse is set."""

from __future__ import annotations

from collections.abc import Mapping

from nbd.errors import NbdError
from nbd.idlemessages import HistoryView, ReplayView, TrafficReport, WhyView


class FakeDesk:
    """Plays both of api/idle.py's ports."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.reports: list[TrafficReport] = []
        self.trouble: NbdError | None = None

    async def why(self, notebook: str) -> WhyView:
        return self._said("why", notebook)

    async def keep(self, notebook: str, seconds: float, by: str) -> WhyView:
        return self._said("keep", notebook, seconds, by)

    async def set(self, notebook: str, settings: Mapping[str, str]) -> WhyView:
        return self._said("set", notebook, dict(settings))

    async def history(self, notebook: str) -> HistoryView:
        self._said("history", notebook)
        return HistoryView(1.0, 2.0)

    async def replay(self, notebook: str, policy: str) -> ReplayView:
        self._said("replay", notebook, policy)
        return ReplayView(1.0, 2.0)

    def heard(self, report: TrafficReport) -> None:
        self.reports.append(report)

    async def park(self, notebook: str, by: str) -> None:
        self._said("park", notebook, by)

    async def unpark(self, notebook: str, by: str) -> None:
        self._said("unpark", notebook, by)

    async def freeze(self, notebook: str, by: str) -> None:
        self._said("freeze", notebook, by)

    async def thaw(self, notebook: str, by: str) -> None:
        self._said("thaw", notebook, by)

    def _said(self, word: str, notebook: str, *more: object) -> WhyView:
        self.asked.append((word, notebook, *more))
        if self.trouble:
            raise self.trouble
        return WhyView(notebook, "main", "ada", "RUNNING", 1.0, "RUNNING · active", "active")
