"""Whose container's end the kernel will tell, and of which process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ports import Process, Processes


@dataclass(frozen=True, slots=True)
class Watched:
    container: str
    process: Process
    cancel: Callable[[], None]


class Watches:
    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._watched: dict[str, Watched] = {}
        """By notebook."""

    def containers(self) -> dict[str, str]:
        return {notebook: watched.container for notebook, watched in self._watched.items()}

    def process(self, notebook: str) -> Process | None:
        """The first process of its container, as long as its end is watched for."""
        watched = self._watched.get(notebook)
        return watched.process if watched else None

    def begin(self, notebook: str, container: str, process: Process, ended: Callable[[int], None]) -> None:
        """`ended` is told how often the kernel ended one of its processes for want of memory."""
        self.end(notebook)
        kills = self._processes.memory_kills(process)
        # Read in the very moment: Podman takes the cgroup away a little later, and its own word (OOMKilled) was seen to be wrong.
        self._watched[notebook] = Watched(container, process, self._processes.on_exit(process, lambda: ended(kills())))

    def end(self, notebook: str) -> None:
        if notebook in self._watched:
            self._watched.pop(notebook).cancel()

    def close(self) -> None:
        for notebook in list(self._watched):
            self.end(notebook)
