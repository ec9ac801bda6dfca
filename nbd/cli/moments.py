"""A moment as a person says it, by the clock of the terminal it was typed in. Pure but for that clock's zone."""

from __future__ import annotations

import datetime
import re

from ..errors import InvalidInput

CLOCKS = ("%H:%M", "%H:%M:%S")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UNITS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400, "week": 604800}
HINT = 'such as 14:05, "yesterday 14:05", monday, 2026-11-20, "2026-11-20 14:05", or how long ago: 90min'


def moment_of(text: str, now: float) -> float:
    """Seconds since the epoch. A time without a day is the last one that was; a day without a time is its end: all that was there on that day.

    Raises InvalidInput for what is no moment, and for one that is still to come.
    """
    found = ago(text, now)
    if found is None:
        found = iso(text)
    if found is None:
        found = said(text.strip().lower(), now)
    if found is None:
        raise InvalidInput(f"{text!r} is no moment", hint=HINT, code="wrong_use")
    return found


def ago(text: str, now: float) -> float | None:
    """ "90min", "2 days ago"."""
    match = re.fullmatch(r"(\d{1,9})\s*([a-z]+?)s?(\s+ago)?", text.strip().lower())
    if match is None or match[2] not in UNITS:
        # "90 s" lost its s to the plural.
        match = re.fullmatch(r"(\d{1,9})\s*(s)(\s+ago)?", text.strip().lower())
    return None if match is None else now - int(match[1]) * UNITS[match[2]]


def span_of(text: str) -> float:
    """Seconds of "90s", "30min", "2h", "1h30min", "2 days". Raises InvalidInput for what is no length of time."""
    parts = re.findall(r"(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]+)", text.strip().lower())
    said = re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,3})?\s*[a-z]+\s*)+", text.strip().lower())
    units = [unit if unit in UNITS else unit.removesuffix("s") for _, unit in parts]
    if said is None or any(unit not in UNITS for unit in units):
        raise InvalidInput(f"{text!r} is no length of time", hint="such as 30min, 2h or 1h30min", code="wrong_use")
    return sum(float(count) * UNITS[unit] for (count, _), unit in zip(parts, units, strict=True))


def iso(text: str) -> float | None:
    """ "2026-11-20", "2026-11-20 14:05", "2026-11-20T14:05:00+01:00"."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return end_of(datetime.date.fromisoformat(text))
        return datetime.datetime.fromisoformat(text).timestamp() if re.match(r"\d{4}-\d\d-\d\d[ T]\d", text) else None
    except ValueError:
        return None


def said(text: str, now: float) -> float | None:
    """ "14:05", "yesterday", "monday 9:00"."""
    today = datetime.datetime.fromtimestamp(now).date()  # noqa: DTZ006 - the person's own clock
    word, _, rest = text.partition(" ")
    day = day_of(word, today)
    clock = clock_of(rest if day else text)
    if day is None and clock is None:
        return None
    if day is not None and not rest:
        return min(now, end_of(day))
    if clock is None:
        return None
    then = datetime.datetime.combine(day or today, clock).timestamp()
    if day is None and then > now:
        then = datetime.datetime.combine(today - datetime.timedelta(days=1), clock).timestamp()
    return then


def day_of(word: str, today: datetime.date) -> datetime.date | None:
    if word in ("today", "yesterday"):
        return today - datetime.timedelta(days=word == "yesterday")
    full = [number for number, name in enumerate(DAYS) if word in (name, name[:3])]
    # The last one before today: whoever means today says so.
    return today - datetime.timedelta(days=(today.weekday() - full[0] - 1) % 7 + 1) if full else None


def clock_of(text: str) -> datetime.time | None:
    for form in CLOCKS:
        try:
            return datetime.datetime.strptime(text.strip(), form).time()  # noqa: DTZ007 - the person's own clock
        except ValueError:
            continue
    return None


def end_of(day: datetime.date) -> float:
    return datetime.datetime.combine(day, datetime.time(23, 59, 59, 999_999)).timestamp()
