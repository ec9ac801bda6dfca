"""The proxy over real sockets: what an editor says arrives, whole and in time; what goes wrong is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.world import ADA, World, world
from tests.fakes.editor import PIECE, SMALL


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as it:
        yield it


@pytest.fixture
def token(w: World) -> str:
    return w.core.sign_in("ada", ADA)


async def test_a_small_answer_arrives_as_it_was_said(w: World, token: str) -> None:
    for _ in range(3):
        async with w.ask("GET", w.origin() + "/small?a=%2e%2e&b", token) as answer:
            assert (answer.status, await answer.read(), answer.headers["X-Editor"]) == (200, SMALL, "yes")
    assert w.editor.seen[-1].raw_path == "/small?a=%2e%2e&b"
    assert w.editor.header("Host") == w.origin().removeprefix("http://")
