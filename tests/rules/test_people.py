"""Who may: the whole table."""

from __future__ import annotations

import pytest

from nbd.errors import InvalidInput
from nbd.notebooks.model import checked_name
from nbd.people.access import Act, may, may_use
from nbd.people.model import Person

ADA = Person("ada", 1001, 1001, "/home/ada", groups=("ada", "vision"))
BOB = Person("bob", 1002, 1002, "/home/bob")
ROOT = Person("root", 0, 0, "/root", admin=True)


@pytest.mark.parametrize(
    ("person", "act", "allowed"),
    [
        (ADA, Act.SEE, True), (ADA, Act.CHANGE, True), (ADA, Act.ENTER, True),
        (BOB, Act.SEE, False), (BOB, Act.CHANGE, False), (BOB, Act.ENTER, False),
        (ROOT, Act.SEE, True), (ROOT, Act.CHANGE, True), (ROOT, Act.ENTER, False),
    ],
)  # fmt: skip
def test_adas_notebook(person: Person, act: Act, allowed: bool) -> None:  # noqa: FBT001 - a table's column
    assert may(person, act, "ada") is allowed


def test_profiles_for_groups() -> None:
    assert may_use(BOB, ())
    assert may_use(ADA, ("vision",))
    assert not may_use(BOB, ("vision",))
    assert may_use(ROOT, ("vision",))


@pytest.mark.parametrize("name", ["main", "a", "train-2", "a.b_c", "0", "x" * 40])
def test_names(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 300, "a\x00", "a\n", "\x1b[31m", "Ä", "A", "-a", "a-", ".", "..", " a", "a b", "a%2e"])
def test_no_names(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be called"):
        checked_name(name)
