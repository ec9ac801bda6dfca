"""One output stream and what it can show: tables, bars, colour, and lines that are redrawn while something happens.

Every text goes through `Screen.line`, which neutralises control characters: no caller can forget it. What nbctl itself wrote (help, completion
scripts) goes through `Screen.raw`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from .text import cells, cut, safe

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "alarm": "1;30;43"}
ERASE_LINE, HIDE_CURSOR, SHOW_CURSOR = "\x1b[K", "\x1b[?25l", "\x1b[?25h"
OTHER_SCREEN, BACK = "\x1b[?1049h\x1b[H", "\x1b[?1049l"
GAP = "  "


class Cell(NamedTuple):
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Screen:
    stream: TextIO
    terminal: bool
    """A person looks at it and the cursor can be moved."""
    colour: bool
    unicode: bool

    @classmethod
    def on(cls, stream: TextIO, env: Mapping[str, str]) -> Screen:
        terminal = stream.isatty() and env.get("TERM", "dumb") != "dumb"
        locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
        # Under LANG=C Python speaks UTF-8 all the same, but the terminal of a person who set that need not.
        fancy = "utf" in locale.lower() and "utf" in (stream.encoding or "").lower()
        return cls(stream, terminal, terminal and not env.get("NO_COLOR"), fancy)

    @property
    def width(self) -> int:
        """Columns; 0 where lines may be as long as they like."""
        if not self.stream.isatty():
            return 0
        try:
            return os.get_terminal_size(self.stream.fileno()).columns
        except OSError:
            return 0

    @property
    def height(self) -> int:
        return os.get_terminal_size(self.stream.fileno()).lines or 24

    @property
    def dots(self) -> str:
        return "…" if self.unicode else "..."

    def line(self, *parts: Cell | str) -> str:
        """The parts side by side, cut at the screen's edge."""
        made, room = "", self.width or 1_000_000
        for part in parts:
            cell = Cell(part) if isinstance(part, str) else part
            text = cut(safe(cell.text), room, self.dots)
            room -= cells(text)
            made += self.painted(text, cell.style)
        return made

    def painted(self, text: str, style: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and text and self.colour else text

    def say(self, *parts: Cell | str) -> None:
        self.raw(self.line(*parts))

    def tell(self, text: str, style: str = "") -> None:
        """A sentence, whole however long: the terminal wraps it."""
        self.raw(self.painted(safe(text), style))

    def raw(self, text: str) -> None:
        """Text of nbctl's own making, or already made by `line`."""
        self.stream.write(text + "\n")

    def say_all(self, lines: Iterator[str] | Sequence[str]) -> None:
        for line in lines:
            self.raw(line)

    def bar(self, fraction: float, width: int = 20) -> str:
        full, empty = ("█", "░") if self.unicode else ("#", ".")
        filled = round(min(max(fraction, 0.0), 1.0) * width)
        return full * filled + empty * (width - filled)


def table(screen: Screen, head: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> Iterator[str]:
    """Lines of an aligned table. A head that begins with ">" makes its column flush right; a column without any content is left out."""
    body = [[Cell(safe(cell)) if isinstance(cell, str) else Cell(safe(cell.text), cell.style) for cell in row] for row in rows]
    shown = [number for number in range(len(head)) if any(row[number].text for row in body)]
    widths = {number: max(cells(head[number].lstrip(">")), *(cells(row[number].text) for row in body)) for number in shown}
    titles = [Cell(title.lstrip(">"), "dim") for title in head]
    for row in (titles, *body):
        yield screen.line(*_aligned(row, head, widths)).rstrip()


def _aligned(row: Sequence[Cell], head: Sequence[str], widths: Mapping[int, int]) -> Iterator[Cell | str]:
    last = max(widths, default=0)
    for number, width in widths.items():
        cell, padding = row[number], " " * (width - cells(row[number].text))
        if number != next(iter(widths)):
            yield GAP
        if head[number].startswith(">"):
            yield from (padding, cell)
        else:
            yield cell
            yield padding if number != last else ""


def facts(screen: Screen, pairs: Sequence[tuple[str, Cell | str]]) -> Iterator[str]:
    """A name and a value a line; those without a value are left out."""
    told = [(name, value) for name, value in pairs if (value if isinstance(value, str) else value.text)]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        cell = value if isinstance(value, Cell) else Cell(value)
        yield GAP + screen.painted(name.ljust(width), "dim") + GAP + screen.painted(safe(cell.text), cell.style)


class Live:
    """Some lines at the bottom of a terminal, or the whole of it, that are redrawn in place and gone when it closes.

    On anything that is not a terminal it shows nothing.
    """

    def __init__(self, screen: Screen, *, shown: bool, whole: bool = False) -> None:
        self.screen = screen
        self.whole = whole
        self.shown = shown and screen.terminal
        self._drawn = 0

    def __enter__(self) -> Live:
        if self.shown:
            self._write(HIDE_CURSOR + (OTHER_SCREEN if self.whole else ""))
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.draw([])
            self._write((BACK if self.whole else "") + SHOW_CURSOR)

    def draw(self, lines: Sequence[str]) -> None:
        if not self.shown:
            return
        room = self.screen.height - 1
        lines = lines[:room] if self.whole else lines[-room:]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        left = "\x1b[J" if len(lines) < self._drawn else ""
        # The terminal echoes a Ctrl-C as "^C" where the cursor is: begin at the margin.
        self._write("\r" + up + "".join(f"{line}{ERASE_LINE}\n" for line in lines) + left)
        self._drawn = len(lines)

    def _write(self, text: str) -> None:
        self.screen.stream.write(text)
        self.screen.stream.flush()
