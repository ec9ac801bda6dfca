"""What is left out of snapshots: nbd's own defaults and the person's `.nbdignore`, in the syntax of .gitignore."""

from __future__ import annotations

import hashlib
import re

from pathspec import GitIgnoreSpec

from ..errors import InvalidInput

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


class IgnoreRules:
    def __init__(self, text: str = "", defaults: str = DEFAULTS) -> None:
        self._lines = [line for line in (*defaults.splitlines(), *text.splitlines()) if line]
        try:
            self._spec = GitIgnoreSpec.from_lines(self._lines)
        except ValueError as error:
            raise InvalidInput(f".nbdignore does not parse: {error}") from None
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
