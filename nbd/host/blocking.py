"""The door to blocking libraries: each call in a thread of its own, with a deadline, so that none can hold up the event loop.

Threads are daemons on purpose: one that hangs in a driver or a dead socket must not keep the program from ending. A call that passed its
deadline may still take effect later; the caller has to look before it acts again.

A thread that has done its call waits for the next one, whoever makes it: making a thread holds up the loop until the kernel has run it, which on
a busy box takes longer than most calls. One that hangs is not waiting, so it holds up nobody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from ..errors import Deadline

T = TypeVar("T")
Deliver = Callable[[Any, BaseException | None], None]


class Blocking:
    def __init__(self, at_once: int, hint: str = "") -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._hint = hint
        """The next step for whoever waited in vain."""

    async def run(self, what: str, seconds: float, call: Callable[[], T]) -> T:
        """The call's result. Raises Deadline naming `what`, or whatever the call raises."""
        try:
            async with asyncio.timeout(seconds), self._slots:
                return await in_thread(what, call)
        except TimeoutError:
            raise Deadline(f"{what} did not answer within {seconds:g} s", hint=self._hint) from None


async def in_thread(name: str, call: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if answer.done():
            return  # The caller went away; nobody wants to know.
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def deliver(result: Any, error: BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # The loop has closed meanwhile.

    try:
        worker = Worker.waiting.pop()
    except IndexError:
        worker = Worker()
    worker.calls.put((name, call, deliver))
    return await answer


class Worker:
    """A thread, and the calls it is given."""

    waiting: list[Worker] = []
    """Those with nothing to do, the last one first. A list's append and pop are atomic, so any thread may."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[str, Callable[[], Any], Deliver]] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while True:
            self._do(*self.calls.get())

    def _do(self, name: str, call: Callable[[], Any], deliver: Deliver) -> None:
        threading.current_thread().name = name
        result: Any = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as caught:  # handed to the waiting task, which raises it
            error = caught
        # First, so that who gets the result and asks at once finds this thread waiting.
        Worker.waiting.append(self)
        deliver(result, error)
