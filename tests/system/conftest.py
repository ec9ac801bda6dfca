"""A person of the system tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .real_box import Person, account


@pytest.fixture
def ada() -> Iterator[Person]:
    with account("nbdtest-ada") as person:
        yield person
