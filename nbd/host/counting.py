"""A store that counts what is asked of it."""

from __future__ import annotations

from ..errors import Conflict, NbdError, NotFound
from ..homes.ports import ObjectStore
from ..homes.stores.traffic import Count, Counts
from .wrapping import BOX_CLOCK, Call, Clock, Step, T, WrappedStore, received


class CountingStore(WrappedStore):
    """Into `counts`, which many stores may share."""

    def __init__(self, store: ObjectStore, counts: Counts, clock: Clock = BOX_CLOCK) -> None:
        super().__init__(store)
        self._counts, self._clock = counts, clock

    async def _through(self, step: Step, call: Call[T]) -> T:
        count = self._counts.setdefault(step.what, Count())
        count.requests += 1
        count.sent += step.sends
        began = self._clock.now()
        try:
            result = await call(self._store)
        except (NotFound, Conflict):
            raise
        except NbdError:
            count.errors += 1
            raise
        finally:
            count.seconds += self._clock.now() - began
        count.received += received(result)
        return result
