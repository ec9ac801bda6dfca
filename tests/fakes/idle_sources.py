"""The far ends of the idle slice, faked: what sources say is what a test put there, until it says that one fails.

They pass the suites of tests/contracts. Each call gives way to other tasks, as a real one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from nbd.errors import NbdError, Unreachable
from nbd.idle.model import Counters, EditorLook, GpuLook, ProbeLook
from nbd.idle.ports import Subject
from nbd.unixdoor import Place

MOST_BYTES = 1 << 20


class FakeGauges:
    def __init__(self) -> None:
        self.shown: dict[str, Counters] = {}
        """By notebook; one that is not here is gone."""
        self.failure: NbdError | None = None
        self.calls = 0

    async def counters(self, subjects: Sequence[Subject]) -> Mapping[str, Counters]:
        self.calls += 1
        await given_way(self.failure)
        return {subject.notebook: self.shown[subject.notebook] for subject in subjects if subject.notebook in self.shown}


class FakeGpuWork:
    def __init__(self) -> None:
        self.shown = GpuLook()
        self.failure: NbdError | None = None
        self.calls = 0

    async def look(self) -> GpuLook:
        self.calls += 1
        await given_way(self.failure)
        return self.shown


class FakeEditorStates:
    def __init__(self) -> None:
        self.shown: dict[str, EditorLook] = {}
        """By the path of the editor's socket; nobody listens on any other."""
        self.failures: dict[str, NbdError] = {}
        self.calls = 0
        self.meanwhile: Callable[[], None] | None = None
        """What happens while it is asked."""

    async def look(self, place: Place, editor: str) -> EditorLook:
        self.calls += 1
        if self.meanwhile:
            self.meanwhile()
        await given_way(self.failures.get(place.path))
        if place.path not in self.shown:
            raise Unreachable("the editor does not answer")
        return self.shown[place.path]


class FakeProbes:
    def __init__(self) -> None:
        self.answers: dict[str, ProbeLook] = {}
        """By container; one that is not here fails."""
        self.asked: list[tuple[str, str]] = []
        self.hangs: asyncio.Event | None = None
        self.meanwhile: Callable[[], None] | None = None

    async def ask(self, container: str, script: str) -> ProbeLook:
        self.asked.append((container, script))
        await given_way(None)
        if self.meanwhile:
            self.meanwhile()
        if self.hangs:
            await self.hangs.wait()
        if container not in self.answers:
            raise Unreachable("the probe failed")
        return self.answers[container]


class FakeCrier:
    def __init__(self) -> None:
        self.called: list[tuple[str, str]] = []

    async def call(self, container: str, text: str) -> None:
        await given_way(None)
        self.called.append((container, text))


class FakeRecords:
    def __init__(self) -> None:
        self.kept: dict[str, list[bytes]] = {}
        self.defect = ""
        """The notebook whose records end in one."""

    async def append(self, notebook: str, line: bytes) -> None:
        await given_way(None)
        lines = self.kept.setdefault(notebook, [])
        lines.append(line)
        while sum(len(one) + 1 for one in lines) > MOST_BYTES:
            del lines[: -(-len(lines) // 2)]

    async def read(self, notebook: str) -> Sequence[bytes]:
        await given_way(None)
        if notebook == self.defect:
            raise RuntimeError("a defect")
        return tuple(self.kept.get(notebook, ()))

    async def keep_only(self, notebooks: Collection[str]) -> None:
        await given_way(None)
        self.kept = {notebook: lines for notebook, lines in self.kept.items() if notebook in notebooks}


async def given_way(failure: NbdError | None) -> None:
    await asyncio.sleep(0)
    if failure:
        raise failure
