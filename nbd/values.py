"""How a value is written in a settings file or a profile: texts to values, each with what is wrong in a sentence that follows its key. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import field
from typing import Any

Parse = Callable[[Any], Any]

SIZE_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
MOST = 1_000_000_000
"""Of anything that is counted; far below what the programs behind us can hold."""
UNLIMITED = "unlimited"
LEAST_RATE = 64 << 10
DAY_MINUTES = 24 * 60
NEVER = "none"
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Moment = tuple[frozenset[int], int]
"""Days of the week, and the minute of them."""
LEAST_PACE, MOST_PACE = 0.5, 300.0
Span = tuple[int, int]
Hours = tuple[int, int, int | None]
"""From this minute of the day to that one so many bytes a second; None: no limit."""
TIME_UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}


def size(value: Any) -> int:
    """ "12GiB" -> bytes."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*([KMGT]iB|B)?", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a size such as "512MiB" or "12GiB"')
    return int(float(match[1]) * SIZE_UNITS[match[2] or ""])


def room(value: Any) -> int:
    """A size that something has to fit in: for none at all, Podman would set no limit."""
    if size(value) < SIZE_UNITS["MiB"]:
        raise ValueError('must be "1MiB" or more')
    return size(value)


def shares(value: Any) -> tuple[tuple[str, int], ...]:
    """ ["ada=500GiB", "eve=none"] -> each name with its size; 0 for none."""
    parted = [item.partition("=") for item in texts(value)]
    if not all(name and mark for name, mark, _ in parted):
        raise ValueError('must be a list of names and sizes, such as ["ada=500GiB", "eve=none"]')
    return tuple((name.strip(), 0 if given.strip() == "none" else room(given.strip())) for name, _, given in parted)


def price(value: Any) -> str:
    """ "0.02 USD/GB-month", as providers write it."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,9}(\.\d{1,9})? [A-Z]{3}/(GB|GiB)-month", value):
        raise ValueError('must be a price such as "0.02 USD/GB-month"')
    return value


def rate(value: Any) -> int | None:
    """ "20MiB" -> bytes a second; "unlimited" -> None. What is less than LEAST_RATE would never end."""
    if value == UNLIMITED:
        return None
    try:
        found = size(value)
    except ValueError:
        found = 0
    if found < LEAST_RATE:
        raise ValueError(f'must be "{UNLIMITED}", or so much a second: "64KiB" or more')
    return found


def rates(value: Any) -> tuple[Hours, ...]:
    """ "08:00-18:00 5MiB, 18:00-08:00 unlimited" -> minutes of the day and bytes a second. No two may overlap; what is left out is left open."""
    parts = [part.strip() for part in text(value).split(",")] if value else []
    found: list[Hours] = []
    for part in parts:
        match = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)\s+(\S+)", part)
        if match is None:
            raise ValueError(f'"{part}" must be hours and a rate, such as "08:00-18:00 5MiB"')
        start, end = (60 * int(hour) + int(minute) for hour, minute in ((match[1], match[2]), (match[3], match[4])))
        if max(start, end) > DAY_MINUTES or max(int(match[2]), int(match[4])) > 59 or start == end:
            raise ValueError(f'"{part}": hours go from 00:00 to 24:00, and from one to another')
        try:
            found.append((start % DAY_MINUTES, end, rate(match[5])))
        except ValueError as error:
            raise ValueError(f'"{part}": the rate {error}') from None
    for number, one in enumerate(found):
        for other, before in zip(found[:number], parts, strict=False):
            if minutes(one) & minutes(other):
                raise ValueError(f'"{parts[number]}" overlaps with "{before}"')
    return tuple(found)


def minutes(hours: Hours) -> frozenset[int]:
    start, end, _ = hours
    return frozenset(range(start, end)) if start < end else frozenset(range(start, DAY_MINUTES)) | frozenset(range(end))


def duration(value: Any) -> float:
    """ "30min" -> seconds."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|min|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a time such as "20s", "30min" or "8h"')
    return float(match[1]) * TIME_UNITS[match[2]]


def some_time(value: Any) -> float:
    """A time that is longer than nothing."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("must be longer than nothing")
    return seconds


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")
    return value


def longest(value: Any) -> float:
    """A time that is longer than nothing; "none" -> infinite."""
    return math.inf if value == NEVER else some_time(value)


def pace(value: Any) -> float:
    """How often something is sampled."""
    if not LEAST_PACE <= duration(value) <= MOST_PACE:
        raise ValueError('must be a time from "500ms" to "5min"')
    return duration(value)


def spans(value: Any) -> tuple[Span, ...]:
    """ "22:00-07:00, 12:00-13:00" -> minutes of the day, from and to; the end is not in it. Those over midnight end before they begin."""
    found: list[Span] = []
    for part in (part.strip() for part in text(value).split(",")) if value else ():
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", part)
        start, end = (60 * int(match[1]) + int(match[2]), 60 * int(match[3]) + int(match[4])) if match else (0, 0)
        if match is None or end > DAY_MINUTES or start == end % DAY_MINUTES:
            raise ValueError(f'"{part}" must be hours, such as "22:00-07:00"')
        found.append((start, end % DAY_MINUTES))
    return tuple(found)


def times(value: Any) -> tuple[Moment, ...]:
    """ "mon-fri 08:30, sat 10:00" -> days of the week (Monday is 0) and the minute of the day; without days, every day."""
    found: list[Moment] = []
    for part in (part.strip() for part in text(value).split(",")) if value else ():
        match = re.fullmatch(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?([01]\d|2[0-3]):([0-5]\d)", part)
        first, last = (match[1] or "mon", match[2] or match[1] or "sun") if match else ("", "")
        if match is None or first not in WEEK or last not in WEEK:
            raise ValueError(f'"{part}" must be days and a time, such as "mon-fri 08:30"')
        begin, days = WEEK.index(first), (WEEK.index(last) - WEEK.index(first)) % 7 + 1
        found.append((frozenset((begin + day) % 7 for day in range(days)), 60 * int(match[3]) + int(match[4])))
    return tuple(found)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise ValueError(f"must be a whole number, 0 to {MOST}")
    return value


def some(value: Any) -> int:
    """A limit: 0 would be none."""
    if count(value) == 0:
        raise ValueError(f"must be a whole number, 1 to {MOST}")
    return count(value)


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MOST:  # not a number is neither
        raise ValueError(f"must be a number above 0, up to {MOST}")
    return float(value)


def texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('must be a list of texts, such as ["a", "b"]')
    return tuple(value)


def one_of(*words: str) -> Parse:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError("must be one of " + ", ".join(f'"{word}"' for word in words))
        return str(value)

    return parse


def address(value: Any) -> str:
    """ "127.0.0.1:8686" or "[::1]:8686"."""
    match = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", value) if isinstance(value, str) else None
    if match is None or int(match[1]) > 65535:
        raise ValueError('must be an address and a port, such as "127.0.0.1:8686"')
    return str(value)


def setting(shown: Any, parse: Parse, help_text: str) -> Any:
    """A settings field. `shown` is the default as an admin would write it in the file; None means "no value" and must be written out to be set."""
    default = None if shown is None else parse(list(shown) if isinstance(shown, tuple) else shown)
    return field(default=default, metadata={"parse": parse, "help": help_text, "shown": shown})


def required(parse: Parse, help_text: str) -> Any:
    return field(metadata={"parse": parse, "help": help_text, "shown": None})
