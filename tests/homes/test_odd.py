"""Homes that are odd and real: what programs and file systems do that no table of rules thinks of."""

from __future__ import annotations

import mmap
from pathlib import Path

from .world import World


async def test_a_write_through_a_mapping_is_seen(tmp_path: Path) -> None:
    """Into a page that was dirty already when the first snapshot read it: ext4 sets no ctime for that."""
    world = await World.make(tmp_path)
    path = world.home / "mapped"
    path.write_bytes(b"0" * 8192)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:
        mapped[0:3] = b"one"
        await world.snap()
        mapped[0:3] = b"two"
    last = await world.snap()
    await world.restore(last, tmp_path / "back")
    assert (tmp_path / "back/mapped").read_bytes()[:3] == b"two"


async def test_a_large_write_through_a_mapping_is_seen(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    path, size = world.home / "mapped", 6 << 20
    path.write_bytes(b"0" * size)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        mapped[size - 3 :] = b"one"
        await world.snap()
        mapped[size - 3 :] = b"two"
    await world.restore(await world.snap(), tmp_path / "back")
    assert (tmp_path / "back/mapped").read_bytes()[-3:] == b"two"
