"""When notebooks come up by themselves: those that nbd put away, at the times that their profile names, so that they are there when people come.

Whoever stopped theirs by hand finds it stopped. What the box slept through, or nbd did, is made up for within LATE_SECONDS, and not later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from ..errors import NbdError
from ..messages import StartRequest
from ..profiles import Profile
from ..values import Moment
from .manager import Manager
from .model import Notebook, State
from .roster import Roster

log = logging.getLogger(__name__)
LATE_SECONDS = 900.0
A_DAY = timedelta(days=1)
PUT_AWAY = frozenset({"idle", "max_session", "max_running"})
"""Reasons of stops that were nobody's wish."""


def due(moments: Sequence[Moment], after: datetime, until: datetime) -> bool:
    """Whether one of them lies after the one and not after the other; local times, at most a day apart."""
    for days, minute in moments:
        for day in (after, until):
            at = day.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
            if after < at <= until and at.weekday() in days:
                return True
    return False


def put_away(row: Notebook) -> bool:
    return row.state is State.FROZEN or (row.state is State.STOPPED and row.stop_reason in PUT_AWAY)


class Schedule:
    def __init__(self, roster: Roster, manager: Manager, profiles: Callable[[], Mapping[str, Profile]], local: Callable[[], datetime]) -> None:
        self._roster, self._manager, self._profiles, self._local = roster, manager, profiles, local
        self._seen: datetime | None = None

    async def tick(self) -> None:
        """Those that are due, each as its person would start it, waiting in line for a card."""
        now = self._local()
        late = now - timedelta(seconds=LATE_SECONDS)
        if self._seen and self._seen - now > A_DAY:
            self._seen = None  # The clock was wrong by more than anybody corrects for a moment.
        # A clock that is set back brings nothing twice, one that is set forward skips what it skips.
        after, self._seen = max(self._seen or late, late), max(self._seen or now, now)
        for row in self._roster.all():
            profile = self._profiles().get(row.profile)
            if profile is None or not put_away(row) or not due(profile.start_at, after, now):
                continue
            log.info("%s is started: %s says so", row.title, profile.name, extra={"NBD_NOTEBOOK": row.id, "NBD_EVENT": "scheduled_start"})
            try:
                await self._manager.start(row.owner, StartRequest(row.name, editor=row.editor, gpus=row.gpus, wait=True))
            except NbdError as error:
                log.warning("%s could not be started as its profile says: %s", row.title, error, extra={"NBD_NOTEBOOK": row.id})
