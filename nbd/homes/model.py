"""The nouns of homes: what is asked and known of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HomeRequest:
    """Whose home, and where it should be."""

    person: str
    uid: int
    path: str


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """What the folder is, read without following a link."""

    exists: bool
    is_folder: bool = False
    owner_uid: int = -1
    free_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HomeReady:
    path: str
    free_bytes: int
    total_bytes: int
