"""What the GPU slice needs of the world. `host/nvml.py`, `host/cdi.py` and `host/database.py` implement it; fakes pass the same contracts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .model import Card, Lease


@dataclass(frozen=True, slots=True)
class CardProcess:
    """A process with a context on a card: compute or graphics."""

    card: str
    pid: int | None
    """A pid of the host. None: this card does not say who is on it now, so everybody may be. Such a card frees nobody's lease."""
    memory_bytes: int | None = None
    """None where the driver cannot say (MIG, old cards). Unknown is never zero."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one card or MIG instance is doing now. None is "the driver cannot say", for each field on its own."""

    card: str
    used_bytes: int | None = None
    utilisation: float | None = None
    """0 to 1: the share of the last moment in which at least one kernel ran."""
    temperature_celsius: int | None = None
    power_watts: float | None = None


@dataclass(frozen=True, slots=True)
class DriverFacts:
    version: str | None
    simulated: bool
    """True where the cards are played by nbd's simulated driver. Whoever shows GPUs says so."""
    reason: str
    """Why there are no GPUs, or why the driver cannot be asked; empty when all is well."""


class Cards(Protocol):
    """The driver, asked through a helper process.

    Each call answers within its deadline. A driver that hangs raises `errors.Deadline`, one that cannot be asked (a library of another
    version than the module, an unknown error) raises `errors.Unreachable`; both are worth a retry. A card that fell off the bus is a
    `Card` with `quarantine` set and concerns no other card. Nothing here blocks the event loop.
    """

    async def cards(self) -> Sequence[Card]:
        """Every card and MIG instance now. Empty is a box without GPUs or without their driver: no error, `driver()` has the reason."""

    async def processes(self) -> Sequence[CardProcess]:
        """Who has a context on a card now; a pid may have gone by the time you read it."""

    async def readings(self) -> Sequence[Reading]:
        """One per card and MIG instance that answers at all."""

    async def driver(self) -> DriverFacts:
        """Never raises `Unreachable`: a driver that cannot be asked is a `reason`."""


class LeaseStore(Protocol):
    """Leases and quarantines that survive a crash. Writes are atomic and durable when they return; readers see all of one or nothing."""

    async def leases(self) -> Sequence[Lease]: ...

    async def replace(self, notebook: str, leases: Iterable[Lease]) -> None:
        """Make `leases` all that `notebook` holds; an empty iterable ends its hold."""

    async def quarantines(self) -> Mapping[str, str]:
        """Card uuid -> why it is out of service, in words for an admin."""

    async def quarantine(self, card: str, reason: str) -> None:
        """A second reason replaces the first."""

    async def lift(self, card: str) -> None:
        """Nothing happens when the card is not quarantined."""


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """Why the container engine could not hand out a card that is leased."""

    code: str
    """cdi_missing, cdi_stale or cdi_broken."""
    message: str
    hint: str
    """The exact command that mends it."""


class CardSpecs(Protocol):
    """What the container engine knows about cards: the CDI specs of the machine."""

    async def problem(self, uuids: Collection[str], driver_version: str | None) -> SpecProblem | None:
        """What keeps these cards from reaching a container, or None.

        `driver_version` is the running driver's; None (it does not say) skips the check for stale specs.
        Raises `errors.Deadline` when the specs cannot be read in time.
        """
