"""The door to blocking libraries: each call in a thread of its own, with a deadline, so that none can hold up the event loop.

Threads are daemons on purpose: one that hangs in a driver or a dead socket must not keep the program from ending. A call that passed its
deadline may still take effect later; the caller has to look before it acts again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from ..errors import Deadline

T = TypeVar("T")


class Blocking:
    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)

    async def run(self, what: str, seconds: float, call: Callable[[], T]) -> T:
        """The call's result. Raises Deadline naming `what`, or whatever the call raises."""
        try:
            async with asyncio.timeout(seconds), self._slots:
                return await in_thread(what, call)
        except TimeoutError:
            raise Deadline(f"{what} did not answer within {seconds:g} s") from None


async def in_thread(name: str, call: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return  # The caller went away; nobody wants to know.
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type]
        else:
            answer.set_exception(error)

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as caught:  # handed to the waiting task, which raises it
            error = caught
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:
            return  # The loop has closed meanwhile.

    threading.Thread(target=work, name=name, daemon=True).start()
    return await answer
