"""A store that tries again: with jitter, within a budget, and only what may be repeated."""

from __future__ import annotations

import random

from ..errors import Conflict, NbdError, NotFound
from ..homes.ports import ObjectStore
from .wrapping import BOX_CLOCK, Call, Clock, Step, T, WrappedStore

SLOWER_SECONDS = 1.0
"""A store that asks to slow down is left alone for at least so long: how long it wants, obstore does not pass on."""


class RetryingStore(WrappedStore):
    """`budget`: after so many seconds no further try begins. `first`: the first pause; each is about twice the one before, up to `longest`."""

    def __init__(self, store: ObjectStore, *, budget: float = 60.0, first: float = 0.2, longest: float = 10.0, clock: Clock = BOX_CLOCK) -> None:
        super().__init__(store)
        self._budget, self._first, self._longest, self._clock = budget, first, longest, clock

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        """After a failure that may have taken effect, a conflict can be our own success: then the bytes there are ours (sealed bytes are
        never twice the same)."""
        tries = 0

        async def attempt(store: ObjectStore) -> str:
            nonlocal tries
            tries += 1
            try:
                return await store.replace(key, data, expected)
            except Conflict:
                ours = await held(store, key, data) if tries > 1 else None
                if ours is None:
                    raise
                return ours

        return await self._through(Step("replace", key, len(data)), attempt)

    async def _through(self, step: Step, call: Call[T]) -> T:
        end, pause = self._clock.now() + self._budget, self._first
        while True:
            try:
                return await call(self._store)
            except NbdError as error:
                if error.code == "store_slow":
                    pause = max(pause, min(SLOWER_SECONDS, self._longest))
                if not error.retryable or self._clock.now() + pause > end:
                    raise
            await self._clock.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, self._longest)


async def held(store: ObjectStore, key: str, data: bytes) -> str | None:
    """The present version, if it has these bytes."""
    try:
        present = await store.fetch(key)
    except NotFound:
        return None
    return present.version if present.data == data else None
