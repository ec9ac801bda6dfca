"""The nouns of GPU allocation: cards, requests, leases. Values only; they know themselves and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MIB = 1024 * 1024
GIB = 1024 * MIB


class Sharing(StrEnum):
    EXCLUSIVE = "exclusive"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Card:
    """One allocatable device: a whole GPU or a MIG instance. `uuid` is the only identity; indexes change over a reboot."""

    uuid: str
    name: str
    memory_bytes: int
    """0 where `memory_known` is False, and only there."""
    numa_node: int = 0
    """-1 where the machine does not say, which is the kernel's own word for it."""
    nvlink_peers: tuple[str, ...] = ()
    """UUIDs of the cards that an active NVLink joins to this one."""
    mig_profile: str | None = None
    """"1g.10gb" for a MIG instance, None for a whole card."""
    parent: str | None = None
    """The UUID of the card a MIG instance is cut from. A card cut into instances is not itself allocatable."""
    quarantine: str | None = None
    """Why nbd does not hand this card out, in words for an admin; None when it is fit."""
    memory_known: bool = True
    """False where the driver cannot say how much memory there is: integrated GPUs, a card lost before it was first seen."""


@dataclass(frozen=True, slots=True)
class Request:
    count: int = 1
    models: tuple[str, ...] = ()
    """Any of these, matched on the NVML name without case, spaces and dashes ("rtx4090"); empty accepts every model."""
    memory_bytes: int = 0
    """VRAM that each card must have: in total when exclusive, still unpromised when shared."""
    sharing: Sharing = Sharing.EXCLUSIVE
    mig_profile: str | None = None
    only: tuple[str, ...] = ()
    """These cards and no others, by uuid; empty accepts every card."""
    prefer: tuple[str, ...] = ()
    """Of those that fit, these first."""


@dataclass(frozen=True, slots=True)
class Lease:
    card: str
    notebook: str
    """The notebook's id."""
    holder: str
    """"bob/train": what people are shown."""
    since: float
    """Wall-clock seconds since the epoch; shown to people, never compared."""
    sharing: Sharing = Sharing.EXCLUSIVE
    memory_bytes: int = 0
    """The VRAM promised on a shared card; 0 when exclusive."""


@dataclass(frozen=True, slots=True)
class Grant:
    cards: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why one card cannot serve one request."""

    card: str
    reason: str
    for_now: bool
    """True when waiting can help: somebody holds it. False when this card will never fit."""


@dataclass(frozen=True, slots=True)
class Refusal:
    obstacles: tuple[Obstacle, ...]
    summary: str
    count: int = 1
    """How many cards were asked for."""
    fitting: int = 0
    """How many fit now."""

    @property
    def worth_waiting(self) -> bool:
        """Whether the box could serve this once everybody has let go."""
        return self.fitting + sum(obstacle.for_now for obstacle in self.obstacles) >= self.count
