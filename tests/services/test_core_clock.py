"""Core's clock: one look that goes wrong, however, is followed by the next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nbd.core import Core, look_again_and_again, looked
from nbd.errors import HostUnfit


class Duty:
    """Fails as it is told, then works."""

    def __init__(self, *troubles: BaseException) -> None:
        self.troubles = list(troubles)
        self.calls = 0
        self.worked = asyncio.Event()

    async def __call__(self) -> None:
        self.calls += 1
        if self.troubles:
            raise self.troubles.pop(0)
        self.worked.set()


def core_with(reconcile: Duty, expire: Duty, refresh: Duty) -> Core:
    manager, register, names = SimpleNamespace(reconcile=reconcile), SimpleNamespace(expire=expire), SimpleNamespace(refresh=refresh)
    idle = SimpleNamespace(resting=SimpleNamespace(look=Duty()), sweep=Duty(), schedule=SimpleNamespace(tick=Duty()))
    return cast(Core, cast(Any, SimpleNamespace(manager=manager, register=register, names=names, idle=idle)))


@pytest.mark.parametrize("trouble", [HostUnfit("no nft"), OSError(24, "Too many open files"), KeyError("x")])
async def test_a_look_that_fails_is_told_and_the_other_duties_are_done(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    reconcile, expire, refresh = Duty(trouble), Duty(), Duty()
    core = core_with(reconcile, expire, refresh)
    assert not await looked(core)
    assert (expire.calls, refresh.calls) == (1, 1)
    assert caplog.records
    assert await looked(core)


async def test_the_clock_goes_on_after_a_defect() -> None:
    reconcile, stop = Duty(OSError(24, "Too many open files"), KeyError("x")), asyncio.Event()
    clock = asyncio.create_task(look_again_and_again(core_with(reconcile, Duty(), Duty()), 0.001, stop))
    async with asyncio.timeout(10):
        await reconcile.worked.wait()
        stop.set()
        await clock


async def test_to_be_cancelled_is_no_defect() -> None:
    with pytest.raises(asyncio.CancelledError):
        await looked(core_with(Duty(asyncio.CancelledError()), Duty(), Duty()))
