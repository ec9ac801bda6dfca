"""What is done now and then: again and again, never beside itself, whatever it raises; and no more after the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from nbd.host.timetable import Scheduler


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


async def test_again_and_again_and_never_beside_itself() -> None:
    scheduler, calls, now, most = Scheduler(), 0, 0, 0

    async def slow() -> None:
        nonlocal calls, now, most
        calls, now = calls + 1, now + 1
        most = max(most, now)
        await asyncio.sleep(0.1)
        now -= 1

    scheduler.every(0.02, slow)
    await until(lambda: calls >= 3)
    assert most == 1
    await scheduler.close()
    assert now == 1 or most == 1


async def test_what_fails_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    scheduler, calls = Scheduler(), 0

    async def broken() -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("a defect")

    scheduler.every(0.02, broken)
    await until(lambda: calls >= 2)
    await scheduler.close()
    assert "a defect" in caplog.text


async def test_after_the_end_nothing_runs() -> None:
    scheduler, begun, ended = Scheduler(), 0, False

    async def long() -> None:
        nonlocal begun, ended
        begun += 1
        try:
            await asyncio.sleep(3600)
        finally:
            ended = True

    scheduler.every(0.02, long)
    await until(lambda: begun == 1)
    await scheduler.close()
    assert ended
    await asyncio.sleep(0.1)
    assert begun == 1
