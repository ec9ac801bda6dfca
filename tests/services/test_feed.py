"""The feed: in order, from the moment of subscribing, to the end; who falls behind is cut off and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from nbd.feed import LIMIT, Feed


async def all_of(reader: AsyncIterator[int | None]) -> list[int | None]:
    return [event async for event in reader]


async def test_in_order_from_the_moment_of_subscribing() -> None:
    feed: Feed[int] = Feed()
    feed.publish(1)
    with feed.subscribe() as early:
        feed.publish(2)
        with feed.subscribe() as late:
            feed.publish(3)
            feed.close()
            assert await all_of(early) == [2, 3]
            assert await all_of(late) == [3]


async def test_who_falls_behind_is_cut_off_and_the_others_are_not() -> None:
    feed: Feed[int] = Feed()
    with feed.subscribe() as slow, feed.subscribe() as well:
        for number in range(2 * LIMIT):
            feed.publish(number)
            assert await anext(well) == number
        assert await all_of(slow) == list(range(LIMIT)), "the end comes after what was kept, and nothing after it"
        feed.publish(-1)
        assert await anext(well) == -1


async def test_who_left_costs_nothing() -> None:
    feed: Feed[int] = Feed()
    with feed.subscribe() as reader:
        feed.publish(1)
        assert await anext(reader) == 1
    assert not feed._readers
    feed.publish(2)
    feed.close()
    feed.close()


async def test_a_cancelled_reader_takes_no_event_with_it() -> None:
    feed: Feed[int] = Feed()
    with feed.subscribe() as reader:
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    with feed.subscribe() as reader:
        feed.publish(1)
        assert await anext(reader) == 1
