"""What giving back a card, or a card and the memory, needs of the world: the driver's checkpoints and the container engine's.

Both kinds of work can be cut off by a kill at any moment. So each port tells what is true now (`states`, `image`), and every method may be
called again on what an earlier one left half done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ..ports import Process


class CudaState(StrEnum):
    """As the driver has it (CUprocessState)."""

    RUNNING = "running"
    LOCKED = "locked"
    CHECKPOINTED = "checkpointed"
    FAILED = "failed"


class Parker(Protocol):
    """The driver's checkpoint calls (CUDA 12.8, driver 570 and newer), made from a helper process: they can hang.

    Raises HostUnfit where this box cannot (no driver, too old, MIG), Unreachable or Deadline where the driver does not answer.
    """

    async def obstacle(self) -> str:
        """Why nothing can be parked on this box; empty where it can be tried."""

    async def states(self, processes: Sequence[Process]) -> Mapping[int, CudaState]:
        """By pid. A process without a CUDA context, or one that is gone, is missing."""

    async def lock(self, process: Process, seconds: float) -> None:
        """Its CUDA calls wait from here on, and those under way have ended. Raises Conflict when they did not within `seconds`: unlocked then."""

    async def checkpoint(self, process: Process) -> None:
        """A locked one's device memory is in the host's, and its cards are free of it. Raises NbdError with what the driver said; locked still."""

    async def restore(self, process: Process, moves: Mapping[str, str]) -> None:
        """Back onto its cards; `moves`: other cards of the same kind instead, by uuid. Locked after it. A failure leaves the checkpoint as it was."""

    async def unlock(self, process: Process) -> None: ...


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
        """The image is whole and on the disk, and the processes are gone. Raises NbdError: then it runs on as before, and nothing is left."""

    async def thaw(self, container: str, notebook: str) -> Process:
        """Its processes are back, from its image, which stays until `forget`. Raises NbdError: the image is as it was."""

    async def image(self, notebook: str) -> Image | None: ...

    async def images(self) -> Sequence[str]:
        """Ids of the notebooks that have one, whole or not."""

    async def forget(self, notebook: str) -> None:
        """Its image goes; absent is done."""
