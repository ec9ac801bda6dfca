"""What is left out of snapshots: nbd's own defaults and the person's `.nbdignore`, in the syntax of .gitignore."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping

from pathspec import GitIgnoreSpec

DEFAULTS = """
/.cache/
/.keras/datasets/
/.keras/models/
/.conda/pkgs/
/miniconda3/pkgs/
/anaconda3/pkgs/
/miniforge3/pkgs/
/mambaforge/pkgs/
/micromamba/pkgs/
/.npm/_cacache/
/.nv/ComputeCache/
/.triton/cache/
/.local/share/Trash/
.nbd/
.Trash-*/
__pycache__/
.ipynb_checkpoints/
"""
"""What can be had again, was thrown away, or is where `nbd dev` keeps everything (a store in a home would be a change after each save). Anchored
where a folder of that name elsewhere may be somebody's work."""
GROUP = re.compile(r"\(\?P<\w+>")
"""How a named group begins in the library's expressions; one name may not come twice in ours."""
ALWAYS = b".nbd-restore-"
"""Files that a restore is just writing."""
MOST_LINES, LONGEST_LINE = 1000, 1000
MOST_STARS, MOST_DEEP = 3, 2
"""In one line. Each more takes hundreds of times as long for a long name, and a match cannot be broken off: sync would stand still for everybody."""


class IgnoreRules:
    def __init__(self, text: str = "", defaults: str = DEFAULTS) -> None:
        """A line that is not understood is left out alone: with the others, what they keep away would come in."""
        own = text.splitlines()
        wrong = {number: why for number, line in enumerate(own[:MOST_LINES]) if (why := trouble_of(line))}
        self.trouble = told(own, wrong)
        self._lines = [line for line in defaults.splitlines() if line]
        self._lines += [line for number, line in enumerate(own[:MOST_LINES]) if line and number not in wrong]
        self._spec = GitIgnoreSpec.from_lines(self._lines)
        self._any = any_of(self._spec)
        self.digest = hashlib.sha256("\n".join(self._lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def ignored(self, path: bytes, *, folder: bool) -> bool:
        return bool(self.rule(path, folder=folder))

    def rule(self, path: bytes, *, folder: bool) -> str:
        """The line that leaves it out; empty where none does."""
        if path.rpartition(b"/")[2].startswith(ALWAYS):
            return ALWAYS.decode() + "*"
        # No pattern can name a newline, and none of theirs passes over one; a zero is in no name.
        text = path.decode("utf-8", "surrogateescape").replace("\n", "\0") + ("/" if folder else "")
        if self._any is not None and not self._any.match(text):
            return ""
        found = self._spec.check_file(text)
        return self._lines[found.index] if found.include and found.index is not None else ""


def any_of(spec: GitIgnoreSpec) -> re.Pattern[str] | None:
    """Matches whatever any line leaves out, and perhaps more: a million new files are asked about, and nearly none is. None: it cannot be said so."""
    patterns = [pattern.regex.pattern for pattern in spec.patterns if pattern.include and pattern.regex is not None]
    if not all(isinstance(pattern, str) and pattern.startswith("^") for pattern in patterns):
        return None
    return re.compile("|".join(f"(?:{GROUP.sub('(?:', pattern)})" for pattern in patterns) or r"(?!)")


def trouble_of(line: str) -> str:
    """Why nothing can be done with it; empty for a line that is a rule, a comment, or blank."""
    if line.startswith("#") or not line.strip():
        return ""
    parts = line.rstrip().split("/")
    if parts[:-1].count("**") > MOST_DEEP or sum(part.count("*") for part in parts if part not in ("*", "**")) > MOST_STARS:
        return "has too many stars"
    if len(line) > LONGEST_LINE:
        return "is too long"
    try:
        with warnings.catch_warnings(action="error"):
            read = GitIgnoreSpec.from_lines([line]).patterns
    except (ValueError, re.error, FutureWarning):
        return "is not understood"
    return "is not understood" if any(pattern.include is None for pattern in read) else ""


def told(own: list[str], wrong: Mapping[int, str]) -> str:
    """The first of the wrong lines, and how many they are."""
    beyond = [f"what follows line {MOST_LINES}"] if len(own) > MOST_LINES else []
    first = [f"line {number + 1} {why}: {own[number][:60]!r}" for number, why in wrong.items()][:1]
    others = [f"{len(wrong) - 1} more"] if len(wrong) > 1 else []
    return ", and ".join((*first, *others, *beyond))
