"""What was lost at once, or little by little, is in the snapshots until its person says that it may go, whatever is looked at meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd.homes.guards import A_WHILE
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.snapshotter import Report, Request, Snapshotter
from nbd.host.ignores import IgnoreRules

from .world import KEYS, SOAK, World, opened, without_threads

FOLDERS, EACH = 10, 30
ALL = FOLDERS * EACH


class Clocked:
    """A home of some folders, and a clock that is set."""

    def __init__(self, world: World) -> None:
        self.world, self.home = world, world.home
        self.ahead = 0
        for number in range(FOLDERS):
            (self.home / f"d{number}").mkdir()
            for file in range(EACH):
                (self.home / f"d{number}/f{file}").write_text(f"{number} {file}")

    async def snap(self, *dirty: str, event: str = "save", confirmed: bool = False, ignore: str = "") -> Report:
        request = Request(event, dirty=frozenset(name.encode() for name in dirty) if dirty else None, confirmed=confirmed)
        async with opened(self.home) as home:
            return await Snapshotter(self.world.repository, IgnoreRules(ignore), lambda: time.time_ns() + self.ahead).take(home, request)

    async def kept(self, report: Report) -> int:
        target = self.home.parent / f"back{report.snapshot.time}"
        await self.world.restore(report, target)
        return sum(path.is_file() for path in target.rglob("f*"))

    def lose(self, folder: int, keep: Callable[[int], bool] = lambda _: False) -> None:
        for file in range(EACH):
            if not keep(file):
                (self.home / f"d{folder}/f{file}").unlink()


@pytest.fixture
async def house(tmp_path: Path) -> Clocked:
    return Clocked(await World.make(tmp_path))


async def test_what_nobody_confirmed_is_not_lost_bit_by_bit(house: Clocked) -> None:
    """A proof goes through a home by some folders at a time, and a save looks at one: each sees little of the loss."""
    await house.snap()
    for folder in range(FOLDERS):
        house.lose(folder)
    lost = await house.snap()
    assert lost.withheld == f"{ALL} of {ALL + FOLDERS} entries are gone at once"
    for folder in range(FOLDERS):
        (house.home / f"d{folder}/new").write_text("x")
        assert await house.kept(await house.snap(f"d{folder}")) == ALL
    house.world.repository = await Repository.open(house.world.store, KEYS)  # Sync was started again.
    assert await house.kept(await house.snap("d3")) == ALL
    assert (await house.snap()).withheld == f"{ALL} of {ALL + 2 * FOLDERS} entries are gone, and nobody has confirmed it"
    house.ahead = 10 * A_WHILE
    assert (await house.snap()).withheld
    confirmed = await house.snap(event="confirm", confirmed=True)
    assert (await house.kept(confirmed), confirmed.withheld, confirmed.snapshot.withheld) == (0, "", 0)
    (house.home / "d0/new").unlink()
    assert "new" not in {path.name for path in house.home.rglob("d0/*")}
    assert (await house.snap("d0")).withheld == ""


async def test_what_came_back_needs_no_word(house: Clocked) -> None:
    first = await house.snap()
    for folder in range(FOLDERS):
        house.lose(folder)
    assert (await house.snap()).withheld
    await house.world.restore(first, house.home)
    back = await house.snap()
    assert (back.withheld, back.snapshot.withheld, await house.kept(back)) == ("", 0, ALL)
    house.lose(0)
    assert (await house.snap("d0")).withheld == ""


async def slowly(house: Clocked) -> list[Report]:
    """All of it, folder by folder, in more time than a look."""
    reports = []
    for folder in range(FOLDERS):
        house.lose(folder)
        reports.append(await house.snap(f"d{folder}"))
    return reports


async def test_a_slow_loss_waits_for_a_word_too(house: Clocked) -> None:
    await house.snap()
    house.ahead = A_WHILE
    reports = await slowly(house)
    assert [bool(one.withheld) for one in reports] == [False] * 2 + [True] * (FOLDERS - 2)
    assert reports[2].withheld == f"{3 * EACH} of {ALL + FOLDERS} entries are gone, little by little"
    assert await house.kept(reports[-1]) == ALL - 2 * EACH
    house.ahead = 5 * A_WHILE
    assert (await house.snap()).withheld, "it stays so, however long ago it was"
    assert await house.kept(await house.snap(event="confirm", confirmed=True)) == 0
    for file in range(ALL):
        (house.home / f"d0/f{file}").write_text("new")
    await house.snap("d0")
    house.lose(0)
    assert (await house.snap("d0")).withheld == "", "what was meant is not counted again"


async def test_what_is_no_slow_loss(house: Clocked) -> None:
    """As much came as went; and what another rule leaves out is not gone."""
    await house.snap()
    house.ahead = A_WHILE
    for file in range(ALL):
        (house.home / f"d0/g{file}").write_text("x")
    await house.snap("d0")
    assert [one.withheld for one in await slowly(house)] == [""] * FOLDERS
    for file in range(ALL):
        (house.home / f"d1/g{file}").write_text("x")
    await house.snap("d1")
    house.ahead = 2 * A_WHILE
    await house.snap(ignore="/d1/\n")
    for file in range(EACH):
        (house.home / f"d0/g{file}").unlink()
    assert (await house.snap("d0", ignore="/d1/\n")).withheld == ""


class Life:
    """A home of which much was lost and nobody has said a word, and its person, who works on."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.home, self.dice = world, world.home, random.Random(seed)
        self.dirty: set[bytes] = set()
        self.steps = itertools.count()

    def touch(self, *folders: Path) -> None:
        self.dirty |= {b"" if folder == self.home else os.fsencode(str(folder.relative_to(self.home))) for folder in folders}

    def files(self) -> dict[str, str]:
        return contents(self.home)

    def act(self) -> None:
        """One thing that a person does."""
        files = [self.home / name for name in self.files()]
        folders = [path for path in self.home.rglob("*") if path.is_dir()]
        there = self.dice.choice([self.home, *folders])
        match self.dice.choice(["new", "make", "move", "move a folder", "remove a folder"]):
            case "make":
                there /= f"made{next(self.steps)}"
                there.mkdir()
                self.touch(there.parent, there)
            case "move" if files:
                file = self.dice.choice(files)
                file.rename(there / f"moved{next(self.steps)}")
                self.touch(file.parent, there)
            case "move a folder" if folders:
                folder, new = self.dice.choice(folders), self.home / f"other{next(self.steps)}"
                folder.rename(new)
                self.touch(folder.parent, self.home, new)
            case "remove a folder" if folders:
                folder = self.dice.choice(folders)
                shutil.rmtree(folder)
                self.touch(folder.parent)
            case _:
                (there / f"new{next(self.steps)}").write_text("new")
                self.touch(there)

    async def saved(self, *, everything: bool) -> Report:
        report = await self.world.snap(*(() if everything else self.dirty or {b""}))
        self.dirty.clear()
        return report

    async def back(self, report: Report) -> dict[str, str]:
        target = self.home.parent / "back"
        shutil.rmtree(target, ignore_errors=True)
        await self.world.restore(report, target)
        return contents(target)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", range(8 * SOAK))
async def test_whatever_is_done_meanwhile(tmp_path: Path, seed: int) -> None:
    without_threads()
    life = Life(await World.make(tmp_path), seed)
    for folder in [f"d{one}" for one in range(6)] + [f"d{one}/e{two}" for one in range(3) for two in range(2)]:
        (life.home / folder).mkdir()
        for number in range(8):
            (life.home / folder / f"f{number}").write_text(f"{folder} {number}")
    await life.saved(everything=True)
    lost = dict(life.dice.sample(sorted(life.files().items()), 50))
    for name in lost:
        (life.home / name).unlink()
    assert (await life.saved(everything=True)).withheld
    for _ in range(12):
        life.act()
        if life.dice.random() < 0.6:
            await life.saved(everything=life.dice.random() < 0.25)
    kept = await life.back(await life.saved(everything=False))
    assert {name: kept.get(name) for name in lost} == lost
    assert {name: kept.get(name) for name in life.files()} == life.files()
    assert await life.back(await life.world.snap(event="confirm", confirmed=True)) == life.files()
