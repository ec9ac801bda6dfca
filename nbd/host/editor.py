"""Is the editor there? Asked every few milliseconds from the moment its container runs, so that nobody waits longer than it takes."""

from __future__ import annotations

import asyncio
import os

from .. import unixdoor
from ..errors import Deadline, Unreachable
from ..unixdoor import Place
from . import unixhttp

POLL_SECONDS = 0.005
ANSWER_SECONDS = 5.0
"""One answer; an editor that accepts and stays silent is asked again."""


class UnixEditor:
    async def wait_ready(self, place: Place, path: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await self._answers(place, path):
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise Deadline(f"the editor did not answer within {seconds:g} s") from None

    async def _answers(self, place: Place, path: str) -> bool:
        if not os.path.lexists(place.path):
            return False  # The usual answer, a hundred times a start, and a hundredth of the price of asking a socket that is not there.
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return (await unixhttp.ask_on(await unixdoor.connect(place), "GET", path)).status == 200
        except (OSError, TimeoutError, Unreachable):
            return False
