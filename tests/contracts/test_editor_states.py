"""What `idle.ports.EditorStates` promises, asked of the fake and of the real one with a JupyterLab's API at the other end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from nbd.errors import Deadline, Unreachable
from nbd.host.jupyter import JupyterStates
from nbd.idle.model import EditorLook, KernelLook, TerminalLook
from nbd.idle.ports import EditorStates
from nbd.unixdoor import Place
from tests.fakes.idle_sources import FakeEditorStates
from tests.fakes.jupyter import Jupyter

TRAIN = KernelLook("k1", "train.ipynb", busy=True, last_activity=1_795_000_000.25, connections=1)
SHELL = KernelLook("k2", "python3", busy=False, last_activity=1_795_000_001.5)
LOOK = EditorLook((TRAIN, SHELL), (TerminalLook("1", 1_795_000_002.0),))


class World(Protocol):
    @property
    def states(self) -> EditorStates: ...

    @property
    def place(self) -> Place: ...

    def show(self, look: EditorLook) -> None: ...

    def hold(self) -> None: ...

    async def leave(self) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.states, self.place = FakeEditorStates(), Place("/fake", 1000)

    def show(self, look: EditorLook) -> None:
        self.states.shown[self.place.path] = look

    def hold(self) -> None:
        self.states.failures[self.place.path] = Deadline("it did not answer")

    async def leave(self) -> None:
        del self.states.shown[self.place.path]


class RealWorld:
    def __init__(self, path: Path, kept: AsyncExitStack) -> None:
        self.states, self.place = JupyterStates(0.3), Place(str(path), os.geteuid())
        self._jupyter, self._kept, self._path = Jupyter(), kept, path

    async def open(self) -> None:
        await self._kept.enter_async_context(self._jupyter.serve(self._path))

    def show(self, look: EditorLook) -> None:
        self._jupyter.look = look

    def hold(self) -> None:
        self._jupyter.holds = True

    async def leave(self) -> None:
        self._path.unlink()
        self._jupyter.hang_up()


@pytest.fixture(params=["fake", "jupyter"])
async def world(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    async with AsyncExitStack() as kept:
        made = RealWorld(short_path / "s", kept)
        await made.open()
        yield made
        await made.states.close()


async def test_kernels_and_terminals(world: World) -> None:
    world.show(LOOK)
    assert await world.states.look(world.place, "jupyterlab") == LOOK
    world.show(EditorLook())
    assert await world.states.look(world.place, "jupyterlab") == EditorLook()


async def test_a_change_is_seen_at_the_next_look(world: World) -> None:
    world.show(LOOK)
    await world.states.look(world.place, "jupyterlab")
    done = EditorLook((replace(TRAIN, busy=False, last_activity=1_795_000_009.0), SHELL, replace(SHELL, id="k3", name="new.ipynb")))
    world.show(done)
    assert await world.states.look(world.place, "jupyterlab") == done


async def test_one_that_is_silent(world: World) -> None:
    world.show(LOOK)
    await world.states.look(world.place, "jupyterlab")
    world.hold()
    with pytest.raises(Deadline):
        await world.states.look(world.place, "jupyterlab")


async def test_one_that_is_gone(world: World) -> None:
    world.show(LOOK)
    await world.states.look(world.place, "jupyterlab")
    await world.leave()
    with pytest.raises(Unreachable):
        await world.states.look(world.place, "jupyterlab")
