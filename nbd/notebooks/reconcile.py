"""What is wanted against what is: rows and containers in, ordered actions with reasons out. Pure.

Theory. After a crash nothing that was under way can be trusted, so nothing is resumed from a queue: the rows say what is wanted, the
containers (their labels, and whether their process is really alive) say what is, and each difference has exactly one repair. Promises,
each a property test in tests/rules/test_reconcile.py:

* a container without our instance's label never gets here, so it is never touched (the adapter filters, a contract test proves it);
* a living container of a notebook that is wanted is never discarded, except when the notebook has two: the one the row names stays;
* carrying the plan out and planning again gives nothing to do;
* a lost row is rebuilt from the label of its living container, or of its dead one with a whole image, never by starting a second copy;
* a dead container with a whole image is a frozen notebook: while somebody wants it, neither the container nor the image goes.

A freeze ends the processes before its row says FROZEN, and a thaw brings them back before it says RUNNING. So an image is read together with
its container: dead and whole is frozen, living means that the image is of no use any more, dead and half is a notebook that was lost with it.

A notebook that a task of this very process is busy with is left alone: that task owns it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .model import LIVE, Notebook, State, Want

FREEZES = frozenset({State.RUNNING, State.PARKED, State.FROZEN})
"""States in which an image may mean something."""
ENDING = frozenset({State.STOPPING, State.DELETING})


@dataclass(frozen=True, slots=True)
class Seen:
    """One container of ours as the machine shows it. `alive` is the kernel's word about its process, not Podman's."""

    container: str
    notebook: str
    run: int
    alive: bool
    made: bool = True
    """False while Podman has it as created and never started."""
    exit_code: int | None = None
    oom: bool = False
    started: float | None = None
    """Seconds since the epoch; None where Podman does not say."""
    label: Notebook | None = None
    """The row as it was when the container was made; None when the label cannot be read."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """It runs and is wanted: watch it, and wait until it answers when it is still STARTING."""

    notebook: str
    container: str
    reason: str


@dataclass(frozen=True, slots=True)
class Restore:
    """The row is lost: rebuild it from the label, then adopt."""

    row: Notebook
    container: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    container: str
    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It was wanted and its process is gone: find out why, then discard and decide."""

    notebook: str
    seen: Seen
    reason: str


@dataclass(frozen=True, slots=True)
class Vanished:
    """It was thought to run, and there is no container at all."""

    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class Begin:
    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Carry a stop or a deletion to its end."""

    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class FreeLease:
    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recover:
    """Its processes are gone and its image is whole: its freeze was cut off after the work was done. It is FROZEN."""

    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Its processes are gone and its image is half: it ended as interrupted, and `reason` is what its person reads."""

    notebook: str
    reason: str


@dataclass(frozen=True, slots=True)
class DropImage:
    """What it was frozen in is of no use any more."""

    notebook: str
    reason: str


Action = Adopt | Restore | Discard | Ended | Vanished | Begin | Finish | FreeLease | Recover | Lost | DropImage


@dataclass(frozen=True, slots=True)
class World:
    rows: Sequence[Notebook]
    seen: Sequence[Seen]
    busy: Collection[str] = ()
    """Ids that a task of this process works on."""
    watched: Mapping[str, str] = field(default_factory=dict)
    """Notebook id to the container that this process watches already."""
    leased: Collection[str] = ()
    """Ids that hold a lease."""
    images: Mapping[str, bool | None] = field(default_factory=dict)
    """Ids of the notebooks that have an image, and whether it is whole. None: that cannot be known yet, and nothing is concluded."""


def plan(world: World) -> tuple[Action, ...]:
    rows = {row.id: row for row in world.rows}
    by_notebook: dict[str, list[Seen]] = {}
    for seen in world.seen:
        by_notebook.setdefault(seen.notebook, []).append(seen)
    actions: list[Action] = []
    for notebook in [*rows, *(id for id in by_notebook if id not in rows)]:
        if notebook in world.busy:
            continue
        row, containers = rows.get(notebook), by_notebook.get(notebook, [])
        if notebook in world.images and world.images[notebook] is None:
            continue  # Something is still at work on it: what is seen now is true for a moment only.
        if row is None:
            actions += _orphans(containers, frozen=bool(world.images.get(notebook)))
        else:
            of_image = _of_image(row, containers, world)
            actions += _one(row, containers, world.watched) if of_image is None else of_image
    for notebook in world.leased:
        gone = notebook not in rows and notebook not in by_notebook
        at_rest = notebook in rows and rows[notebook].state not in LIVE and notebook not in by_notebook
        if (gone or at_rest) and notebook not in world.busy:
            actions.append(FreeLease(notebook, "no run holds it"))
    for notebook, whole in world.images.items():
        if whole is not None and notebook not in rows and notebook not in by_notebook and notebook not in world.busy:
            actions.append(DropImage(notebook, "it is nobody's"))
    return tuple(actions)


