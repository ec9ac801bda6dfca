"""Makes a home ready before a notebook starts in it: today, sees that it is there and the person's own."""

from __future__ import annotations

from .fitness import fit
from .model import HomeReady, HomeRequest
from .ports import HomeFolders


class Keeper:
    def __init__(self, folders: HomeFolders) -> None:
        self._folders = folders

    async def ready(self, request: HomeRequest) -> HomeReady:
        """Raises HostUnfit(home_unfit), Deadline."""
        return fit(request, await self._folders.look(request.path))
