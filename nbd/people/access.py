"""Who may do what to whose notebook: one pure function, asked by every door."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from .model import Person


class Act(StrEnum):
    SEE = "see"
    """Its facts: state, cards, times. Never a byte of its content."""
    CHANGE = "change"
    """Start, stop, delete."""
    ENTER = "enter"
    """Open the editor, read its log: everything the owner can do inside."""


def may(person: Person, act: Act, owner: str) -> bool:
    """People may do all to what is theirs. Admins may see and end what is not, and never enter it."""
    if person.name == owner:
        return True
    return person.admin and act is not Act.ENTER


def may_use(person: Person, groups: Sequence[str]) -> bool:
    """Whether a profile kept for `groups` is offered to `person`; no groups means everybody."""
    return not groups or person.admin or any(group in groups for group in person.groups)
