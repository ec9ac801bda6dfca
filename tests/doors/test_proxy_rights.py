"""A right that ends takes along what is under way on it, however long that would go on: events, downloads, uploads, answers that do not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest

from tests.doors.world import ADA, World, until
from tests.fakes.editor import PIECE

ENDS = 5.0
"""Within so many seconds of the right."""


async def events(w: World, token: str, begun: asyncio.Event) -> None:
    async with w.ask("GET", w.origin() + "/sse", token) as answer:
        await answer.content.readexactly(13)
        begun.set()
        await answer.content.read()


async def download(w: World, token: str, begun: asyncio.Event) -> None:
    async with w.ask("GET", w.origin() + f"/big?bytes={1 << 50}", token) as answer:
        async for _ in answer.content.iter_any():
            begun.set()
            await asyncio.sleep(0.01)


async def upload(w: World, token: str, begun: asyncio.Event) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield PIECE
            await asyncio.sleep(0.01)

    async with w.ask("POST", w.origin() + "/echo", token, data=pieces()) as answer:
        async for _ in answer.content.iter_any():
            begun.set()


async def no_answer(w: World, token: str, begun: asyncio.Event) -> None:
    """Said by hand: aiohttp's client would ask a second time, and be refused."""
    head = f"GET /hang HTTP/1.1\r\nHost: {ADA}.localhost:{w.port}\r\nCookie: nbd_session={token}\r\n\r\n"
    asked = asyncio.create_task(w.raw(head.encode()))
    await until(lambda: len(w.editor.seen) == 1)
    begun.set()
    await asyncio.wait((asked,))
    if asked.exception() is None and asked.result():
        return  # an answer
    raise aiohttp.ClientConnectionError("cut")


Kind = Callable[[World, str, asyncio.Event], Coroutine[Any, Any, None]]
KINDS: list[Kind] = [events, download, upload, no_answer]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_sign_out_ends_what_is_under_way(w: World, token: str, kind: Kind) -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(kind(w, token, begun))
    await begun.wait()
    assert not task.done()
    w.core.sign_out(token)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(task, ENDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_expiry_does_too(w: World, kind: Kind) -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(kind(w, w.core.sign_in("ada", ADA, seconds=1.0), begun))
    await begun.wait()
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(task, 1.0 + ENDS)


async def test_nobody_elses_and_no_other_browsers(w: World, token: str) -> None:
    begun, other = asyncio.Event(), w.core.sign_in("ada", ADA)
    staying = asyncio.create_task(events(w, other, begun))
    await begun.wait()
    ended = asyncio.create_task(events(w, token, asyncio.Event()))
    await until(lambda: len(w.editor.seen) == 2)
    w.core.sign_out(token)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(ended, ENDS)
    assert not staying.done()
    w.editor.hold.set()
    await staying


async def test_a_connection_that_is_kept_serves_the_next_sign_in(w: World, token: str) -> None:
    """What is over is nobody's any more: a browser's connection outlives the sign-in it was first used on."""
    async with w.ask("GET", w.origin() + "/small", token) as answer:
        await answer.read()
    w.core.sign_out(token)
    again = w.core.sign_in("ada", ADA)
    await asyncio.sleep(0.05)
    async with w.ask("GET", w.origin() + "/sse", again) as answer:
        await answer.content.readexactly(13)
        w.editor.hold.set()
        assert await answer.content.read() == b"data: second\n\n"
