"""The life of a notebook: its states, the legal moves between them, and the values that describe one.

How to think about it. A notebook is a durable row: it has an owner, a name and a profile, and it lives until its owner deletes it. A *run* is one
container life of it. `State` says what is true now; `Want` says what the person asked for; reconcile.py compares the two with what the machine shows.

Only this file says which moves exist: `MOVES` is the whole state machine, `move` the whole engine. The diagram in docs/states.md is drawn from it.

* A start that is refused for want of a card leaves STARTING for STOPPED, not for FAILED: nothing broke.
* FAILED is the editor's or the person's process ending wrongly, ERROR is nbd's or the host's fault. Both can be started again.
* PARKED and FROZEN are entered only by the idle engine; they are left for RUNNING (unpark, thaw), STOPPING, or FAILED or ERROR
  when their process or image is gone.
* DELETING is final: the row goes when the container is gone. It never touches the home.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..attachments import AttachedAt
from ..errors import Conflict, InvalidInput
from ..messages import AttachRequest


class State(StrEnum):
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PARKED = "PARKED"
    FROZEN = "FROZEN"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    ERROR = "ERROR"
    DELETING = "DELETING"


S = State
MOVES: Mapping[State, frozenset[State]] = {
    S.STARTING: frozenset({S.RUNNING, S.STOPPING, S.STOPPED, S.FAILED, S.ERROR}),
    S.RUNNING: frozenset({S.STARTING, S.PARKED, S.FROZEN, S.STOPPING, S.STOPPED, S.FAILED, S.ERROR}),
    S.PARKED: frozenset({S.STARTING, S.RUNNING, S.FROZEN, S.STOPPING, S.STOPPED, S.FAILED, S.ERROR}),
    S.FROZEN: frozenset({S.RUNNING, S.STOPPING, S.STOPPED, S.ERROR}),
    S.STOPPING: frozenset({S.STOPPED, S.DELETING, S.ERROR}),
    S.STOPPED: frozenset({S.STARTING, S.RUNNING, S.DELETING}),
    S.FAILED: frozenset({S.STARTING, S.RUNNING, S.STOPPING, S.DELETING}),
    S.ERROR: frozenset({S.STARTING, S.RUNNING, S.STOPPING, S.DELETING}),
    S.DELETING: frozenset(),
}
"""STOPPED, FAILED and ERROR reach RUNNING directly by adoption: reconcile found the container alive after all. RUNNING and PARKED reach STOPPED
directly when the editor was shut down from inside, and STARTING when it crashed and is started again."""

LIVE = frozenset({S.STARTING, S.RUNNING, S.PARKED, S.FROZEN, S.STOPPING})
"""States in which a container, or a frozen one, may exist; no lease outside them."""


USING = frozenset({S.RUNNING, S.PARKED, S.FROZEN, S.STOPPING})
"""States in which somebody works in the home, or did until just now."""


class Want(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class Phase(StrEnum):
    """The steps of a start, in order. The lease comes as late as it can: a card is held only while it can be used."""

    IMAGE = "image"
    HOME = "home"
    DATA = "data"
    NETWORK = "network"
    LEASE = "lease"
    CREATE = "create"
    START = "start"
    READY = "ready"


NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
ID = re.compile(r"[a-z][a-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a notebook is not running, as the person reads it."""

    code: str
    message: str
    hint: str = ""
    log: tuple[str, ...] = ()
    """The editor's last lines, oldest first."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Its person said that it is to be let be until then. By the boot's own clock, which nobody sets; after another boot by the wall's."""

    boot: str
    steady: float
    """Seconds of the monotonic clock of that boot."""
    wall: float


@dataclass(frozen=True, slots=True)
class Parked:
    """What a notebook had on its cards when it was parked, and what it takes to bring it back."""

    since: float
    """Seconds since the epoch."""
    memory: Mapping[str, int]
    """Bytes by card, for each card that it held."""
    wanted: bool = False
    """Somebody wants it back: it stands in line for its cards, also after a restart of nbd."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """What is durable of a notebook; also the label on its container, from which a lost state file is rebuilt."""

    id: str
    name: str
    owner: str
    profile: str
    editor: str
    created: float
    """Seconds since the epoch, as all moments here."""
    state: State = State.STOPPED
    want: Want = Want.STOPPED
    gpus: int | None = None
    """How many cards the person asked for; None means what the profile says."""
    wait: bool = False
    container: str | None = None
    run: int = 0
    """How many runs there have been; the current one's number."""
    started: float | None = None
    ended: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each finished phase of the current run took."""
    stop_reason: str | None = None
    failure: Failure | None = None
    crashes: tuple[float, ...] = ()
    """When the editor ended wrongly of late; three within ten minutes end in FAILED."""
    attach: tuple[AttachRequest, ...] = ()
    """What the person attached."""
    attached: tuple[AttachedAt, ...] = ()
    """What the current run sees of attached data, the profile's too."""
    parked: Parked | None = None
    """In state RUNNING: a park has begun, and is finished or undone."""
    kept: Kept | None = None
    idle: Mapping[str, str] = field(default_factory=dict)
    """Its person's own idle settings, tighter than the profile's, as they wrote them."""
    trouble: str = ""
    """Why it did not come up again from its rest when it should have."""

    @property
    def title(self) -> str:
        return f"{self.owner}/{self.name}"


def move(notebook: Notebook, to: State) -> Notebook:
    """The notebook in its new state. Raises Conflict, and changes nothing, where the table has no such move."""
    if to is notebook.state:
        return notebook
    if to not in MOVES[notebook.state]:
        raise Conflict(f"{notebook.title} is {notebook.state} and cannot become {to}", hint=f"see: nbctl show {notebook.name}")
    # With its processes goes what was parked of them.
    return replace(notebook, state=to, parked=notebook.parked if to in (State.RUNNING, State.PARKED, State.FROZEN) else None)


def checked_name(name: str) -> str:
    """`name` if a notebook may be called so. Raises InvalidInput: it becomes part of labels, pages and command lines."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"a notebook cannot be called {name[:60]!r}",
            hint="1 to 40 of a-z 0-9 . _ - ; first and last a letter or digit",
            code="bad_name",
        )
    return name


@dataclass(frozen=True, slots=True)
class Occupant:
    """The person as the container must know them: their notebook is them."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Run:
    """One container life of a notebook, for its history."""

    notebook: str
    number: int
    started: float
    ended: float | None = None
    stop_reason: str | None = None
    container: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
