"""The door to blocking calls: deadlines hold, a hanging call holds up nobody, and threads are used again."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nbd.errors import Deadline
from nbd.host.blocking import Blocking, Worker


async def test_the_result_and_the_error_come_back() -> None:
    door = Blocking(1)
    assert await door.run("a sum", 5, lambda: 40 + 2) == 42
    with pytest.raises(ZeroDivisionError):
        await door.run("a division", 5, lambda: 1 // 0)
    assert await door.run("a sum", 5, lambda: 1 + 1) == 2


async def test_calls_one_after_another_share_a_thread() -> None:
    door = Blocking(4)
    threads = {await door.run("who", 5, threading.get_ident) for _ in range(20)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_calls_at_once_have_a_thread_each() -> None:
    door, all_here = Blocking(3), threading.Barrier(3)

    def meet() -> int:
        all_here.wait(10)
        return threading.get_ident()

    assert len(set(await asyncio.gather(*(door.run("a meeting", 20, meet) for _ in range(3))))) == 3


async def test_a_hanging_call_holds_up_nobody() -> None:
    door, driver = Blocking(1), Hanging()
    try:
        with pytest.raises(Deadline, match=r"the driver did not answer within 0\.2 s"):
            await door.run("the driver", 0.2, driver.call)
        await driver.reached.wait()
        assert await door.run("the next", 5, threading.get_ident) != driver.thread
    finally:
        driver.free.set()


async def test_a_late_answer_reaches_nobody_and_its_thread_is_used_again() -> None:
    door, driver = Blocking(1), Hanging()
    asking = asyncio.create_task(door.run("somebody", 20, driver.call))
    await driver.reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    driver.free.set()
    async with asyncio.timeout(10):
        while driver.thread not in {worker.thread.ident for worker in Worker.waiting}:
            await asyncio.sleep(0)
    assert await door.run("the next", 5, threading.get_ident) == driver.thread


class Hanging:
    def __init__(self) -> None:
        self.free, self.reached, self.thread = threading.Event(), asyncio.Event(), 0
        self._loop = asyncio.get_running_loop()

    def call(self) -> None:
        self.thread = threading.get_ident()
        self._loop.call_soon_threadsafe(self.reached.set)
        self.free.wait(10)


async def test_who_waited_in_vain_is_told_the_next_step() -> None:
    let_go = threading.Event()
    try:
        with pytest.raises(Deadline) as caught:
            await Blocking(1, "look at it").run("the thing", 0.01, let_go.wait)
    finally:
        let_go.set()
    assert (caught.value.message, caught.value.hint) == ("the thing did not answer within 0.01 s", "look at it")
