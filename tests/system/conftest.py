"""People and images of the system tests' own: made once, gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .real_box import Person, account


@pytest.fixture(scope="session")
def ada() -> Iterator[Person]:
    with account("nbdtest-ada") as person:
        yield person
