"""Pages packed and unpacked by the real zstd; a kill in between costs nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.host.freezepack import pack, tidy, unpack

PAGES = b"memory of a kernel " * 200_000
SECONDS = 30.0


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "pages-1.img").write_bytes(PAGES)
    (tmp_path / "pages-2.img").write_bytes(b"small")
    (tmp_path / "inventory.img").write_bytes(b"x" * (2 << 20))
    return tmp_path


def names(image: Path) -> set[str]:
    return {entry.name for entry in image.iterdir()}


async def test_there_and_back(image: Path) -> None:
    await pack(image, 1, SECONDS)
    assert names(image) == {"pages-1.img.zst", "pages-2.img", "inventory.img"}
    assert (image / "pages-1.img.zst").stat().st_size < len(PAGES) / 10
    for _ in range(2):
        await unpack(image, SECONDS)
        assert (image / "pages-1.img").read_bytes() == PAGES
        tidy(image)
        assert names(image) == {"pages-1.img.zst", "pages-2.img", "inventory.img"}


async def test_level_0_leaves_it_as_it_is(image: Path) -> None:
    before = names(image)
    await pack(image, 0, SECONDS)
    await unpack(image, SECONDS)
    tidy(image)
    assert names(image) == before


@pytest.mark.parametrize("level", [0, 1])
async def test_what_was_cut_off_while_packing_counts_for_nothing(image: Path, level: int) -> None:
    (image / "pages-1.img.zst").write_bytes(b"half")
    await pack(image, level, SECONDS)
    await unpack(image, SECONDS)
    assert (image / "pages-1.img").read_bytes() == PAGES


async def test_what_was_cut_off_while_unpacking_counts_for_nothing(image: Path) -> None:
    await pack(image, 1, SECONDS)
    (image / "pages-1.img").write_bytes(b"half")
    await unpack(image, SECONDS)
    assert (image / "pages-1.img").read_bytes() == PAGES


async def test_what_is_damaged_is_said(image: Path) -> None:
    await pack(image, 1, SECONDS)
    os.truncate(image / "pages-1.img.zst", 100)
    with pytest.raises(HostUnfit, match="zstd"):
        await unpack(image, SECONDS)
