"""What is left out of snapshots: the defaults, each where it belongs, and what a person adds to them or takes from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from nbd.host.ignores import DEFAULTS, IgnoreRules

NAMES = st.sampled_from(["a", "b.tmp", ".cache", "__pycache__", ".nbd", ".Trash-1000", "x y", "deep", "dätä", "pkgs", ".conda", "new\nline"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
LINES = st.sampled_from(["*.tmp", "/deep/", "!/.cache/", "a", "**/x y", "deep/**/a", "# no", "", "!b.tmp", "/*", "d*/", "[ab]", "\\#", "a/**", "**"])


@pytest.mark.parametrize(
    ("path", "out"),
    [
        (b".cache", True), (b"work/.cache", False), (b"cache", False), (b".keras/datasets", True), (b".keras", False), (b".keras/keras.json", False),
        (b".conda/pkgs", True), (b".conda/envs", False), (b"miniconda3/pkgs", True), (b"work/miniconda3/pkgs", False), (b".npm/_cacache", True),
        (b".local/share/Trash", True), (b".local/share", False), (b"disk/.Trash-1000", True), (b"a/b/__pycache__", True),
        (b"a/.ipynb_checkpoints", True), (b"checkpoints", False), (b".nbd-restore-1234", True), (b"a/.nbd-restore-x", True), (b".nbdignore", False),
        (b"\xff/__pycache__", True), (b"a\n/__pycache__", True),
    ],
)  # fmt: skip
def test_defaults(path: bytes, out: bool) -> None:  # noqa: FBT001
    assert IgnoreRules().ignored(path, folder=True) is out


def test_a_file_of_a_folders_name_is_kept() -> None:
    rules = IgnoreRules()
    for name in (b".cache", b"a/__pycache__", b".conda/pkgs"):
        assert not rules.ignored(name, folder=False)


def test_a_persons_own_lines_come_last_and_say_which_they_are() -> None:
    rules = IgnoreRules("# mine\n\n/data/raw/\n*.tmp\n!keep.tmp\n!/.cache/\n")
    assert rules.rule(b"data/raw", folder=True) == "/data/raw/"
    assert rules.rule(b"a/b.tmp", folder=False) == "*.tmp"
    assert rules.rule(b"a/__pycache__", folder=True) == "__pycache__/"
    for kept, folder in ((b"keep.tmp", False), (b".cache", True), (b"work/data/raw", True)):
        assert not rules.ignored(kept, folder=folder)


def test_the_digest_is_of_what_counts() -> None:
    assert IgnoreRules("*.tmp\n").digest == IgnoreRules("\n*.tmp\n\n").digest
    assert len({IgnoreRules(text).digest for text in ("", "*.tmp", "*.tmp\n!*.tmp")}) == 3


@pytest.mark.parametrize("line", ["!", "[z-a", "[z-a]", "a/[z-a]b", "[", "foo\\", "/", "[[:alpha:]]x", "*a*a*a*a*b", "**/a/**/b/**/c", "x" * 2000])
def test_a_line_that_is_not_understood_is_said_and_left_out_alone(line: str) -> None:
    rules = IgnoreRules(f"*.tmp\n\n{line}\n/data/\n")
    assert rules.trouble.startswith("line 3 ")
    assert rules.ignored(b"a.tmp", folder=False)
    assert rules.ignored(b"data", folder=True)
    assert rules.rule(b"data", folder=True) == "/data/"
    assert not rules.ignored(b"a" * 250, folder=False)
    assert rules.digest == IgnoreRules("*.tmp\n/data/\n").digest


def test_of_many_wrong_lines_the_first_is_told() -> None:
    assert IgnoreRules("!\n[z-a]\n[\n").trouble == "line 1 is not understood: '!', and 2 more"
    assert IgnoreRules("*.tmp\n" * 1500).trouble == "what follows line 1000"


def test_what_is_no_rule_is_no_trouble() -> None:
    assert IgnoreRules("# *****  ***** [z-a]\n   \n\n*_*_*.csv\n*/*/*/*/*.py\n**/a/**/b/**\n").trouble == ""


@given(st.lists(LINES, max_size=5), PATHS, st.booleans())
def test_the_short_cut_past_the_rules_says_what_they_say(lines: list[str], path: str, folder: bool) -> None:  # noqa: FBT001 - drawn
    rules = IgnoreRules("\n".join(lines))
    spec = GitIgnoreSpec.from_lines([*DEFAULTS.splitlines(), *lines])
    text = path.replace("\n", "\0") + ("/" if folder else "")
    assert rules.ignored(path.encode(), folder=folder) == bool(spec.match_file(text))


@pytest.mark.parametrize("lines", ["", "*.tmp\n", "!*\n"])
def test_there_is_a_short_cut(lines: str) -> None:
    assert IgnoreRules(lines)._any is not None


@given(st.text(st.sampled_from("ab*?[]!/\\#-^ .\n"), max_size=40))
def test_no_text_is_an_error(text: str) -> None:
    """Of a person's file: what raises would end the protection of their home."""
    rules = IgnoreRules(text)
    assert rules.ignored(b"a/b", folder=False) in (True, False)
    assert not rules.trouble or "line" in rules.trouble
