"""What core asks of sync about attached data, as it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Attachment

NOTHING = "nothing"
"""Has to come down before a start: no hands are needed."""


@dataclass(frozen=True, slots=True)
class BringWish:
    """Said on the stream by which the folder is written."""

    attachment: Attachment


@dataclass(frozen=True, slots=True)
class Used:
    """These are in use by a notebook, and no others."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One attachment, which must be the person's."""

    person: str
    id: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """A person's attachments, and shared ones that they see."""

    person: str
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntrustWish:
    person: str
    url: str
    options: Mapping[str, str] = field(repr=False)
