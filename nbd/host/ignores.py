"""What is left out of snapshots: nbd's own defaults and the person's `.nbdignore`, in the syntax of .gitignore."""

from __future__ import annotations

import hashlib

from pathspec import GitIgnoreSpec

from ..errors import InvalidInput

DEFAULTS = """
.cache/
.conda/pkgs/
.npm/_cacache/
.local/share/Trash/
__pycache__/
.ipynb_checkpoints/
"""
ALWAYS = b".nbd-restore-"
"""Files that a restore is just writing."""


class IgnoreRules:
    def __init__(self, text: str = "", defaults: str = DEFAULTS) -> None:
        lines = [*defaults.splitlines(), *text.splitlines()]
        try:
            self._spec = GitIgnoreSpec.from_lines(lines)
        except ValueError as error:
            raise InvalidInput(f".nbdignore does not parse: {error}") from None
        self.digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def ignored(self, path: bytes, *, folder: bool) -> bool:
        if path.rpartition(b"/")[2].startswith(ALWAYS):
            return True
        return self._spec.match_file(path.decode("utf-8", "surrogateescape") + ("/" if folder else ""))
