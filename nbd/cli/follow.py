"""Watching a notebook until something is decided, and showing a person how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import Deadline, NotFound, Unreachable
from ..messages import NotebookView, Progress
from .client import Client, route, typed
from .render import Cell, Live, Screen
from .text import ordinal, running, took

POLL_SECONDS = 0.5
RETRY_SECONDS = 0.2
SPINNER, PLAIN_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


def watch(client: Client, identity: str, tick: Callable[[], None]) -> Iterator[Any]:
    """The notebook's messages, the present one first, without end; None when it is gone, then nothing more.

    A lost stream is taken up again: core may be restarted while a notebook starts. Raises Unreachable when that fails for the client's deadline.
    """
    message: Any = {}
    lost_at: float | None = None
    while message is not None:
        try:
            for message in _told(client, identity, tick):
                lost_at = None
                yield message
        except Deadline:
            raise
        except Unreachable:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at >= client.deadline:
                raise
        tick()
        time.sleep(RETRY_SECONDS)


def _told(client: Client, identity: str, tick: Callable[[], None]) -> Iterator[Any]:
    """One stream of events, as long as it lasts."""
    found = False
    for kind, data in client.events(tick):
        if kind == "synced" and not found:
            # Either it went while we were not listening, or it is another person's and an admin watches it: those are not told, but can be asked for.
            yield from _asked(client, identity, tick)
            return
        if not isinstance(data, dict) or data.get("id") != identity:
            continue
        found = True
        yield None if kind == "gone" else data
        if kind == "gone":
            return


def _asked(client: Client, identity: str, tick: Callable[[], None]) -> Iterator[Any]:
    while True:
        try:
            yield client.get(route("notebooks", identity))
        except NotFound:
            yield None
            return
        tick()
        time.sleep(POLL_SECONDS)


class Story:
    """The start or stop of one notebook, as lines under the command: each phase with its time, the present one with what it does."""

    def __init__(self, screen: Screen, live: Live, title: str) -> None:
        self.screen = screen
        self.live = live
        self.title = title
        self.view: NotebookView | None = None
        self.step = ""
        self.turns = 0
        self.began = self.step_began = time.monotonic()

    def see(self, message: object) -> NotebookView:
        self.view = typed(NotebookView, message)
        step = self._step(self.view)
        if step != self.step:
            self.step, self.step_began = step, time.monotonic()
        self.tick()
        return self.view

    def tick(self) -> None:
        self.turns += 1
        self.live.draw(list(self._lines()))

    def _step(self, view: NotebookView) -> str:
        if view.waiting:
            return "waiting"
        return view.progress.phase if view.progress else ""

    def _lines(self) -> Iterator[str]:
        screen, now = self.screen, time.monotonic()
        yield screen.line(Cell(self.title, "bold"), "  ", Cell(running(now - self.began), "dim"))
        if self.view is None or (self.view.state not in ("STARTING", "STOPPING") and not self.step):
            return
        done = "✓" if screen.unicode else "*"
        for phase, seconds in self.view.phases.items():
            if phase != self.step and self.view.state == "STARTING":
                yield screen.line("  ", Cell(done, "green"), " ", phase.ljust(9), Cell(took(seconds), "dim"))
        if self.step:
            spent = Cell(running(now - self.step_began).ljust(9), "dim")
            yield screen.line("  ", Cell(self._spinner(), "cyan"), " ", self.step.ljust(9), spent, *self._doing(self.view))

    def _doing(self, view: NotebookView) -> tuple[Cell | str, ...]:
        if view.waiting:
            return Cell(f"{ordinal(view.waiting.position)} in line", "yellow"), f": {view.waiting.reason}"
        return progress_cells(self.screen, view.progress)

    def _spinner(self) -> str:
        wheel = SPINNER if self.screen.unicode else PLAIN_SPINNER
        return wheel[self.turns % len(wheel)]


def progress_cells(screen: Screen, progress: Progress | None) -> tuple[Cell | str, ...]:
    if progress is None:
        return ()
    if progress.fraction is None:
        return (progress.text,)
    return Cell(screen.bar(progress.fraction), "cyan"), f" {progress.fraction * 100:3.0f} %  ", progress.text
