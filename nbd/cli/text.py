"""Values as a person reads them: moments, durations, sizes, and text from strangers made harmless. Pure."""

from __future__ import annotations

import re
import time
import unicodedata

MINUTE, HOUR, DAY = 60, 3600, 86400
GIB = 1024**3

# Names, log lines and failure texts are written by other people's programs. Whatever moves the cursor, recolours the terminal, reverses the
# reading direction or cannot be seen is shown as its escape instead of being obeyed; lone surrogates cannot be printed at all.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def safe(text: str) -> str:
    return UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape", "surrogatepass").decode("ascii")


def log_line(text: str) -> str:
    """A line of an editor's log, without its colours. Of a line that was overwritten in place (a progress bar) only the last state is kept."""
    last = text.rstrip("\r\n").rpartition("\r")[2]
    return safe(COLOURS.sub("", last).expandtabs(8))


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int, dots: str) -> str:
    """The text in at most `width` columns; `dots` end it where something is missing."""
    if cells(text) <= width:
        return text
    kept, room = "", width - len(dots)
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        kept += char
    return kept + dots if width >= len(dots) else ""


def size(count: int | None) -> str:
    return "" if count is None else f"{count / GIB:.1f} GiB"


def amount(count: int) -> str:
    """ "512 B", "3.4 KiB", "12 MiB"."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def used_of(used: int | None, total: int) -> str:
    return size(total) if used is None else f"{used / GIB:.1f} of {total / GIB:.1f} GiB"


def took(seconds: float) -> str:
    """ "80 ms", "1.3 s", "42 s", "3 min 20 s", "2 h 5 min", "4 days"."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return pair(whole, MINUTE, "min", "s")
    if whole < 2 * DAY:
        return pair(whole // MINUTE, 60, "h", "min")
    return f"{whole // DAY} days"


def running(seconds: float) -> str:
    """A duration that grows before one's eyes: it does not change its unit in the first seconds."""
    return f"{seconds:.1f} s" if seconds < 9.95 else took(seconds)


def pair(count: int, base: int, large: str, small: str) -> str:
    first, rest = divmod(count, base)
    return f"{first} {large} {rest} {small}" if rest else f"{first} {large}"


def ago(then: float | None, now: float) -> str:
    """ "just now", "42 s ago", "3 min ago", "5 h ago", "6 days ago", then the date."""
    if then is None:
        return ""
    passed = now - then
    if passed < 5:
        return "just now"
    for limit, unit, word in ((MINUTE, 1, "s"), (HOUR, MINUTE, "min"), (2 * DAY, HOUR, "h"), (14 * DAY, DAY, "days")):
        if passed < limit:
            return f"{passed // unit:.0f} {word} ago"
    return time.strftime("%Y-%m-%d", time.localtime(then))


def moment(then: float | None, now: float) -> str:
    """ "14:02 (3 min ago)", with the date where it is not today's."""
    if then is None:
        return ""
    local = time.localtime(then)
    today = local[:3] == time.localtime(now)[:3]
    return f"{time.strftime('%H:%M' if today else '%Y-%m-%d %H:%M', local)} ({ago(then, now)})"


def clock(then: float | None, now: float) -> str:
    """ "14:02"; with the day where it is not today's."""
    if then is None:
        return ""
    local = time.localtime(then)
    return time.strftime("%H:%M" if local[:3] == time.localtime(now)[:3] else "%Y-%m-%d %H:%M", local)


def span(seconds: float) -> str:
    """A length of time of which nobody counts the seconds: "4 s", "25 min", "2 h 10 min", "3 days"."""
    return took(seconds) if seconds >= HOUR else f"{round(seconds)} s" if round(seconds) < MINUTE else f"{seconds // MINUTE:.0f} min"


def ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def phases(times: dict[str, float]) -> str:
    return ", ".join(f"{phase} {took(seconds)}" for phase, seconds in times.items())