def _of_image(row: Notebook, containers: Sequence[Seen], world: World) -> list[Action] | None:
    """What follows from an image, or from the want of one; None where it changes nothing."""
    whole = world.images.get(row.id)
    living = any(seen.alive for seen in containers)
    if row.want is not Want.RUNNING or row.state not in FREEZES or living:
        # One that is being thawed is adopted first: until then its image may be needed.
        of_use = whole is None or row.state in ENDING or (living and row.want is Want.RUNNING and row.id not in world.watched)
        return None if of_use else [*_one(row, containers, world.watched), DropImage(row.id, "what it was frozen in is of no use any more")]
    own = any(seen.container == row.container for seen in containers)
    others = _others(row, containers)
    if own and whole is False:
        return [*others, Lost(row.id, "the box or Podman went down while it was being frozen, before all of its memory was on the disk")]
    if row.state is not State.FROZEN:
        return [*others, Recover(row.id, "it was frozen when nbd was interrupted")] if own and whole else None
    # Also one whose image or container is not to be seen: a disk that is not mounted yet looks like that. Its thaw says what is missing.
    lease: list[Action] = [FreeLease(row.id, "what is frozen holds no card")] if row.id in world.leased else []
    return [*others, *lease]


def _orphans(containers: Iterable[Seen], *, frozen: bool) -> list[Action]:
    """Containers without a row: the newest living one whose label can be read brings the row back; else, with a whole image, the newest."""
    ordered = sorted(containers, key=lambda seen: (seen.alive and seen.label is not None, seen.run, seen.container), reverse=True)
    actions: list[Action] = []
    for rank, seen in enumerate(ordered):
        if rank == 0 and seen.alive and seen.label is not None:
            actions.append(Restore(seen.label, seen.container, "it runs, and the state does not know it"))
        elif rank == 0 and frozen and seen.label is not None:
            row = replace(seen.label, state=State.FROZEN, want=Want.RUNNING, container=seen.container)
            actions.append(Restore(row, seen.container, "it is frozen, and the state does not know it"))
        elif seen.alive and seen.label is None:
            # Somebody's work may be inside and nobody can be asked whose: leave it, `nbctl status` shows it.
            continue
        else:
            actions.append(Discard(seen.container, seen.notebook, "a left-over of a notebook that is no more"))
    return actions


def _one(row: Notebook, containers: Sequence[Seen], watched: Mapping[str, str]) -> list[Action]:
    living = sorted((seen for seen in containers if seen.alive), key=lambda seen: (seen.container == row.container, seen.run), reverse=True)
    dead = [seen for seen in containers if not seen.alive]
    actions: list[Action] = [Discard(seen.container, row.id, "a second container of the same notebook") for seen in living[1:]]
    if row.state is State.STOPPING and row.want is Want.RUNNING:
        return [*actions, Finish(row.id, "its stop was interrupted; then it is wanted again")]
    if row.want is not Want.RUNNING:
        return actions + _not_wanted(row, living[:1], dead)
    if living:
        actions += [Discard(seen.container, row.id, "left over from an earlier run") for seen in dead]
        if watched.get(row.id) != living[0].container:
            actions.append(Adopt(row.id, living[0].container, "it runs"))
        return actions
    return actions + _wanted_and_dead(row, dead)


def _not_wanted(row: Notebook, living: Sequence[Seen], dead: Sequence[Seen]) -> list[Action]:
    if row.state in (State.STOPPING, State.DELETING) or living or row.want is Want.DELETED:
        return [Finish(row.id, "its stop was interrupted" if row.state in (State.STOPPING, State.DELETING) else "it runs and is not wanted")]
    if row.state in LIVE:
        return [Finish(row.id, "it is not wanted any more")]
    return [Discard(seen.container, row.id, "left over from an earlier run") for seen in dead]


def _wanted_and_dead(row: Notebook, dead: Sequence[Seen]) -> list[Action]:
    current = [seen for seen in dead if seen.container == row.container]
    others = _others(row, dead)
    if row.state is State.STARTING:
        half_made: list[Action] = [Discard(seen.container, row.id, "half made when nbd was interrupted") for seen in current]
        return [*others, *half_made, Begin(row.id, "its start was interrupted")]
    if row.state in (State.RUNNING, State.PARKED):
        if current:
            return [*others, Ended(row.id, current[0], "its process is gone")]
        return [*others, Vanished(row.id, "its container is gone")]
    left: list[Action] = [Discard(seen.container, row.id, "left over from a run that ended") for seen in current]
    return [*others, *left, Begin(row.id, "it is wanted")]


def _others(row: Notebook, containers: Sequence[Seen]) -> list[Action]:
    return [Discard(seen.container, row.id, "left over from an earlier run") for seen in containers if seen.container != row.container]


@dataclass(frozen=True, slots=True)
class CrashVerdict:
    restart: bool
    crashes: tuple[float, ...]
    reason: str


def after_crash(crashes: Sequence[float], now: float, limit: int, window: float) -> CrashVerdict:
    """Whether an editor that ended wrongly is started again: yes, until it happened `limit` times within `window` seconds."""
    recent = (*(moment for moment in crashes if 0 <= now - moment <= window), now)
    if len(recent) >= limit:
        return CrashVerdict(restart=False, crashes=recent, reason=f"it ended wrongly {len(recent)} times within {window / 60:g} min")
    return CrashVerdict(restart=True, crashes=recent, reason=f"wrong exit {len(recent)} of {limit} within {window / 60:g} min")
