"""What core knows of everybody's homes: how each stands, as sync said last, and what happened, for those who listen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from ..feed import Feed
from ..homemessages import HomeBrief, HomeEvent, HomeEventKind, HomesBrief
from .tidings import tidings

log = logging.getLogger(__name__)
QUIET = frozenset({HomeEventKind.PROTECTED, HomeEventKind.RESTORED, HomeEventKind.PRUNED, HomeEventKind.WHOLE})


class HomeNews:
    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._briefs: dict[str, HomeBrief] = {}
        self.store = HomesBrief().store
        self.changes: Feed[HomeEvent] = Feed()
        self._missed: dict[str, str] = {}

    def take(self, said: HomesBrief) -> frozenset[str]:
        """Whose home stands otherwise than before, in what is shown beside a notebook."""
        moved = set()
        for brief in said.homes:
            before = self._briefs.get(brief.person)
            for event in tidings(before, brief, self._wall()):
                level = logging.INFO if event.kind in QUIET else logging.WARNING
                log.log(level, "%s: %s", event.person, event.text, extra={"NBD_USER": event.person, "NBD_EVENT": f"home_{event.kind}"})
                self.changes.publish(event)
            if before is None or (before.pending, before.spooled_bytes > 0) != (brief.pending, brief.spooled_bytes > 0):
                moved.add(brief.person)
            self._briefs[brief.person] = brief
        self.store = said.store
        return frozenset(moved)

    async def health(self) -> str:
        """ "ok", or what is wrong with how many homes; nobody is named, for everybody may ask."""
        wrong = {
            "not protected": sum(bool(brief.trouble) for brief in self._briefs.values()),
            "waiting on this box for the store": sum(brief.spooled_bytes > 0 for brief in self._briefs.values()),
            "with damage in what is kept (nbctl home verify)": sum(bool(brief.damages) for brief in self._briefs.values()),
        }
        return "; ".join(f"{number} home{'s' if number > 1 else ''} {what}" for what, number in wrong.items() if number) or "ok"

    def miss(self, asked: dict[str, str]) -> frozenset[str]:
        """Of whom a snapshot is wanted that sync may not have heard of. Whose home stands otherwise than before."""
        moved = frozenset(person for person in {*asked, *self._missed} if asked.get(person) != self._missed.get(person))
        self._missed = asked
        return moved

    def heard(self, person: str) -> HomeBrief | None:
        """In sync's own words."""
        return self._briefs.get(person)

    def of(self, person: str) -> HomeBrief | None:
        brief, missed = self._briefs.get(person), self._missed.get(person)
        if missed is None:
            return brief
        brief = brief or HomeBrief(person)
        return replace(brief, pending=(*brief.pending, missed), trouble=brief.trouble or "the sync program does not answer")

    def all(self) -> tuple[HomeBrief, ...]:
        return tuple(self._briefs.values())
