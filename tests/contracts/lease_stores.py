"""The stores that test_lease_store.py holds to the contract of `gpus.ports.LeaseStore`. A new store is one more row of FACTORIES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from nbd.gpus.ports import LeaseStore
from nbd.host.database import open_database
from tests.fakes.leases import MemoryLeases

Factory = Callable[[Path], AbstractAsyncContextManager[LeaseStore]]
"""Opens a store with its files, if any, in the given empty folder, and closes it."""


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[LeaseStore]:
    yield MemoryLeases()


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[LeaseStore]:
    database = open_database(folder / "state.db")
    try:
        yield database
    finally:
        await database.close()


FACTORIES: Mapping[str, Factory] = {"memory": memory, "sqlite": sqlite}
