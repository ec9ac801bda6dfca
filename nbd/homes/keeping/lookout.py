"""What tells a guardian of changes: the best source that this host has for this home, and why not a better one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ...errors import NbdError
from ..model import HomeRequest
from ..ports import ChangeSource, Watch
from .dirt import DirtySet

log = logging.getLogger(__name__)
LOOKS = "looks"
"""The name of having no source: the home is looked at again and again."""


class Lookout:
    def __init__(self, home: HomeRequest, sources: Sequence[ChangeSource], dirt: DirtySet) -> None:
        self._home, self._sources, self._dirt = home, sources, dirt
        self._watch: Watch | None = None
        self._reasons: dict[str, str] = {}
        self._turns: dict[str, int] = {}
        self._tried = False
        self._rules = ""

    @property
    def name(self) -> str:
        return self._watch.name if self._watch else LOOKS

    @property
    def why(self) -> str:
        """Why none of the better sources is at work."""
        return "; ".join(f"{name}: {reason}" for name, reason in self._reasons.items())

    @property
    def whole(self) -> bool:
        return self._watch is not None and self._watch.whole and not self._watch.lost()

    def told(self) -> float | None:
        return self._watch.told() if self._watch and self.whole else None

    def settled(self, rules: str | None = None) -> bool:
        """False: there is a source to be had that is not at work, the one at work has failed, or was given other `rules`."""
        if not self._tried or (self._watch and self._watch.lost()) or rules not in (None, self._rules):
            return False
        return all(source.turn == self._turns[source.name] for source in self._sources if source.name in self._reasons)

    async def up(self, hidden: Callable[[bytes], bool], rules: str) -> None:
        """Watch with the best there is. What changed meanwhile nobody told, so everything is marked, once there is somebody to tell.
        `rules` is another text when `hidden` says otherwise."""
        lost = self._watch.lost() if self._watch else ""
        await self.down()
        self._tried, self._rules = True, rules
        for source in self._sources:
            self._turns[source.name] = source.turn
            try:
                self._watch = await source.watch(self._home, self._dirt, hidden)
                break
            except NbdError as error:
                self._reasons[source.name] = error.message
        self._dirt.mark_all(lost or "it is looked at from now on")
        log.info("%s is watched by %s%s", self._home.path, self.name, f" ({self.why})" if self.why else "")

    async def check(self) -> None:
        """See to it that what is watched is what is there."""
        why = await self._watch.sound() if self._watch else ""
        if why:
            log.warning("%s is watched anew: %s", self._home.path, why)
            await self.down()

    async def down(self) -> None:
        watch, self._watch, self._tried = self._watch, None, False
        self._reasons, self._turns = {}, {}
        if watch:
            await watch.close()
