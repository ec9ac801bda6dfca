"""What `cudapark.py` and its helper processes say to each other: one JSON line a message, in the form `wire` speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..notebooks.rest.ports import CudaState


class Act(StrEnum):
    OPEN = "open"
    """Load the driver's library, initialise it and look what it can do."""
    STATES = "states"
    LOCK = "lock"
    CHECKPOINT = "checkpoint"
    RESTORE = "restore"
    UNLOCK = "unlock"


@dataclass(frozen=True, slots=True)
class Target:
    """A process that cannot be mistaken for another."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Question:
    number: int
    act: Act
    targets: tuple[Target, ...] = ()
    milliseconds: int = 0
    """For LOCK: so long may its work take to end."""
    moves: Mapping[str, str] = field(default_factory=dict)
    """For RESTORE: old card to new card, by uuid."""
    seconds: float = 0.0
    """The helper kills itself when a call takes longer, also when nobody is left who would."""


@dataclass(frozen=True, slots=True)
class StateOf:
    pid: int
    state: CudaState


class Lack(StrEnum):
    """Why nothing can be asked at all."""

    LIBRARY = "library"
    """No libcuda.so.1: no NVIDIA driver, or one without its compute part."""
    OLD = "old"
    """A driver without these calls."""


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    """That of the question."""
    lack: Lack | None = None
    code: int = 0
    """CUresult; 0 is success."""
    name: str = ""
    """As the driver calls that: "CUDA_ERROR_OUT_OF_MEMORY"."""
    gone: bool = False
    """The process had ended."""
    version: int = 0
    """Of CUDA, as the driver has it: 13000 is 13.0."""
    states: tuple[StateOf, ...] = ()
