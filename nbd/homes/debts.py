"""What a home is still owed: a look at everything, until all of it is known to be stored. On the box: a kill of sync forgets no home."""

from __future__ import annotations

import logging

from ..errors import NbdError
from .model import HomeRequest, Owed
from .ports import Notes
from .snapshots.snapshotter import Request

log = logging.getLogger(__name__)


class Debts:
    """Of one home. A note that cannot be written is said, and keeps nobody from saving: that is what it is there for."""

    def __init__(self, notes: Notes, home: HomeRequest) -> None:
        self._notes, self._home = notes, home

    async def owe(self, request: Request) -> None:
        """Durable when it returns. Nothing asked for leaves what was asked for before."""
        await self._note(Owed(self._home.uid, self._home.path, request.event if request.name else "", request.name))

    async def paid(self) -> None:
        """All is in the store, and nobody works in it."""
        await self._note(None)

    async def _note(self, owed: Owed | None) -> None:
        try:
            before = (await self._notes.read(self._home.person)).owed
            if owed and before and not owed.name and (before.uid, before.path) == (owed.uid, owed.path):
                return
            await self._notes.change(self._home.person, owed=owed)
        except NbdError as error:
            log.warning("what the home of %s is owed is not noted: %s", self._home.person, error)
