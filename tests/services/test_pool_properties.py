"""The pool under anything that can happen in any order: starts, waits, changes of mind, ends, a driver that is silent for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from nbd.errors import Deadline, NbdError
from nbd.gpus.model import Card, Request, Sharing
from nbd.gpus.pool import Pool
from tests.fakes.driver import FakeDriver, FakeSpecs
from tests.fakes.leases import MemoryLeases

CARDS = [Card("GPU-a", "NVIDIA RTX A4000", 8), Card("GPU-b", "NVIDIA RTX A4000", 8), Card("GPU-h", "NVIDIA H200", 12)]
NAMES = st.sampled_from([f"n{number}" for number in range(6)])
REQUESTS = st.builds(
    Request,
    count=st.integers(1, 3),
    models=st.sampled_from([(), ("a4000",)]),
    memory_bytes=st.integers(1, 8),
    sharing=st.sampled_from(Sharing),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), NAMES, REQUESTS),
        st.tuples(st.just("wait"), NAMES, REQUESTS),
        st.tuples(st.sampled_from(["release", "cancel", "silent", "answers", "out", "in"]), NAMES, st.none()),
    ),
    max_size=25,
)


class World:
    def __init__(self) -> None:
        self.driver, self.store = FakeDriver(*CARDS), MemoryLeases()
        self.pool = Pool(self.driver, self.store, FakeSpecs(), wall_clock=lambda: 0.0, recheck_seconds=0.001)
        self.waiting: dict[str, asyncio.Task[object]] = {}
        self.everybody: list[asyncio.Task[object]] = []

    async def step(self, what: str, name: str, request: Request | None) -> None:
        task = self.waiting.get(name)
        busy = task is not None and not task.done()
        if what == "wait" and request and not busy:
            self.waiting[name] = asyncio.ensure_future(self.pool.wait(name, f"bob/{name}", request, lambda *_: None))
            self.everybody.append(self.waiting[name])
        elif what == "lease" and request and not busy:
            await self.pool.lease(name, f"bob/{name}", request)
        elif what == "release" and not busy:
            await self.pool.release(name, pids=())
        elif what == "cancel" and task:
            task.cancel()
            await asyncio.wait({task})
        else:
            await self.disturb(what)

    async def disturb(self, what: str) -> None:
        if what == "silent":
            self.driver.failure = Deadline("the NVIDIA driver did not answer")
        elif what == "answers":
            self.driver.failure = None
        elif what == "out":
            await self.pool.quarantine("GPU-a", "hot")
        elif what == "in":
            await self.pool.lift("GPU-a")

    async def nothing_is_promised_twice(self) -> None:
        leases = await self.store.leases()
        for card in CARDS:
            mine = [lease for lease in leases if lease.card == card.uuid]
            assert len(mine) <= 1 or all(lease.sharing is Sharing.SHARED for lease in mine)
            assert sum(lease.memory_bytes for lease in mine) <= card.memory_bytes

    async def everybody_is_served_in_the_end(self) -> None:
        """All is well again, and whoever holds cards lets go of them."""
        self.driver.failure = None
        await self.pool.lift("GPU-a")
        async with asyncio.timeout(10):
            while not all(task.done() for task in self.everybody):
                for lease in await self.store.leases():
                    await self.pool.release(lease.notebook, pids=())
                    await self.nothing_is_promised_twice()
                await asyncio.sleep(0)
        await asyncio.gather(*self.everybody, return_exceptions=True)
        assert (await self.pool.survey()).waiters == ()


async def live_through(steps: Sequence[tuple[str, str, Request | None]]) -> None:
    world = World()
    for what, name, request in steps:
        try:
            await world.step(what, name, request)
        except NbdError:
            assert world.driver.failure
        await asyncio.sleep(0)
        await world.nothing_is_promised_twice()
    await world.everybody_is_served_in_the_end()


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_no_card_is_leased_twice_and_nobody_waits_for_ever(steps: list[tuple[str, str, Request | None]]) -> None:
    asyncio.run(live_through(steps))
