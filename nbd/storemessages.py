"""What is said on the sockets about the store of snapshots: who asks is an admin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrafficView:
    """Requests of one kind since `nbd sync` came up, each try by itself. `seconds` add up what ran side by side."""

    kind: str
    requests: int
    errors: int
    sent_bytes: int
    received_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StorageView:
    where: str
    key_file: str
    key_name: str
    """Which master key it is: the name that stands in the config of each home. A copy in the safe that has another name is another key."""
    rotating: bool
    """A rotation of the master key was begun and has not ended."""
    traffic: tuple[TrafficView, ...] = ()


@dataclass(frozen=True, slots=True)
class RotationView:
    homes: int
    """Under the new key."""
    failed: tuple[str, ...]
    """Whose home is not, and why. The former key is kept until none is left."""
    key_file: str
    key_name: str


@dataclass(frozen=True, slots=True)
class PolicyView:
    """The least that lets nbd keep one person's snapshots, or everybody's."""

    whose: str
    """An account's name; empty for nbd sync itself, which keeps them all."""
    place: str
    document: str
    """For S3: an IAM policy, JSON. Empty where there is no such thing."""
    steps: tuple[str, ...]
    """What an admin does, command by command."""
