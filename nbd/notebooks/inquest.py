"""Why is it not there? Gathers what the machine still knows of an end (exit code, memory, last lines) and has failure.py judge it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ..errors import NbdError, StartFailed
from ..profiles import Profile
from .failure import Exit, of_error, of_exit, of_silence
from .model import Failure, Notebook
from .reconcile import Seen
from .starter import Parts

LOG_LINES = 20
EXIT_POLL_SECONDS, EXIT_TRIES = 0.05, 40
"""Podman learns of an exit a moment after the kernel does; after 2 s without a word the exit code stays unknown."""
Profiles = Callable[[], Mapping[str, Profile]]


class Inquest:
    def __init__(self, parts: Parts, profiles: Profiles, ready_seconds: float) -> None:
        self._containers = parts.containers
        self._logs = parts.logs
        self._profiles = profiles
        self._ready_seconds = ready_seconds

    async def of_start(self, row: Notebook, error: NbdError) -> Failure:
        """Why a start ended with `error`."""
        if not isinstance(error, StartFailed) or error.code not in ("editor_exited", "never_answered", "out_of_memory"):
            return of_error(error)
        if error.code == "never_answered":
            return of_silence(self._ready_seconds, await self._logs.tail(row.id, LOG_LINES))
        return self.failure(row, await self.of_end(row, int(error.code == "out_of_memory"), was_ready=False))

    async def of_end(self, row: Notebook, memory_kills: int, *, was_ready: bool = True) -> Exit:
        """How the notebook's container ended. `memory_kills`: how often the kernel ended one of its processes for want of memory."""
        seen = await self._last_word(row.container)
        oom = memory_kills > 0 or bool(seen and seen.oom)
        return Exit(seen.exit_code if seen else None, oom, await self._logs.tail(row.id, LOG_LINES), was_ready)

    def failure(self, row: Notebook, end: Exit) -> Failure:
        profile = self._profiles().get(row.profile)
        memory = f"{profile.memory / 1024**3:.3g} GiB" if profile else "share"
        return of_exit(end, editor=row.editor, image=profile.image if profile else "", memory_text=memory)

    async def _last_word(self, container: str | None) -> Seen | None:
        """What Podman knows of the exit, once it knows."""
        seen = None
        for _ in range(EXIT_TRIES if container else 0):
            seen = await self._containers.look(str(container))
            if seen is None or seen.exit_code is not None:
                break
            await asyncio.sleep(EXIT_POLL_SECONDS)
        return seen
