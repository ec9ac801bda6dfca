"""What `notebooks.rest.ports.Freezer` promises, asked of the fake and of real Podman with CRIU."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import NbdError

from .freezers import NOTEBOOK, WORLDS, World


@pytest.fixture(params=["memory", pytest.param("box", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[World]:
    async with WORLDS[request.param](short_path) as opened:
        yield opened


async def test_there_and_back(world: World) -> None:
    container = await world.up()
    before = await world.containers.look(container)
    assert before
    assert await world.freezer.obstacle() == ""
    assert await world.freezer.estimate(container) > 0
    assert await world.freezer.room() > 0
    assert await world.freezer.image(NOTEBOOK) is None
    assert list(await world.freezer.images()) == []

    image = await world.freezer.freeze(container, NOTEBOOK)
    assert image.whole
    assert image.bytes > 0
    assert not world.living(container)
    assert await world.containers.process(container) is None
    freezer = world.again()
    assert await freezer.image(NOTEBOOK) == image
    assert list(await freezer.images()) == [NOTEBOOK]
    seen = await world.containers.look(container)
    assert seen
    assert (seen.container, seen.label, seen.alive) == (before.container, before.label, False)

    process = await freezer.thaw(container, NOTEBOOK)
    assert await world.containers.process(container) == process
    assert process.pid in world.living(container)
    assert await freezer.image(NOTEBOOK) == image, "it stays until it is forgotten"
    await freezer.forget(NOTEBOOK)
    assert await freezer.image(NOTEBOOK) is None
    assert world.living(container), "to forget an image touches nobody"
    await freezer.forget(NOTEBOOK)

    # Again: nothing of the first time stands in the way. And an image of which nobody asked any more is replaced.
    await freezer.freeze(container, NOTEBOOK)
    await freezer.thaw(container, NOTEBOOK)
    assert (await freezer.freeze(container, NOTEBOOK)).whole
    assert not world.living(container)
    await refusals(world, container)


async def refusals(world: World, container: str) -> None:
    """What cannot be done is an error, and changes nothing."""
    freezer = world.freezer
    with pytest.raises(NbdError, match="does not run"):
        await freezer.freeze(container, NOTEBOOK)
    image = await freezer.image(NOTEBOOK)
    assert image
    assert image.whole, "a second freeze of what is frozen costs nothing"
    with pytest.raises(NbdError, match="no whole image"):
        await freezer.thaw(container, "nzzzzzzzzz")
    await world.containers.remove(container)
    assert await freezer.image(NOTEBOOK) == image
    with pytest.raises(NbdError):
        await freezer.thaw(container, NOTEBOOK)
    await freezer.forget(NOTEBOOK)
    assert list(await freezer.images()) == []
