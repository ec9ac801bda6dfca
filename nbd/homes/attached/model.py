"""The nouns of attached data: a prefix of plain objects in a bucket, and the folder on this box that is kept like it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ..model import Seen


@dataclass(frozen=True, slots=True)
class Attachment:
    """One folder and its prefix, as core asks sync for it. Travels and is kept; holds no secret."""

    id: str
    person: str
    """Whose folder it is; empty for one copy that all share."""
    uid: int
    gid: int
    folder: str
    url: str
    """s3://bucket/prefix, az://container/prefix, gs://bucket/prefix: checked, without a slash at its end."""
    writable: bool
    own: bool
    """The person's wish, with their own keys or none; else the admin's, by a profile."""
    secrets: str = ""
    """The admin's file of credentials; empty: none."""


def id_of(person: str, uid: int, url: str, secrets: str, *, writable: bool) -> str:
    """The same wish has the same folder, whichever notebook asks. An account made anew under an old name has another."""
    text = "\n".join((person, str(uid), url, secrets, "rw" if writable else "ro"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Remote(NamedTuple):
    """An object as a listing shows it. `modified`: nanoseconds since the epoch."""

    size: int
    version: str
    modified: int


class Known(NamedTuple):
    """A file and an object that were seen to be the same. `mtime` below zero: the times could not vouch for the content."""

    path: str
    key: str
    """Where its content lies there: its path, but for the copy of a conflict."""
    version: str
    size: int
    mtime: int
    ctime: int
    ino: int
    digest: str
    """SHA-256 of the content."""

    def holds(self, seen: Seen) -> bool:
        return (self.size, self.mtime, self.ctime, self.ino) == (seen.size, seen.mtime, seen.ctime, seen.ino)


@dataclass(frozen=True, slots=True)
class Here:
    """What is in the folder. Paths are text; what has no text, and what is no file, is in `closed`."""

    files: Mapping[str, Seen] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    """By path: why neither this nor anything below it is carried."""
    folders: frozenset[str] = frozenset()
    leftovers: tuple[Seen, ...] = ()
    """What a killed writer left; each named by its whole path."""


@dataclass(frozen=True, slots=True)
class There:
    """What is below the prefix."""

    objects: Mapping[str, Remote] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    """By key: why just this one is not carried."""
    covered: Mapping[str, Remote] = field(default_factory=dict)
    """Of those, the ones that are left because objects lie below them too."""
    closed: Mapping[str, str] = field(default_factory=dict)
    """By key: why neither this nor anything below it is carried."""


class Do(StrEnum):
    FORGET = "forget"
    UPLOAD = "upload"
    MEET = "meet"
    """Both are there and differ, or may: the same content is no conflict; else what is here goes up as a second object."""
    DELETE_THERE = "delete there"
    DELETE_HERE = "delete here"
    DOWNLOAD = "download"


class Action(NamedTuple):
    do: Do
    path: str
    reason: str
    key: str = ""
    expected: str | None = None
    """The version that is replaced or deleted there; None: there is none."""
    remote: Remote | None = None
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    writable: bool
    confirmed: bool = False
    """A person said that what is gone may go."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order, so that a kill anywhere loses nothing."""

    actions: tuple[Action, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    """By name: why it is not carried."""
    withheld: str = ""
    """Why deletions wait for a person."""

    def of(self, *kinds: Do) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.do in kinds)
