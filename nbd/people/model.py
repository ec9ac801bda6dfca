"""Who may: people, and the rights their browsers hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account on this box. `name` and `uid` come from the system's account database, never from a request."""

    name: str
    uid: int
    gid: int
    home: str
    admin: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A one-time link that was given out and not used yet: for a notebook's origin, or for the pages' (`notebook` is None)."""

    sha256: str
    uid: int
    expires: float
    notebook: str | None = None


@dataclass(frozen=True, slots=True)
class BrowserRight:
    """One browser's sign-in on one origin. The token stays in its cookie; here is only the token's SHA-256, in hex."""

    sha256: str
    uid: int
    expires: float
    """Seconds since the epoch."""
    notebook: str | None = None
