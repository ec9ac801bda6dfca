"""A store that counts what is asked of it."""

from __future__ import annotations

import time

from ..errors import Conflict, NbdError, NotFound
from ..homes.ports import ObjectStore
from ..homes.traffic import Count, Counts
from .wrapping import Call, Step, T, WrappedStore, received


class CountingStore(WrappedStore):
    """Into `counts`, which many stores may share."""

    def __init__(self, store: ObjectStore, counts: Counts) -> None:
        super().__init__(store)
        self._counts = counts

    async def _through(self, step: Step, call: Call[T]) -> T:
        count = self._counts.setdefault(step.what, Count())
        count.requests += 1
        count.sent += step.sends
        began = time.monotonic()
        try:
            result = await call(self._store)
        except (NotFound, Conflict):
            raise
        except NbdError:
            count.errors += 1
            raise
        finally:
            count.seconds += time.monotonic() - began
        count.received += received(result)
        return result
