"""What `gpus.ports.LeaseStore` promises, asked of every store there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.gpus.model import Lease, Sharing
from nbd.gpus.ports import LeaseStore

from .lease_stores import FACTORIES

TRAIN = Lease("GPU-a", "ntrain", "bob/train", 1_700_000_000.5)
EDA = Lease("GPU-b", "neda", "ann/eda", 1_700_000_001.0, Sharing.SHARED, 4 * 1024**3)


@pytest.fixture(params=list(FACTORIES.values()), ids=list(FACTORIES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LeaseStore]:
    async with request.param(tmp_path) as opened:
        yield opened


async def test_a_new_store_holds_nothing(store: LeaseStore) -> None:
    assert list(await store.leases()) == []
    assert dict(await store.quarantines()) == {}


async def test_leases_come_back_as_they_were(store: LeaseStore) -> None:
    await store.replace("ntrain", [TRAIN])
    await store.replace("neda", [EDA])
    assert set(await store.leases()) == {TRAIN, EDA}


async def test_replace_is_all_that_the_notebook_holds(store: LeaseStore) -> None:
    other = Lease("GPU-c", "ntrain", "bob/train", 2.0)
    await store.replace("neda", [EDA])
    await store.replace("ntrain", [TRAIN, other])
    await store.replace("ntrain", [other])
    assert set(await store.leases()) == {EDA, other}
    await store.replace("ntrain", [])
    assert list(await store.leases()) == [EDA]


async def test_one_card_can_be_shared_by_two_notebooks(store: LeaseStore) -> None:
    beside = Lease(EDA.card, "nother", "bob/other", 3.0, Sharing.SHARED, 1)
    await store.replace("neda", [EDA])
    await store.replace("nother", [beside])
    assert set(await store.leases()) == {EDA, beside}


async def test_leases_are_taken_from_any_iterable(store: LeaseStore) -> None:
    await store.replace("ntrain", (lease for lease in [TRAIN]))
    assert list(await store.leases()) == [TRAIN]


async def test_what_was_read_does_not_change_afterwards(store: LeaseStore) -> None:
    await store.replace("ntrain", [TRAIN])
    await store.quarantine("GPU-a", "lost")
    leases, quarantines = await store.leases(), await store.quarantines()
    await store.replace("ntrain", [])
    await store.lift("GPU-a")
    assert list(leases) == [TRAIN]
    assert dict(quarantines) == {"GPU-a": "lost"}


async def test_quarantine_and_lift(store: LeaseStore) -> None:
    await store.quarantine("GPU-a", "lost")
    await store.quarantine("GPU-b", "pid 4711 does not let go")
    await store.quarantine("GPU-a", "needs a reset")
    assert dict(await store.quarantines()) == {"GPU-a": "needs a reset", "GPU-b": "pid 4711 does not let go"}
    await store.lift("GPU-a")
    await store.lift("GPU-a")
    assert dict(await store.quarantines()) == {"GPU-b": "pid 4711 does not let go"}


async def test_a_quarantine_leaves_the_lease_alone(store: LeaseStore) -> None:
    await store.replace("ntrain", [TRAIN])
    await store.quarantine("GPU-a", "lost")
    assert list(await store.leases()) == [TRAIN]
