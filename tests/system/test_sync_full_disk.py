"""No space left: in the store, in sync's state folder, in the home that is restored to; by bytes, by inodes, and at each single call.

A snapshot fails with a sentence and a next step, the older ones stay good, no repair step is needed, and what was wanted is there by itself when
there is room again. A restore stops with no half file under a final name, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.errors import NbdError
from tests.homes.world import SOAK, different, look

from .keptlife import KIM, Life, strace
from .restoring import Restoring
from .syncbox import outcome_of, sync_box

pytestmark = pytest.mark.real
SEED = int(os.environ.get("NBD_SEED", "20261122"))
LEVELS = 40 * SOAK
POINTS = 24 * SOAK
SETTINGS = '[homes]\nlook_every = "200ms"\nuser = "nbdtest-none"\nspool = "0B"\n'
"""What failed is tried again soon. No notebook runs, so nothing else is done by the clock."""
SPOOLED = SETTINGS.replace("0B", "64MiB")
MIB = 1 << 20


@contextmanager
def small_disk(at: Path, size: int, inodes: int = 20_000) -> Iterator[Path]:
    """An ext4 of its own."""
    image = at.parent / f"{at.name}.ext4"
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), image], check=True, capture_output=True)
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)
        image.unlink()


@contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """So many bytes are free, and no more."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as file:
        while (space := os.statvfs(disk)).f_bavail * space.f_frsize > left:
            size = max(space.f_frsize, space.f_bavail * space.f_frsize - left - 64 * space.f_frsize)
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                break
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def no_inodes(disk: Path, left: int) -> Iterator[None]:
    """So many files can be made, and no more."""
    folder = disk / "many"
    folder.mkdir()
    for number in range(os.statvfs(disk).f_favail - left):
        (folder / str(number)).touch()
    try:
        yield
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def levels(most: int) -> Sequence[int]:
    """From nothing up to more than is needed."""
    return [most * number // LEVELS for number in range(LEVELS)]


async def tried(life: Life, name: str, codes: Sequence[str]) -> bool:
    """Whether a snapshot went well; else with one of these codes, a sentence and a next step."""
    outcome = await outcome_of(life.save(name))
    if outcome is None:
        return True
    assert outcome.code in codes, outcome
    status = await life.box.status(life.who)
    assert status.trouble
    assert status.pending == (f"stop {name}",)
    return False


async def comes_by_itself(life: Life, name: str) -> None:
    """What was asked for while there was no room. The home has not changed since."""
    async with asyncio.timeout(30):
        while name not in life.box.stored(life.who):
            await asyncio.sleep(0.05)
    life.acked[name] = life.tried[name]
    async with asyncio.timeout(30):
        while (status := await life.box.status(life.who)).trouble or status.pending:
            await asyncio.sleep(0.05)


async def survived(life: Life, disk: Path, left: int, name: str, code: str = "store_unfit", *, kill: bool = False) -> bool:
    """Whether a snapshot got through with so much room; one that did not comes by itself when there is more."""
    with filled(disk, left):
        well = await tried(life, name, [code])
        if kill:
            life.box.kill()
            life.box.up()
        await life.check()
    if not well:
        await comes_by_itself(life, name)
    return well


async def test_a_full_store(short_path: Path) -> None:
    with small_disk(short_path / "disk", 256 * MIB * SOAK) as disk:
        store = disk / "store"
        with sync_box(short_path, SETTINGS + f'store = "{store}"\n') as box:
            box.store = store
            life, failed = Life.begin(box, short_path, SEED), 0
            await life.save("first")
            for number, left in enumerate(levels(2 * MIB)):
                failed += not await survived(life, disk, left, f"n{number}")
            assert LEVELS / 4 < failed < LEVELS
            await life.check(0)


async def spooled(life: Life, disk: Path, left: int, number: int) -> bool:
    """Whether a snapshot waits on this box, with so much room in the store; now and then sync is killed meanwhile."""
    with filled(disk, left):
        await life.save(f"n{number}")
        waits = (await life.box.status(life.who)).waiting is not None
        if number % 3 == 0:
            life.box.kill()
            life.box.up()
        await life.check()
    return waits


async def published(life: Life) -> None:
    """Until nothing waits on this box any more."""
    async with asyncio.timeout(30):
        while (await life.box.status(life.who)).waiting is not None:
            await asyncio.sleep(0.05)


async def test_what_a_full_store_has_no_room_for_waits_on_this_box(short_path: Path) -> None:
    with small_disk(short_path / "disk", 64 * MIB) as disk, sync_box(short_path, SPOOLED + f'store = "{disk / "store"}"\n') as box:
        box.store = disk / "store"
        life, waited = Life.begin(box, short_path, SEED), 0
        await life.save("first")
        for number, left in enumerate(levels(MIB)[::8]):
            waited += await spooled(life, disk, left, number)
            await published(life)
        assert waited
        await life.check(0)


async def test_a_store_without_inodes(short_path: Path) -> None:
    with small_disk(short_path / "disk", 64 * MIB, inodes=400) as disk, sync_box(short_path, SETTINGS + f'store = "{disk / "store"}"\n') as box:
        box.store = disk / "store"
        life, failed = Life.begin(box, short_path, SEED), 0
        await life.save("first")
        for left in range(6):
            with no_inodes(disk, left):
                well = await tried(life, f"n{left}", ["store_unfit"])
                await life.check()
            if not well:
                failed += 1
                await comes_by_itself(life, f"n{left}")
        assert failed
        await life.check(0)


async def test_a_full_state_folder(short_path: Path) -> None:
    """The store is elsewhere and has room."""
    folder = short_path / "d"
    folder.mkdir()
    (short_path / "store").mkdir()
    with small_disk(folder / "state", 16 * MIB * SOAK) as disk, sync_box(short_path, SETTINGS + f'store = "{short_path / "store"}"\n') as box:
        box.store = short_path / "store"
        life, failed = Life.begin(box, short_path, SEED), 0
        await life.save("first")
        for number, left in enumerate(levels(80 << 10)):
            failed += not await survived(life, disk, left, f"n{number}", "state_unfit", kill=number % 10 == 0)
        assert 0 < failed < LEVELS
        await life.check(0)


async def test_a_full_home_is_restored_to_as_far_as_it_goes(short_path: Path) -> None:
    with small_disk(short_path / "disk", 64 * MIB, inodes=1500) as disk, sync_box(short_path, SETTINGS) as box:
        os.chown(disk, KIM, KIM)
        restoring, failed = await Restoring.begin(box, short_path, disk), 0
        for left in levels(11 * MIB):
            target = restoring.next()
            with filled(disk, left):
                failed += not await restored(restoring, target)
                restoring.check(target)
            await restoring.again(target)
        for left in (0, 100, 300):
            target = restoring.next()
            with no_inodes(disk, left):
                assert not await restored(restoring, target)
                restoring.check(target)
            await restoring.again(target)
        assert LEVELS / 4 < failed < LEVELS
        assert restoring.half > LEVELS / 5


async def restored(restoring: Restoring, target: Path) -> bool:
    done = await outcome_of(restoring.life.box.restore(restoring.life.who, target, restoring.snapshot))
    if isinstance(done, NbdError):
        assert done.code in ("no_space", "no_target"), done
        return False
    assert (done.done, done.skipped, done.damaged) == (True, (), ())
    return True


CALLS, ERRORS = ("write", "fsync", "rename", "mkdir"), ("ENOSPC", "EDQUOT", "EROFS", "EIO")


async def test_each_call_of_a_snapshot_may_fail(short_path: Path) -> None:
    """Once, at the k-th of a kind: the store's or the state folder's."""
    with sync_box(short_path, SETTINGS) as box:
        life = Life.begin(box, short_path, SEED)
        await life.save("first")
        for number in range(POINTS):
            call, error = CALLS[number % len(CALLS)], life.draw.choice(ERRORS)
            assert box.process
            with strace(box.process.pid, f"{call}:error={error}:when={life.draw.randrange(1, 18)}"):
                await outcome_of(life.save(f"n{number}"))
            if f"n{number}" not in life.acked:
                await comes_by_itself(life, f"n{number}")
            await life.check()
        assert not different(look(life.home), life.acked[f"n{POINTS - 1}"])
        await life.check(0)
