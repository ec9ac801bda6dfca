"""The page of a notebook whose home cannot be brought back: it says why, and offers to start on the home as it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from nbd.messages import FailureView, NotebookView, Progress
from tests.doors.test_pages import get, post
from tests.doors.world import ADA, World
from tests.fakes.core_api import notebook

WORDS = "Start on the home as it is"
FAILED = replace(notebook(ADA, "ada", "fold", "ERROR"), failure=FailureView("home_not_back", "the store is away", "wait for it"))
WAITS = replace(notebook(ADA, "ada", "fold", "STARTING"), progress=Progress("store", "waiting, and trying again: the store is away"))


async def until_page(w: World, token: str, words: str) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    while words not in await get(w, f"/notebooks/{ADA}", token):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("view", [FAILED, WAITS], ids=["failed", "waits"])
async def test_it_may_be_started_on_as_it_is(w: World, pages_token: str, view: NotebookView) -> None:
    assert WORDS not in await get(w, f"/notebooks/{ADA}", pages_token)
    w.core.put(view)
    await until_page(w, pages_token, WORDS)
    assert (await post(w, f"/notebooks/{ADA}/start", pages_token, empty_home="1"))[1] == f"/notebooks/{ADA}?then=open"
    assert w.core.calls == ["start ada/fold cpu-small None True as it is"]


@pytest.mark.parametrize("phase", ["home", "image"])
async def test_what_goes_on_well_offers_no_such_thing(w: World, pages_token: str, phase: str) -> None:
    w.core.put(replace(WAITS, progress=Progress(phase, "going well", 0.5)))
    await until_page(w, pages_token, "50 %")
    assert WORDS not in await get(w, f"/notebooks/{ADA}", pages_token)
