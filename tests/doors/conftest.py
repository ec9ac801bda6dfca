"""A web door for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.world import ADA, World, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as it:
        yield it


@pytest.fixture
def token(w: World) -> str:
    """Ada's right to her notebook's origin."""
    return w.core.sign_in("ada", ADA)


@pytest.fixture
def pages_token(w: World) -> str:
    """Ada's right to the pages."""
    return w.core.sign_in("ada")
