"""The last day of a notebook's evidence as lines of text: one for as many samples in a row as are alike, one for each step. Pure.

A line names its run, its boot and both clocks: the monotonic one says how long things took, the wall's how it is shown. What is in it is enough to
judge again under another policy (replay.py). A sample that is like no other costs some 80 bytes, so a day of ten-second samples fits into DAY_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .evidence import GRAIN, grained
from .model import Decision, Evidence, Mood, Sample, Signal, Step, Unknown
from .words import DAY_SECONDS

LETTERS = {
    Signal.GPU: "g", Signal.VRAM: "v", Signal.CPU: "c", Signal.DISK: "d", Signal.NETWORK: "n", Signal.KERNEL: "k", Signal.TERMINAL: "t",
    Signal.TYPING: "y", Signal.CLICK: "l", Signal.PROBE: "p", Signal.HEARTBEAT: "h", Signal.TAB: "b", Signal.KEEP: "e",
}  # fmt: skip
SIGNALS = {letter: signal for signal, letter in LETTERS.items()}
SOURCES = {"gpu": "g", "cgroup": "c", "editor": "e", "door": "d", "probe": "p"}
OTHER = "o"
SOURCE_OF = {letter: source for source, letter in SOURCES.items()} | {OTHER: "other"}
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MOODS = {Mood.ACTIVE: "A", Mood.IDLE: "I", Mood.UNKNOWN: "U"}
MOOD_OF = {letter: mood for mood, letter in MOODS.items()}
NAME = 12
"""Characters that are kept of a container and a boot: enough to tell two apart."""
TEXT = 200
MOST_BUSY = 9
NAME_BYTES = 24
UNEVEN = 0.1
"""Samples as far apart as the others, but for so much of that, are in one row."""
FLUSH_SECONDS = 60.0
"""A row that is still growing is written down so often: that much is lost when nbd is killed."""
DAY_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment by both clocks."""

    boot: str
    at: float
    wall: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """So many samples in a row, all alike and evenly apart."""

    run: str
    boot: str
    first: float
    last: float
    wall: float
    """Of the last."""
    count: int
    mood: Mood
    evidence: tuple[tuple[Signal, float], ...] = ()
    """The heaviest of each signal, in the order of LETTERS."""
    unknown: tuple[str, ...] = ()
    busy: int = 0
    """How many kernels said they were; more than MOST_BUSY are MOST_BUSY."""
    name: str = ""
    """Of the first of them, as far as NAME_BYTES reach."""

    @property
    def spacing(self) -> float:
        return (self.last - self.first) / (self.count - 1) if self.count > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Happened:
    """A step that was announced or done."""

    run: str
    boot: str
    at: float
    wall: float
    step: Step
    reason: str
    next: Step
    text: str


Entry = Stretch | Happened


def seen(run: str, stamp: Stamp, sample: Sample, mood: Mood) -> Stretch:
    weights: dict[Signal, float] = {}
    for item in sample.evidence:
        weights[item.signal] = max(weights.get(item.signal, 0.0), grained(item.weight))
    evidence = tuple((signal, weights[signal]) for signal in LETTERS if signal in weights)
    unknown = tuple(dict.fromkeys(item.source if item.source in SOURCES else "other" for item in sample.unknown))
    name = _printable(sample.busy[0]).encode()[:NAME_BYTES].decode(errors="ignore") if sample.busy else ""
    busy = min(MOST_BUSY, len(sample.busy))
    return Stretch(run[:NAME], stamp.boot[:NAME], sample.at, sample.at, stamp.wall, 1, mood, evidence, unknown, busy, name)


def happened(run: str, stamp: Stamp, decision: Decision) -> Happened:
    text = _printable(decision.text)[:TEXT]
    return Happened(run[:NAME], stamp.boot[:NAME], stamp.at, stamp.wall, decision.step, decision.reason, decision.next, text)


