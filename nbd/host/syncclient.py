"""Core's line to the sync program: its socket, one question a start."""

from __future__ import annotations

import asyncio

from .. import wire
from ..errors import KINDS, HostUnfit, Unreachable
from ..homes.model import HomeReady, HomeRequest
from ..messages import ProblemAnswer
from ..notebooks.model import Occupant
from . import unixhttp

SECONDS = 30.0
RESTART_SECONDS, RETRY_SECONDS = 5.0, 0.1
HEALTH_SECONDS = 2.0


class SyncHomes:
    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def health(self) -> str:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                # Any answer will do: there is no such path.
                await unixhttp.ask(self._socket, "GET", "/")
        except (OSError, TimeoutError, Unreachable) as error:
            return f"the sync program does not answer: {error or 'too late'}"
        return "ok"

    async def _ask_patiently(self, path: str, body: bytes) -> unixhttp.Answer:
        """Sync may be started again just now (it died, it is upgraded): nobody's start fails for the second that this takes."""
        until = asyncio.get_running_loop().time() + RESTART_SECONDS
        while True:
            try:
                return await unixhttp.ask(self._socket, "POST", path, body)
            except OSError:
                if asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def ready(self, who: Occupant) -> None:
        request = wire.encode(HomeRequest(who.name, who.uid, who.home)).encode()
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._ask_patiently("/v1/homes/ready", request)
        except (OSError, TimeoutError) as error:
            hint = "look at it: systemctl status nbd-sync, or the terminal of nbd dev"
            raise Unreachable(f"the sync program does not answer: {error or 'too late'}", hint=hint) from None
        if answer.status == 200:
            wire.decode(HomeReady, answer.body)
            return
        problem = wire.decode(ProblemAnswer, answer.body).error
        kind = HostUnfit if problem.code == "home_unfit" else KINDS.get(answer.status, HostUnfit)
        raise kind(problem.message, hint=problem.hint, code=problem.code)
