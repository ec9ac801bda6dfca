"""What is due for a home that nobody asks for: dropping what the retention does not keep, and the drill of reading what is kept. Pure.

Moments are kept on the box, so that what is due monthly is done monthly however often sync is started again. What failed is tried again, later
each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..model import HomeNote

SECOND = 1_000_000_000
FIRST_RETRY = 300.0
SHARE = 0.01


class Duty(StrEnum):
    PRUNE = "prune"
    PROVE = "prove"
    """Read all that is kept."""
    SAMPLE = "sample"
    """Read a part of it."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between; 0: never by itself."""

    prune: float
    prove: float
    sample: float


@dataclass(frozen=True, slots=True)
class Failed:
    times: int
    at: int


def due(note: HomeNote, now: int, rhythm: Rhythm, failed: Mapping[Duty, Failed]) -> list[Duty]:
    """What there is to do, in this order. What was found damaged by a part is followed by all, which names the files."""
    last = {Duty.PRUNE: note.pruned, Duty.PROVE: note.proven, Duty.SAMPLE: max(note.sampled, note.proven)}
    every = {Duty.PRUNE: rhythm.prune, Duty.PROVE: rhythm.prove, Duty.SAMPLE: rhythm.sample}
    found = [duty for duty in Duty if every[duty] and now - max(last[duty], note.known) >= every[duty] * SECOND]
    if note.damages and note.proven < note.sampled:
        found.append(Duty.PROVE)
    if Duty.PROVE in found:
        found = [duty for duty in found if duty is not Duty.SAMPLE]
    return [duty for duty in Duty if duty in found and not resting(failed.get(duty), now, every[duty])]


def resting(failed: Failed | None, now: int, every: float) -> bool:
    if failed is None:
        return False
    return now - failed.at < min(FIRST_RETRY * 2.0 ** (failed.times - 1), max(every, FIRST_RETRY)) * SECOND