def _printable(text: str) -> str:
    """On one line; also without what cannot be written as UTF-8."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def noted(growing: Stretch | None, new: Stretch) -> tuple[Stretch | None, tuple[bytes, ...]]:
    """The row that still grows, and what is to be written down."""
    row = new if growing is None else joined(growing, new)
    if row is None:
        return new, (encode(growing),) if growing else ()
    return (None, (encode(row),)) if row.last - row.first >= FLUSH_SECONDS else (row, ())


def joined(one: Stretch, next_one: Stretch) -> Stretch | None:
    """Both as one; None where they are not alike, or not as far apart as their samples are."""
    if _frame(one) != _frame(next_one):
        return None
    steps = [spacing for spacing in (one.spacing, next_one.spacing, next_one.first - one.last) if spacing]
    if next_one.first <= one.last or max(steps) > min(steps) * (1 + UNEVEN):
        return None
    return replace(one, last=next_one.last, wall=next_one.wall, count=one.count + next_one.count)


def _frame(row: Stretch) -> tuple[object, ...]:
    return row.run, row.boot, row.mood, row.evidence, row.unknown, row.busy, row.name


def encode(entry: Entry) -> bytes:
    """One line, without its end."""
    if isinstance(entry, Happened):
        head = f"! {entry.run or '-'} {entry.boot or '-'} {entry.at:.3f} {entry.wall:.0f} {entry.step} {entry.reason or '-'} {entry.next}"
        return f"{head} {entry.text}".encode()
    weights = "".join(LETTERS[signal] + DIGITS[min(len(DIGITS) - 1, round(weight * GRAIN))] for signal, weight in entry.evidence)
    unknown = "".join(SOURCES.get(source, OTHER) for source in entry.unknown)
    frame = f"{MOODS[entry.mood]}{entry.busy}{weights}/{unknown}"
    length = "1" if entry.count == 1 else f"{entry.count}*{entry.last - entry.first:.3f}"
    return f"{entry.run or '-'} {entry.boot or '-'} {entry.first:.3f} {entry.wall:.0f} {frame} {length} {entry.name}".encode()


def decode(line: bytes) -> Entry | None:
    """None for a line that was cut off, or is none of these."""
    try:
        text = line.decode().rstrip("\n")
        return _step(text) if text.startswith("! ") else _stretch(text)
    except (ValueError, KeyError, IndexError):
        return None


def _step(text: str) -> Happened:
    _, run, boot, at, wall, step, reason, following, *rest = text.split(" ", 8)
    return Happened(run.strip("-"), boot, float(at), float(wall), Step(step), "" if reason == "-" else reason, Step(following), "".join(rest))


def _stretch(text: str) -> Stretch:
    run, boot, first, wall, frame, length, name = text.split(" ", 6)
    count, _, seconds = length.partition("*")
    weights, _, unknown = frame[2:].partition("/")
    evidence = tuple((SIGNALS[letter], DIGITS.index(digit) / GRAIN) for letter, digit in zip(weights[::2], weights[1::2], strict=True))
    begin, number = float(first), int(count)
    if number < 1:
        raise ValueError("a row of nothing")
    sources = tuple(SOURCE_OF[letter] for letter in unknown)
    row = Stretch(run, boot, begin, begin + float(seconds or 0), float(wall), number, MOOD_OF[frame[0]])
    return replace(row, evidence=evidence, unknown=sources, busy=int(frame[1]), name=name)


def entries(lines: Iterable[bytes]) -> tuple[Entry, ...]:
    """What the lines say, rows joined that were written down in parts; what cannot be read is left out."""
    found: list[Entry] = []
    for line in lines:
        entry = decode(line)
        if entry is None:
            continue
        last = found[-1] if found else None
        row = joined(last, entry) if isinstance(last, Stretch) and isinstance(entry, Stretch) else None
        if row:
            found[-1] = row
        else:
            found.append(entry)
    return tuple(found)


def recent(lines: Sequence[bytes], now: Stamp) -> tuple[bytes, ...]:
    """The lines of the last day, joined, oldest first, and of these only as many of the newest as DAY_BYTES hold."""
    kept: list[bytes] = []
    room = DAY_BYTES
    for entry in reversed(entries(lines)):
        line = encode(entry)
        room -= len(line) + 1
        if room < 0:
            break
        if age(entry, now) <= DAY_SECONDS:
            kept.append(line)
    return tuple(reversed(kept))


def age(entry: Entry, now: Stamp) -> float:
    """By the monotonic clock where that is the same, which nobody sets. A moment of another boot that is still to come is as wrong as it is far."""
    end = entry.last if isinstance(entry, Stretch) else entry.at
    return now.at - end if entry.boot == now.boot[:NAME] else abs(now.wall - entry.wall)


def samples(row: Stretch) -> Iterator[Sample]:
    """As they were judged, but for their words."""
    evidence = tuple(Evidence(signal, weight, signal.value) for signal, weight in row.evidence)
    unknown = tuple(Unknown(source, "") for source in row.unknown)
    busy = (row.name, *(f"kernel {number + 2}" for number in range(row.busy - 1))) if row.busy else ()
    for number in range(row.count):
        yield Sample(row.first + number * row.spacing, row.spacing, evidence, unknown, busy)
