"""A home on another file system, or with one mounted into it: elsewhere.py CASE FOLDER, as root in a mount namespace of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .world import World, different, look


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def overlay(folder: Path) -> None:
    """With a lower layer that has things already."""
    for name in ("lower/kept", "upper", "work"):
        (folder / name).mkdir(parents=True)
    (folder / "lower/kept/file").write_bytes(b"below")
    (folder / "lower/gone").write_bytes(b"below")
    layers = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    mount("-t", "overlay", "-o", layers, "overlay", folder / "home")


def tmpfs(folder: Path) -> None:
    mount("-t", "tmpfs", "none", folder / "home")


async def lived_in(folder: Path, begin: Callable[[Path], None]) -> None:
    """What is written, moved and deleted there comes back from wherever it is kept."""
    begin(folder)
    world = await World.make(folder)
    home = world.home
    (home / "kept").mkdir(exist_ok=True)
    (home / "kept/file").touch()
    (home / "gone").touch()
    await world.snap()
    (home / "kept/file").write_bytes(b"changed")
    (home / "gone").unlink()
    (home / "kept/file").rename(home / "kept/moved")
    (home / "link").symlink_to("kept")
    os.link(home / "kept/moved", home / "second")
    for _ in range(2):
        report = await world.snap(confirmed=True)
        await world.restore(report, folder / "back")
        assert different(look(folder / "back"), look(home)) == {}
        shutil.rmtree(folder / "back")
    assert not report.changed, "nothing did, and the second look sees that"


async def mounted_into(folder: Path) -> None:
    """Not entered, not taken for empty, and said; what was there before is kept as it was."""
    world = await World.make(folder)
    for name in ("data", "proc", "new"):
        (world.home / name).mkdir()
    (world.home / "data/mine").write_bytes(b"mine")
    (world.home / "file").write_bytes(b"mine")
    (folder / "other").mkdir()
    (folder / "other/theirs").write_bytes(b"theirs")
    await world.snap()
    (world.home / "saved").write_bytes(b"saved")
    mount("--bind", folder / "other", world.home / "data")
    mount("--bind", folder / "other/theirs", world.home / "file")
    mount("-t", "proc", "none", world.home / "proc")
    report = await world.snap()
    assert sorted((one.path, one.reason) for one in report.snapshot.skipped) == [
        (name, "another file system is mounted there") for name in ("data", "file", "proc")
    ]  # fmt: skip
    await world.restore(report, folder / "back")
    found = {path.decode() for path in look(folder / "back")}
    assert found == {".", "data", "data/mine", "file", "proc", "new", "saved"}
    assert (folder / "back/file").read_bytes() == b"mine"
    subprocess.run(["umount", world.home / "data", world.home / "file", world.home / "proc"], check=True)
    (world.home / "data/mine").write_bytes(b"changed")
    report = await world.snap()
    assert report.snapshot.skipped == ()
    shutil.rmtree(folder / "back")
    await world.restore(report, folder / "back")
    assert different(look(folder / "back"), look(world.home)) == {}


if __name__ == "__main__":
    where = Path(sys.argv[2])
    (where / "home").mkdir()
    cases = {"overlayfs": lived_in(where, overlay), "tmpfs": lived_in(where, tmpfs), "mounts": mounted_into(where)}
    chosen = cases.pop(sys.argv[1])
    for other in cases.values():
        other.close()
    asyncio.run(chosen)
