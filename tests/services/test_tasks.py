"""At most one task per notebook: also where the one that is replaced still waited for another."""

from __future__ import annotations

import asyncio

from nbd.notebooks.tasks import Tasks

LONG = 30.0


class Log:
    """Who is at work, and who met somebody else at it."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.did: list[str] = []

    async def work(self, name: str, seconds: float, *, slow_to_end: float = 0.0) -> None:
        assert not self.at_work, f"{name} meets {self.at_work}"
        self.at_work.append(name)
        try:
            await asyncio.sleep(seconds)
            self.did.append(name)
        except asyncio.CancelledError:
            await asyncio.sleep(slow_to_end)
            raise
        finally:
            self.at_work.remove(name)


async def test_what_replaces_one_that_waits_begins_after_the_one_at_work_has_ended() -> None:
    tasks, log = Tasks(), Log()
    tasks.follow("n", log.work("park", LONG, slow_to_end=0.02))
    await asyncio.sleep(0)
    tasks.follow("n", log.work("unpark", 0.0))
    await asyncio.sleep(0)
    tasks.replace("n", log.work("stop", 0.01))
    await asyncio.sleep(0)
    tasks.replace("n", log.work("delete", 0.01))
    await tasks.settled("n")
    assert (log.did, log.at_work, tasks.busy()) == (["delete"], [], frozenset())


async def test_closing_ends_also_the_one_that_another_waits_for() -> None:
    tasks, log = Tasks(), Log()
    tasks.follow("n", log.work("park", LONG))
    await asyncio.sleep(0)
    tasks.follow("n", log.work("unpark", 0.0))
    await asyncio.sleep(0)
    await tasks.close()
    assert (log.did, log.at_work) == ([], [])
