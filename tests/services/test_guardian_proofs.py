"""The proof of a home, bit by bit: each folder once, from where it was left, whatever comes between; and what it finds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Unreachable
from nbd.homes.keeping import prover
from nbd.homes.keeping.prover import Prover
from nbd.homes.keeping.work import HURRY_SECONDS
from tests.fakes.changes import FakeSource
from tests.homes.world import World
from tests.services.guarded import EVERY, House, closing, until

FOLDERS = 450


def furnish(home: Path) -> None:
    for number in range(FOLDERS):
        folder = home / f"d{number % 7}" / f"e{number}"
        folder.mkdir(parents=True)
        (folder / "file").write_text("old")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Nobody tells it anything, and it is proved all the time."""
    async with closing(House(tmp_path, sources=[FakeSource()], prove_seconds=EVERY)) as house:
        furnish(house.path)
        await house.steward.watch([house.home])
        await until(lambda: proved(house, 0))
        yield house


async def proved(house: House, after: float) -> bool:
    return ((await house.status()).proved or 0) > after


async def test_each_folder_once_and_in_order(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    furnish(world.home)
    (world.home / "large").mkdir()
    for number in range(prover.MOST_ENTRIES + 500):
        (world.home / "large" / f"f{number}").touch()
    await world.snap()
    proof, parts = Prover(), list[frozenset[bytes]]()
    while part := await proof.next(world.repository):
        parts.append(part)
        assert len(part) <= prover.MOST_FOLDERS
        assert proof.under_way
    assert not proof.under_way
    given = [folder for part in parts for folder in part]
    there = {os.path.relpath(os.fsencode(folder), os.fsencode(world.home)) for folder, _, _ in os.walk(world.home)}
    assert len(parts) > 2
    assert sorted(given) == sorted(there - {b"."} | {b""})


async def test_what_nobody_told_is_found_with_the_store_away_in_between(house: House) -> None:
    changed = time.time()
    for file in house.path.glob("d*/e*/file"):
        file.write_text("new")
    for _ in range(5):
        house.store.trouble = Unreachable("the store is away")
        await asyncio.sleep(2 * EVERY)
        house.store.trouble = None
        await asyncio.sleep(2 * EVERY)
    await until(lambda: proved(house, changed), 30)
    for number in range(FOLDERS):
        (entry,) = await house.steward.entries(house.home, "latest", f"d{number % 7}/e{number}")
        assert entry.modified >= changed - 1


async def test_what_is_new_gone_or_moved_is_found(house: House) -> None:
    (house.path / "d0/e0").rename(house.path / "d6/moved")
    (house.path / "d3").rename(house.path / "a3")
    (house.path / "d5/e5/deep/er").mkdir(parents=True)
    (house.path / "d5/e5/deep/er/x").write_text("x")
    (house.path / "d1/e1/file").unlink()
    changed = time.time()
    await until(lambda: proved(house, changed), 30)

    async def names(folder: str) -> set[str]:
        return {entry.name for entry in await house.steward.entries(house.home, "latest", folder)}

    assert await names("") == {"a3", *(f"d{number}" for number in (0, 1, 2, 4, 5, 6))}
    assert "e0" not in await names("d0")
    assert await names("d6/moved") == {"file"}
    assert await names("d5/e5/deep/er") == {"x"}
    assert await names("d1/e1") == set()


async def test_other_names_of_a_file_bring_the_proof_forward(tmp_path: Path) -> None:
    source = FakeSource()
    async with closing(House(tmp_path, sources=[source])) as house:
        (house.path / "a").mkdir()
        (house.path / "a/one").write_text("old")
        os.link(house.path / "a/one", house.path / "two")
        await house.steward.watch([house.home])
        await until(lambda: proved(house, 0))
        work = house.guardian.work
        before = work.situation(watched=True).prove
        assert before is not None
        assert before > time.monotonic() + 2 * HURRY_SECONDS
        (house.path / "a/one").write_text("newer")
        source.changed(b"a")

        async def sooner() -> bool:
            return (work.situation(watched=True).prove or before) <= time.monotonic() + HURRY_SECONDS

        await until(sooner)
