"""Names for snapshots that are there already, and an end for those that a person names: each is one move of the pointer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...errors import Conflict, NotFound, Refused
from ..model import Listed, Root
from .repository import Repository
from .retention import PASSING

ATTEMPTS = 5


async def hold(repository: Repository, snapshot: str, name: str, *, alone: bool = False) -> None:
    """Give it a name, so that the retention never drops it; one that has a name keeps that. `alone`: others that are called so lose it.
    Raises Conflict after losing again and again."""

    def called(one: Listed) -> str:
        if one.id == snapshot:
            return name if one.name in PASSING else one.name
        return "" if alone and one.name == name else one.name

    def named(root: Root) -> Root:
        return replace(root, snapshots=tuple(replace(one, name=called(one)) for one in root.snapshots))

    await move(repository, named)


async def forget(repository: Repository, snapshot: str) -> Listed:
    """Take it from the list: what only it needs goes with a later prune. Raises NotFound, Refused(code=newest), Conflict."""
    found: list[Listed] = []

    def without(root: Root) -> Root:
        one = next((one for one in root.snapshots if one.id == snapshot), None)
        if one is None:
            raise NotFound(f"there is no snapshot {snapshot[:12]}", hint="see: nbctl home snapshots")
        if one == root.newest():
            raise Refused("the newest snapshot is what the home comes back from", code="newest", hint="it can be forgotten once there is a newer one")
        found[:] = [one]
        return replace(root, snapshots=tuple(other for other in root.snapshots if other != one))

    await move(repository, without)
    return found[0]


async def move(repository: Repository, change: Callable[[Root], Root]) -> None:
    for _ in range(ATTEMPTS):
        wanted = change(repository.root)
        if wanted == repository.root:
            return
        try:
            await repository.move(wanted)
        except Conflict:
            await repository.refresh()
        else:
            return
    raise Conflict("the home's snapshots change all the time", hint="try again", retryable=True)
