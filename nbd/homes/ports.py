"""What the homes slice needs of the world."""

from __future__ import annotations

from typing import Protocol

from .model import HomeFacts


class HomeFolders(Protocol):
    async def look(self, path: str) -> HomeFacts:
        """The folder's facts, following no link in its last part. Raises Deadline: a home may be on a server that is gone."""
