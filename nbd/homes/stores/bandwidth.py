"""How many bytes a second may go to the store now, and how long to wait for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

BURST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Window:
    """From this minute of the day up to that one, the box's own clock; over midnight where `end` is not after `start`. None: no limit."""

    start: int
    end: int
    rate: int | None

    def holds(self, minute: float) -> bool:
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True, slots=True)
class Limits:
    windows: Sequence[Window] = ()
    otherwise: int | None = None

    def at(self, minute: float) -> int | None:
        return next((window.rate for window in self.windows if window.holds(minute)), self.otherwise)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left to spend, in bytes; less than nothing is a debt that who comes next waits for. An object goes whole, so one may run into debt."""

    balance: float
    at: float
    """Seconds."""

    def spent(self, size: int) -> Bucket:
        return replace(self, balance=self.balance - size)

    def filled(self, rate: int | None, now: float) -> Bucket:
        """Without a limit no debt is kept: it is not paid off at a rate that no longer holds."""
        if rate is None:
            return Bucket(0.0, now)
        return Bucket(min(rate * BURST_SECONDS, self.balance + max(now - self.at, 0.0) * rate), now)

    def wait(self, rate: int | None) -> float:
        """Seconds until something may go again; 0.0 for at once."""
        return max(-self.balance / rate, 0.0) if rate else 0.0
