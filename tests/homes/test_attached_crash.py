"""Sync is killed at each step of a start's two-way sync, before and after it took effect: the next start loses nothing and makes nothing twice."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbd.homes.attached.content import WHOLE
from nbd.homes.attached.names import is_copy
from nbd.homes.attached.ports import Ledger
from nbd.homes.attached.sender import Tally

from .attached_world import AttachedWorld, OneShelf, QuickTarget

PASSIVE = {"close", "known"}


class Killed(BaseException):
    """SIGKILL: nothing after it runs, so nothing may catch it and go on."""


class Fuse:
    def __init__(self, steps: int) -> None:
        self.left = steps

    def tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


class Fused:
    """Anything with async methods, each of which may be the last, before or after its effect."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in PASSIVE or not callable(found):
            return found

        async def step(*args: Any, **named: Any) -> Any:
            self._fuse.tick()
            result = await found(*args, **named)
            self._fuse.tick()
            return Fused(result, self._fuse) if name == "begin" else result

        return step


class FusedShelf(OneShelf):
    fuse = Fuse(1 << 30)

    async def ledger(self, attachment: str) -> Ledger:
        found: Ledger = Fused(await super().ledger(attachment), self.fuse)
        return found


async def prepared(root: Path) -> AttachedWorld:
    """In step, then changed on both sides in every way."""
    root.mkdir()
    world = AttachedWorld(root)
    for number in range(8):
        world.put(f"f{number:02}", f"base {number}")
    world.put("flip/inside", "base")
    await world.start()
    await world.data.close()
    world.save("f00", "changed here")
    world.put("f01", "changed there")
    world.save("f02", "mine")
    world.put("f02", "theirs")
    (world.folder / "f03").unlink()
    del world.memory.objects["f04"]
    world.save("f05", "changed here after a deletion")
    del world.memory.objects["f05"]
    (world.folder / "f06").unlink()
    world.put("f06", "changed there after a deletion")
    world.save("new/here", "here")
    world.put("new/there", "there")
    world.put("large", "l" * (9 << 20))
    del world.memory.objects["flip/inside"]
    world.put("flip", "now a file")
    (world.folder / "f07").unlink()
    world.save("f07/now", "a folder")
    world.save("both", "mine too")
    world.put("both", "theirs too")
    return world


ALL = {
    "changed here", "changed there", "mine", "theirs", "changed here after a deletion", "changed there after a deletion", "here", "there",
    "l" * (9 << 20), "now a file", "a folder", "mine too", "theirs too",
}  # fmt: skip


async def killed(world: AttachedWorld, fuse: Fuse) -> bool:
    """Whether it came to that."""
    FusedShelf.fuse = fuse
    world.build(FusedShelf, Fused(world.memory, fuse))
    target = QuickTarget(world.folder)
    try:
        await world.data.bring(world.attachment, Fused(target, fuse), Tally())
    except Killed:
        return True
    finally:
        target.close()
        await world.data.close()
    return False


async def test_killed_at_each_step(tmp_path: Path) -> None:
    points = 0
    for steps in itertools.count():
        world = await prepared(tmp_path / str(steps))
        alive = not await killed(world, Fuse(steps))
        kept = {*world.here().values(), *world.there().values()}
        assert kept >= ALL, f"after {steps} steps: {ALL - kept} is lost"
        world.build()
        await world.start()
        here, there = world.here(), world.there()
        assert here == there, f"after {steps} steps"
        assert set(here.values()) >= ALL, f"after {steps} steps: {ALL - set(here.values())} is lost"
        assert sorted(path.partition(".conflict")[0] for path in here if is_copy(path)) == ["both", "f02"], f"after {steps} steps"
        assert {"f03", "f04"} & here.keys() == set()
        assert not [path for path in os.listdir(world.folder) if path.startswith(".nbd-restore")]  # noqa: PTH208
        await world.data.close()
        shutil.rmtree(world.root)
        points += 1
        if alive:
            break
    assert points > 60


@pytest.fixture
def large(tmp_path: Path) -> Callable[[AttachedWorld, bytes], Path]:
    def make(world: AttachedWorld, end: bytes) -> Path:
        """More than goes up in one request; mostly a hole."""
        with open(world.folder / "large", "r+b" if (world.folder / "large").exists() else "wb") as file:
            file.truncate(WHOLE + (1 << 20))
            file.seek(WHOLE)
            file.write(end)
        return world.folder / "large"

    return make


async def test_a_large_file_goes_up_in_parts_and_never_torn(tmp_path: Path, large: Callable[[AttachedWorld, bytes], Path]) -> None:
    world = AttachedWorld(tmp_path)
    await world.start()
    file = large(world, b"one")
    await world.flush()
    assert world.memory.objects["large"] == file.read_bytes()
    world.memory.calls.clear()
    os.utime(file)
    await world.flush()
    assert world.memory.calls == []
    # It is written to again while it is read.
    large(world, b"two")

    def write_on() -> None:
        large(world, b"three")

    world.memory.midway = write_on
    await world.flush()
    assert world.memory.objects["large"][WHOLE : WHOLE + 3] == b"one"
    assert "keeps changing" in (await world.view()).left[0].reason
    await world.flush()
    assert world.memory.objects["large"] == file.read_bytes()
    large(world, b"mine!")
    world.put("large", "theirs")
    await world.flush()
    (copy,) = set(world.memory.objects) - {"large"}
    assert (world.memory.objects["large"], world.memory.objects[copy]) == (b"theirs", file.read_bytes())
    await world.data.close()
