"""The stores that test_lease_store.py holds to the contract of `gpus.ports.LeaseStore`. A new store is one more row of FACTORIES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from nbd.gpus.ports import LeaseStore
from tests.fakes.leases import MemoryLeases

Factory = Callable[[Path], AbstractAsyncContextManager[LeaseStore]]
"""Opens a store with its files, if any, in the given empty folder, and closes it."""


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[LeaseStore]:
    yield MemoryLeases()


FACTORIES: Mapping[str, Factory] = {"memory": memory}
