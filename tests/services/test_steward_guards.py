"""What is not there may be a hole where the home should be: nothing is recorded as deleted until a person says so, and it is said that it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbd.errors import HostUnfit, Refused
from nbd.homemessages import HomeEventKind
from nbd.homes.snapshots.snapshotter import Request
from nbd.notebooks.tidings import tidings

from .boxes import Box


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    box = Box(tmp_path / "box")
    yield box
    await box.steward.close()


async def told(box: Box) -> list[HomeEventKind]:
    (brief,) = await box.steward.briefs()
    return [event.kind for event in tidings(None, brief, 1.0)]


async def looked(box: Box) -> None:
    await box.steward.flush(box.home, Request())


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={os.geteuid()},mode=0700", "nbd-test", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.real
async def test_a_home_that_is_not_mounted_is_no_home(box: Box) -> None:
    with mounted(box.path):
        await box.start()
        for name in ("thesis", "data"):
            (box.path / name).write_text(name)
        await box.stop()
    pointer = box.store.objects["latest"]
    with pytest.raises(HostUnfit, match="was a mount of its own, and is none now"):
        await box.steward.ready(box.home)
    with pytest.raises(Refused, match="the home is empty, and had 2 entries"):
        await looked(box)
    # A log-in left something below the mount point.
    (box.path / ".bash_history").write_text("ls\n")
    with pytest.raises(Refused, match="another folder than before, and 2 of 2 entries"):
        await looked(box)
    assert box.store.objects["latest"] == pointer
    status = await box.steward.status(box.home)
    assert status.withheld == status.trouble
    assert "nbctl home confirm" in status.hint
    assert await told(box) == [HomeEventKind.TROUBLE, HomeEventKind.WITHHELD]


@pytest.mark.parametrize(
    ("deleted", "withheld"),
    [(25, ""), (26, "26 of 101 entries are gone at once"), (90, "90 of 101 entries are gone at once")],
)
async def test_much_at_once_waits_for_a_word(box: Box, deleted: int, withheld: str) -> None:
    for number in range(101):
        (box.path / f"f{number}").write_text("x")
    await looked(box)
    for number in range(deleted):
        (box.path / f"f{number}").unlink()
    (box.path / "new").write_text("new")
    await looked(box)
    names = await box.names()
    assert "new" in names
    assert len(names) == (102 if withheld else 102 - deleted)
    assert (await box.steward.status(box.home)).withheld == withheld
    assert await told(box) == ([HomeEventKind.WITHHELD] if withheld else [])
    await box.steward.flush(box.home, Request("confirm", confirmed=True))
    assert len(await box.names()) == 102 - deleted
    assert (await box.steward.status(box.home)).withheld == ""
    assert await told(box) == []


async def test_all_of_it_gone_waits_for_a_word_and_another_folder_with_all_of_it_does_not(box: Box) -> None:
    for name in ("a", "b", "c"):
        (box.path / name).write_text(name)
    await looked(box)
    moved = box.path.with_name("moved")
    shutil.copytree(box.path, moved)
    shutil.rmtree(box.path)
    with pytest.raises(Refused, match="cannot be opened"):
        await looked(box)
    moved.rename(box.path)
    await looked(box)
    assert (await box.steward.status(box.home)).withheld == ""
    for path in box.path.iterdir():
        path.unlink()
    with pytest.raises(Refused, match="is empty"):
        await looked(box)
    await box.killed()
    with pytest.raises(Refused, match="is empty"):
        await looked(box)
    await box.steward.flush(box.home, Request("confirm", confirmed=True))
    assert await box.names() == set()


async def test_another_box_that_saves_at_the_same_time_is_said_and_kept(box: Box) -> None:
    (box.path / "mine").write_text("x")
    await box.start()
    await looked(box)
    other = Box(box.folder.with_name("other"), box.store)
    (other.path / "theirs").write_text("y")
    await other.steward.flush(other.home, Request(confirmed=True))
    (box.path / "more").write_text("z")
    await box.steward.flush(box.home, Request(confirmed=True))
    assert await told(box) == [HomeEventKind.ALARM]
    await box.keeper.ledger.keep_both("ada")
    assert [name for _, name in await box.events() if name] == [f"of {other.means.vault.box}"]
    assert await told(box) == [HomeEventKind.ALARM], "it stays said"
    await box.steward.flush(box.home, Request("confirm", confirmed=True))
    assert await told(box) == []
    await other.steward.close()
