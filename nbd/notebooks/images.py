"""The images of this box: list, fetch, build, check. Turns what Podman prints into progress, and what went wrong into errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ..errors import Conflict, HostUnfit
from ..messages import CheckReport, Progress
from . import pull
from .image import Base, ImageFacts, ImageStore, Said, StepFailed
from .image_trouble import explain


class Images:
    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._busy: set[str] = set()

    async def list(self) -> Sequence[ImageFacts]:
        return await self._store.list()

    async def check(self, reference: str) -> CheckReport:
        return await self._store.check(reference)

    def build(self, name: str, base: Base = Base.AUTO) -> AsyncGenerator[Progress, None]:
        """Ends when the image is there. Close it early to give up. Raises Conflict while the same one is being made, and what `explain` makes."""
        return self._followed(f"build {name}", self._store.build(name, base))

    def pull(self, reference: str) -> AsyncGenerator[Progress, None]:
        return self._followed(f"pull {reference}", self._store.pull(reference))

    def pulling(self, reference: str) -> bool:
        return f"pull {reference}" in self._busy

    async def _followed(self, what: str, said: AsyncGenerator[Said, None]) -> AsyncGenerator[Progress, None]:
        if what in self._busy:
            raise Conflict(f"somebody else does this already: {what}", hint="wait for it: nbctl image ls", code="busy")
        self._busy.add(what)
        try:
            async with aclosing(said), aclosing(folded(said)) as progress:
                async for now in progress:
                    yield now
        except StepFailed as failure:
            raise explain(failure) from failure
        finally:
            self._busy.discard(what)


async def folded(said: AsyncGenerator[Said, None]) -> AsyncGenerator[Progress, None]:
    state, step = pull.Fold(), None
    async for line in said:
        if step is not None and line.step is not step:
            state, now = pull.finished(state, step)
            yield now
        step = line.step
        state, told = pull.fold(state, line)
        if told is not None:
            yield told
    if state.failure:
        raise HostUnfit(state.failure, hint="see the journal of Podman", code="pull_failed")
    if step is not None:
        yield pull.finished(state, step)[1]
