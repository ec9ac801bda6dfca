"""What giving back a card, or a card and the memory, needs of the world: the driver's checkpoints and the container engine's.

Both kinds of work can be cut off by a kill at any moment. So each port tells what is true now (`states`, `image`), and every method may be
called again on what an earlier one left half done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ...gpus.model import Card
from ...gpus.ports import CardProcess, Reading
from ..ports import Process


class CudaState(StrEnum):
    """As the driver has it (CUprocessState)."""

    RUNNING = "running"
    LOCKED = "locked"
    CHECKPOINTED = "checkpointed"
    FAILED = "failed"
    """For good: the driver can neither go on with it nor go back."""
    BUSY = "busy"
    """A checkpoint or a restore is under way. Only the newest drivers tell it; others say what it was before."""


class Parker(Protocol):
    """The driver's checkpoint calls (CUDA 12.8, driver 570 and newer), made from a helper process: they can hang.

    Raises HostUnfit where this box cannot (no driver, too old, MIG), Unreachable or Deadline where the driver does not answer.
    """

    async def obstacle(self) -> str:
        """Why nothing can be parked on this box; empty where it can be tried."""

    async def reaches(self, process: Process, cards: Sequence[str]) -> frozenset[str]:
        """Those of `cards` onto which the process could be restored: the driver can move it, and the process can open the card's device. Never
        raises: what cannot be told is not reached."""

    async def states(self, processes: Sequence[Process]) -> Mapping[int, CudaState]:
        """By pid. A process without a CUDA context, or one that is gone, is missing."""

    async def lock(self, process: Process, seconds: float) -> None:
        """Its CUDA calls wait from here on, and those under way have ended. Raises Conflict when they did not within `seconds`: unlocked then."""

    async def checkpoint(self, process: Process, size: int = 0) -> None:
        """A locked one's device memory is in the host's, and its cards are free of it. `size`: so many bytes, as far as known, for the deadline.
        Raises NbdError with what the driver said; locked still."""

    async def restore(self, process: Process, moves: Mapping[str, str], size: int = 0) -> None:
        """Back onto its cards; `moves`: other cards of the same kind instead, by uuid, and then all of its cards are in it. Locked after it.
        A failure leaves the checkpoint as it was."""

    async def unlock(self, process: Process) -> None: ...


class Pids(Protocol):
    """The kernel's view of who is in a container."""

    def of_container(self, container: str) -> Collection[int]:
        """Every living pid in its cgroup; empty when it is gone."""

    def of_pid(self, pid: int, container: str) -> Process | None:
        """The process, if it lives and is in the container's cgroup."""


class CardsInUse(Protocol):
    """The driver's word about cards: `gpus.ports.Cards`, as far as parking needs it. Raises Unreachable, Deadline."""

    async def cards(self) -> Sequence[Card]: ...

    async def processes(self) -> Sequence[CardProcess]: ...

    async def readings(self) -> Sequence[Reading]: ...


@dataclass(frozen=True, slots=True)
class Headroom:
    """Bytes of memory that can still be taken."""

    box: int
    """On the whole box, without swapping."""
    own: int | None
    """Within the container's own limit; None where it has none."""


class HostMemory(Protocol):
    async def headroom(self, process: Process) -> Headroom:
        """For the container that the process is in. Raises Unreachable where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Image:
    """A frozen notebook on this box's disk."""

    path: str
    bytes: int
    whole: bool
    """False where it was cut off: nothing can be thawed from it."""


class Freezer(Protocol):
    """The container engine's checkpoint and restore (CRIU)."""

    async def obstacle(self) -> str:
        """Why nothing can be frozen on this box, with what mends it; empty where it can be tried."""

    async def estimate(self, container: str) -> int:
        """Bytes that an image would take, uncompressed: what its processes have in memory."""

    async def room(self) -> int:
        """Bytes that images may still take on their disk."""

    async def freeze(self, container: str, notebook: str) -> Image:
        """The image is whole and on the disk, and the processes are gone. Raises NbdError: then it runs on as before, and nothing is left; but after
        a Deadline the engine may be at it still, and nothing can be concluded."""

    async def thaw(self, container: str, notebook: str) -> Process:
        """Its processes are back, from its image, which stays until `forget`. Raises NbdError: the image is as it was."""

    async def image(self, notebook: str) -> Image | None:
        """Raises NbdError while the engine is at it: then it cannot be said."""

    async def images(self) -> Sequence[str]:
        """Ids of the notebooks that have one, whole or not."""

    async def forget(self, notebook: str) -> None:
        """Its image goes; absent is done."""
