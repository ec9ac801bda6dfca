"""When is a home looked at, and how much of it? Pure. Moments are seconds of a clock that never goes back.

Who saves once waits a moment for the rest of it (QUIET); who writes without a pause is saved all the same (MOST). A look that took long rests in
proportion, so that a huge home, or a file of many GiB that is written to all day, never takes a core for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

QUIET, MOST = 0.15, 2.0
CHEAP, REST = 0.5, 1.0
"""What took less than CHEAP needs no rest; the time beyond it is rested REST times: at most half of the time is spent on one home."""
MOST_REST = 300.0
EVERYTHING_REST = 10.0
"""Looking at everything just in case may take a share of one in eleven."""
FIRST_RETRY, MOST_RETRY = 5.0, 300.0
FIRST_AGAIN, MOST_AGAIN = 0.3, 60.0


class What(StrEnum):
    """In the order in which they go first."""

    ASKED = "asked"
    """At everything, because somebody asked for a snapshot."""
    LOOK = "look"
    """At everything, because anything may have changed."""
    SAVE = "save"
    """At the folders in which something changed."""
    PROVE = "prove"
    """At the next few folders, to prove that no change was missed."""
    NOTHING = "nothing"


ORDER = tuple(What)


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which something changed: the first moment and the last."""

    first: float
    last: float
    everything: bool = False
    """It is not known where."""


@dataclass(frozen=True, slots=True)
class Situation:
    """`None`: there is no such thing to do."""

    asked: bool = False
    """Somebody waits who was not told of a failure yet."""
    asked_before: bool = False
    """What failed for somebody is still wanted."""
    changed: Spell | None = None
    again: float | None = None
    """When what would not hold still is due."""
    look: float | None = None
    prove: float | None = None
    rested: float = 0.0
    """Until then nothing is saved, because the last look took long."""
    retry: float = 0.0
    """Until then nothing is tried, because the last look failed."""


@dataclass(frozen=True, slots=True)
class Step:
    what: What
    at: float | None = None
    """Of NOTHING: when to ask again; None: when something happens."""


def next_step(now: float, is_so: Situation) -> Step:
    """What is due now and goes first; else when something will be."""
    due: list[tuple[What, float]] = [(What.ASKED, now)] if is_so.asked else []
    if is_so.asked_before:
        due.append((What.ASKED, is_so.retry))
    if is_so.changed is not None:
        what = What.LOOK if is_so.changed.everything else What.SAVE
        due.append((what, max(save_at(is_so.changed), is_so.rested, is_so.retry)))
    for what, at in ((What.LOOK, is_so.look), (What.SAVE, is_so.again), (What.PROVE, is_so.prove)):
        if at is not None:
            due.append((what, max(at, is_so.retry)))
    ready = [what for what, at in due if at <= now]
    if ready:
        return Step(min(ready, key=ORDER.index))
    return Step(What.NOTHING, min((at for _, at in due), default=None))


def save_at(spell: Spell) -> float:
    return min(spell.last + QUIET, spell.first + MOST)


def rest(took: float) -> float:
    """How long to leave a home alone after a look that took so long."""
    return min(max(0.0, took - CHEAP) * REST, MOST_REST)


def look_after(took: float, every: float) -> float:
    """Until the next look at everything, where that is how changes are found."""
    return max(every, took * EVERYTHING_REST)


def retry_after(failures: int, every: float) -> float:
    """After so many failures in a row, one at least: later each time. `every` is how often all is looked at where all is well."""
    first = min(every, FIRST_RETRY)
    return float(min(first * 2 ** min(failures - 1, 30), max(first, MOST_RETRY)))


def again_after(tries: int) -> float:
    """Until what would not hold still is read again."""
    return float(min(FIRST_AGAIN * 2**min(tries, 30), MOST_AGAIN))
