"""The short cut past the rules says what the rules say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from nbd.host.ignores import DEFAULTS, IgnoreRules

NAMES = st.sampled_from(["a", "b.tmp", ".cache", "__pycache__", ".nbd", ".Trash-1000", "x y", "deep", "dätä", "pkgs", ".conda", "new\nline"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
LINES = st.sampled_from(["*.tmp", "/deep/", "!/.cache/", "a", "**/x y", "deep/**/a", "# no", "", "!b.tmp", "/*", "d*/", "[ab]", "\\#", "a/**", "**"])


@given(st.lists(LINES, max_size=5), PATHS, st.booleans())
def test_as_the_library_says(lines: list[str], path: str, folder: bool) -> None:  # noqa: FBT001 - drawn
    rules = IgnoreRules("\n".join(lines))
    spec = GitIgnoreSpec.from_lines([*DEFAULTS.splitlines(), *lines])
    text = path.replace("\n", "\0") + ("/" if folder else "")
    assert rules.ignored(path.encode(), folder=folder) == bool(spec.match_file(text))


@pytest.mark.parametrize("lines", ["", "*.tmp\n", "!*\n"])
def test_there_is_a_short_cut(lines: str) -> None:
    assert IgnoreRules(lines)._any is not None
