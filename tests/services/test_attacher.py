"""Attached data around a notebook's life: there before it runs, told of while it runs, carried up when its container is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from nbd.errors import HostUnfit, InvalidInput, Unreachable
from nbd.messages import AttachRequest, StartRequest
from nbd.notebooks.model import Notebook, State
from nbd.profiles import parse_profile
from tests.services.household import PROFILES, Household

DATA = AttachRequest("s3://lab/data", "/data", writable=True)
AWAY = Unreachable("the store does not answer")
OFFERS = {
    "shared": '[[attach]]\nurl = "s3://lab/pictures"\npath = "/pictures"\n',
    "results": '[[attach]]\nurl = "s3://lab/{user}"\npath = "/results"\nwritable = true\n',
    "perhaps": '[[attach]]\nurl = "s3://lab/x"\npath = "/x"\noptional = true\n',
}


@pytest.fixture
async def house() -> AsyncIterator[Household]:
    offers = {f"with-{name}": parse_profile(f'title = "x"\n{text}', name, f"with-{name}") for name, text in OFFERS.items()}
    PROFILES.update(offers)
    house = Household()
    await house.manager.reconcile()
    yield house
    await house.manager.close()
    for name in offers:
        del PROFILES[name]


async def up(house: Household, name: str, *attach: AttachRequest, owner: str = "ada", profile: str = "cpu") -> Notebook:
    row, _ = await house.manager.start(owner, StartRequest(name, profile, attach=attach or None))
    await house.manager.settled(row.id)
    return house.roster.get(row.id)


async def stopped(house: Household, row: Notebook) -> None:
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    assert house.roster.get(row.id).state is State.STOPPED


def binds(house: Household, row: Notebook) -> dict[str, bool]:
    """What the container sees of attached data, and whether it may write there."""
    (box,) = [box for box in house.machine.boxes.values() if box.spec.labels["io.nbd.id"] == row.id]
    return {bind.target: bind.writable for bind in box.spec.binds if bind.source.startswith("/attached/")}


async def test_it_is_there_before_the_notebook_runs_and_told_of_until_it_stops(house: Household) -> None:
    row = await up(house, "main", DATA, profile="with-shared")
    assert row.state is State.RUNNING
    assert "data" in row.phases
    assert binds(house, row) == {"/pictures": False, "/data": True}
    assert [(person, url) for _, person, url in house.machine.brought] == [("", "s3://lab/pictures"), ("ada", "s3://lab/data")]
    ids = {one.id for one in row.attached}
    assert house.machine.attached == ids
    await stopped(house, row)
    assert house.machine.attached == set()
    # Only what can be written goes up, when nobody writes any more.
    writable = frozenset(one.id for one in row.attached if one.writable)
    assert house.machine.carried == [(writable, frozenset())]


async def test_it_holds_for_later_starts_until_it_is_said_anew(house: Household) -> None:
    row = await up(house, "main", DATA)
    await stopped(house, row)
    again = await up(house, "main")
    assert binds(house, again) == {"/data": True}
    await stopped(house, again)
    row, _ = await house.manager.start("ada", StartRequest("main", attach=()))
    await house.manager.settled(row.id)
    assert (binds(house, row), house.roster.get(row.id).attached) == ({}, ())


async def test_a_folder_in_which_somebody_works_is_shared_and_not_brought_again(house: Household) -> None:
    first = await up(house, "main", DATA)
    second = await up(house, "train", DATA)
    assert len(house.machine.brought) == 1
    assert {one.id for one in first.attached} == {one.id for one in second.attached}
    await stopped(house, first)
    assert house.machine.attached == {one.id for one in second.attached}
    await stopped(house, second)
    await up(house, "main")
    assert len(house.machine.brought) == 2


async def test_of_two_starts_at_once_one_brings_it(house: Household) -> None:
    house.machine.bring_seconds = 0.05
    await asyncio.gather(up(house, "main", DATA), up(house, "train", DATA))
    assert len(house.machine.brought) == 1


async def test_what_is_read_only_comes_at_every_start(house: Household) -> None:
    await up(house, "main", profile="with-shared")
    await up(house, "main", profile="with-shared", owner="eve")
    assert len(house.machine.brought) == 2
    assert len(house.machine.attached) == 1


DENIED, FULL = HostUnfit("denied", code="store_denied"), HostUnfit("full", code="disk_full")


@pytest.mark.parametrize(("trouble", "code"), [(AWAY, "data_away"), (DENIED, "data_unfit"), (FULL, "disk_full")])
async def test_without_it_the_start_ends_and_says_why(house: Household, trouble: HostUnfit | Unreachable, code: str) -> None:
    house.machine.bucket_trouble = trouble
    row = await up(house, "main", DATA)
    assert row.state is State.ERROR
    assert row.failure
    assert (row.failure.code, "s3://lab/data for /data" in row.failure.message) == (code, True)
    await house.nothing_left()
    assert house.machine.attached == set()


async def test_a_profile_may_say_that_it_starts_without(house: Household) -> None:
    house.machine.bucket_trouble = AWAY
    row = await up(house, "main", profile="with-perhaps")
    assert (row.state, binds(house, row)) == (State.RUNNING, {"/x": False})


async def test_trouble_of_any_is_told_to_who_asks_how_nbd_is(house: Household) -> None:
    assert await house.attacher.health() == "ok"
    house.machine.bucket_trouble = AWAY
    await house.manager.reconcile()
    assert await house.attacher.health() == "1 attached folder not in step"


async def test_how_far_it_is_is_shown(house: Household) -> None:
    house.machine.bring_seconds = 0.2
    row, _ = await house.manager.start("ada", StartRequest("main", attach=(DATA,)))
    await house.until(lambda: (shown := house.roster.passing(row.id).progress) is not None and shown.fraction is not None)
    shown = house.roster.passing(row.id).progress
    assert shown
    assert (shown.phase, shown.text, shown.fraction) == ("data", "bringing s3://lab/data: 1 of 2 files, 10 B of 40 B", 0.25)
    await house.manager.settled(row.id)


async def test_a_stop_in_the_middle_ends_it(house: Household) -> None:
    house.machine.bring_seconds = 60.0
    row, _ = await house.manager.start("ada", StartRequest("main", attach=(DATA,)))
    await house.until(lambda: house.roster.passing(row.id).progress is not None)
    began = time.monotonic()
    await house.manager.stop(row.id, "user")
    await house.manager.settled(row.id)
    assert time.monotonic() - began < 10
    assert house.roster.get(row.id).state is State.STOPPED


async def test_a_bucket_that_hangs_holds_a_stop_up_so_long_and_no_longer(house: Household) -> None:
    row = await up(house, "main", DATA)
    house.machine.store_seconds = 60.0
    began = time.monotonic()
    await stopped(house, row)
    assert time.monotonic() - began < 5


async def test_what_cannot_be_is_refused_before_anything_is_made(house: Household) -> None:
    for attach in (AttachRequest("http://x/y", "/data"), AttachRequest("s3://lab/x", "/etc"), AttachRequest("s3://lab/x", "/home/ada/x")):
        with pytest.raises(InvalidInput):
            await house.manager.start("ada", StartRequest("main", attach=(attach,)))
    assert house.roster.all() == ()


async def test_what_is_adopted_is_told_of_and_a_sync_that_forgot_is_told_again(house: Household) -> None:
    row = await up(house, "main", DATA)
    ids = {one.id for one in row.attached}
    house.machine.attached.clear()
    await house.crash()
    await house.calm()
    assert house.machine.attached == ids
    house.machine.attached.clear()
    await house.manager.reconcile()
    assert house.machine.attached == ids
    # While sync is away, notebooks start and stop.
    house.machine.sync_trouble = AWAY
    await stopped(house, row)
