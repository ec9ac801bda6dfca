"""What was asked of the store, in numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Count:
    """Of one kind of request: create, replace, fetch, read, list, delete. Tries count one by one. `errors`: no answer, or a denial; that something
    is not there, or was changed by another, is an answer. `sent` and `received` are bytes of objects; `seconds` add up what ran side by side."""

    requests: int = 0
    errors: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


Counts = dict[str, Count]
