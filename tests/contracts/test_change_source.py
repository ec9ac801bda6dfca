"""The contract of a source of changes, on fanotify, on inotify and on the fake: who looks where they were told to look has seen every change."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.contracts.change_sources import World, world_of
from tests.homes import world as homes

KINDS = [pytest.param("fanotify", marks=pytest.mark.real), "inotify", "fake"]
SEEING = KINDS[:2]


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path, short_path: Path) -> AsyncIterator[World]:
    async with world_of(request.param, tmp_path, short_path) as world:
        yield world


@pytest.mark.parametrize("world", KINDS, indirect=True)
async def test_a_change_marks_its_folder_and_no_other(world: World) -> None:
    (world.home / "a/b").mkdir(parents=True)
    (world.home / "c").mkdir()
    await world.watched()
    assert await world.told() == frozenset()
    (world.home / "a/b/file").write_text("x")
    world.say("a/b")
    assert await world.told() == frozenset({b"a/b"})
    assert await world.told() == frozenset()
    (world.home / "top").write_text("x")
    world.say("")
    assert await world.told() == frozenset({b""})


@pytest.mark.parametrize("world", KINDS, indirect=True)
async def test_what_is_elsewhere_or_hidden_is_not_told(world: World) -> None:
    for folder in ("home/.cache/pip", "home-of-another", "elsewhere"):
        (world.home.parent / folder).mkdir(parents=True)
    await world.watched()
    (world.home / ".cache/pip/x").write_text("x")
    (world.home / ".cache/new").mkdir()
    (world.home.parent / "home-of-another/x").write_text("x")
    (world.home.parent / "elsewhere/x").write_text("x")
    world.say(".cache/pip", ".cache")
    assert await world.told() == frozenset()


@pytest.mark.parametrize("world", KINDS, indirect=True)
async def test_after_the_close_nothing_is_told_and_again_after_another_watch(world: World) -> None:
    await world.watched()
    await world.lookout.down()
    (world.home / "x").write_text("x")
    world.say("")
    assert world.dirt.take() is None
    await world.watched()
    (world.home / "x").write_text("y")
    world.say("")
    assert await world.told() == frozenset({b""})
    await world.lookout.down()


@pytest.mark.parametrize("world", KINDS, indirect=True)
async def test_a_watch_is_sound_while_the_home_is_where_it_was(world: World) -> None:
    await world.watched()
    await world.lookout.check()
    assert world.lookout.whole


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "write": lambda home: (home / "d/f").write_text("other"),
    "append": lambda home: os.write(os.open(home / "d/f", os.O_WRONLY | os.O_APPEND), b"more"),
    "truncate": lambda home: os.truncate(home / "d/f", 1),
    "chmod": lambda home: (home / "d/f").chmod(0o600),
    "utime": lambda home: os.utime(home / "d/f", (1, 1)),
    "xattr": lambda home: os.setxattr(home / "d/f", "user.x", b"y"),
    "delete": lambda home: (home / "d/f").unlink(),
    "rename": lambda home: (home / "d/f").rename(home / "d/g"),
    "move": lambda home: (home / "d/f").rename(home / "e/f"),
    "replace": lambda home: (home / "e/h").replace(home / "d/f"),
    "link": lambda home: os.link(home / "d/f", home / "e/f"),
    "symlink": lambda home: (home / "e/s").symlink_to("nowhere"),
    "fifo": lambda home: os.mkfifo(home / "e/p"),
    "folder": lambda home: (home / "d/new/newer").mkdir(parents=True),
    "rmdir": lambda home: shutil.rmtree(home / "d"),
    "folder mode": lambda home: (home / "d").chmod(0o700),
    "folder rename": lambda home: (home / "d").rename(home / "r"),
    "folder swap": lambda home: swap(home, "d", "e"),
    "kind flip": lambda home: flip(home / "d"),
    "moved in": lambda home: (home.parent / "outside").rename(home / "e/in"),
    "moved out": lambda home: (home / "d").rename(home.parent / "out"),
    "home mode": lambda home: home.chmod(0o711),
}


@pytest.mark.parametrize("world", SEEING, indirect=True)
async def test_a_new_folder_is_told_of_by_what_is_written_into_it_at_once(world: World) -> None:
    """Whoever looked at it when it was empty has to hear of it again."""
    await world.watched()
    names = [f"n{number}" for number in range(200)]
    for name in names:
        (world.home / name / "below").mkdir(parents=True)
        (world.home / name / "below" / "file").write_text("x")
    told = await world.told()
    assert told is not None
    assert told >= {os.fsencode(f"{name}/below") for name in names}


def swap(home: Path, one: str, other: str) -> None:
    (home / one).rename(home / "aside")
    (home / other).rename(home / one)
    (home / "aside").rename(home / other)


def flip(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def furnish(home: Path) -> None:
    for folder in (home / "d/deep/deeper", home / "e", home.parent / "outside/of/it"):
        folder.mkdir(parents=True)
    for file in (home / "d/f", home / "d/deep/deeper/f", home / "e/h", home.parent / "outside/of/it/f"):
        file.write_text(f"{file}")


@pytest.mark.parametrize("world", SEEING, indirect=True)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_looking_where_it_says_sees_everything(world: World, operation: str, tmp_path: Path) -> None:
    furnish(world.home)
    keeping = await homes.World.make(tmp_path)
    await keeping.snap()
    await world.watched()
    OPERATIONS[operation](world.home)
    await same_as_told(world, keeping, tmp_path / "back")


async def same_as_told(world: World, keeping: homes.World, target: Path) -> None:
    folders = await world.told()
    assert folders != frozenset(), "nothing was told"
    report = await keeping.snap(*(folders or ()), confirmed=True)
    if report.prove:
        # Of a file's other names no event tells; that there are some is seen, and they are looked for.
        report = await keeping.snap(confirmed=True)
    await keeping.restore(report, target)
    assert facts(target) == facts(world.home)


def facts(home: Path) -> homes.Tree:
    """Hidden folders are not in a snapshot."""
    return {path: facts for path, facts in homes.look(home).items() if b".cache" not in path}


@pytest.mark.parametrize("world", SEEING, indirect=True)
@pytest.mark.parametrize("seed", range(6))
async def test_storms_of_folders_that_come_go_and_move(world: World, seed: int, tmp_path: Path) -> None:
    """Rename storms with writes between them; each time the folders that were told of are enough."""
    furnish(world.home)
    keeping, dice = await homes.World.make(tmp_path), random.Random(seed)
    await keeping.snap()
    await world.watched()
    for turn in range(6):
        for _ in range(40):
            stir(world.home, dice)
        (world.home / f"turn{turn}").write_text("done")
        await same_as_told(world, keeping, tmp_path / f"back{turn}")


def stir(home: Path, dice: random.Random) -> None:
    """One thing that may happen, somewhere; what cannot be done is not."""
    folders = [path for path in (home, *home.rglob("*")) if path.is_dir()]
    where, other, name = dice.choice(folders), dice.choice(folders), f"n{dice.randrange(12)}"
    try:
        match dice.randrange(7):
            case 0 | 1:
                (where / name).write_text(f"{time.time_ns()}")
            case 2:
                (where / name).mkdir()
                (where / name / "first").write_text("quickly")
            case 3 | 4:
                (where / name).rename(other / f"n{dice.randrange(12)}")
            case 5:
                where.rename(other / name)
            case _:
                shutil.rmtree(where / name) if (where / name).is_dir() else (where / name).unlink()
    except OSError:
        return
