"""An image's pages, smaller on the disk: zstd as a program of its own, so that it uses all cores, none of core's memory, and can be killed.

Pages are most of an image. While it is packed a file is there twice for a moment; until the image is marked the plain one counts, then the packed.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import HostUnfit
from . import commands

PAGES, PACKED = "pages-*.img", ".zst"
WORTH_BYTES = 1 << 20


async def pack(image: Path, level: int, seconds: float) -> None:
    """Each file of pages that is worth it; none for level 0. Raises HostUnfit, Deadline: then some are packed and some not, and all are there."""
    for found in image.glob(f"{PAGES}{PACKED}"):
        if plain(found).exists():
            found.unlink()  # Cut off: the plain one counts.
    files = [str(found) for found in image.glob(PAGES) if level and found.stat().st_size >= WORTH_BYTES]
    if files:
        await _zstd(["-T0", f"-{level}", "--rm", *files], seconds)


async def unpack(image: Path, seconds: float) -> None:
    """Plain files beside the packed ones, which stay. Raises HostUnfit(disk_full), Deadline."""
    files = [str(found) for found in image.glob(f"{PAGES}{PACKED}")]
    if files:
        await _zstd(["-d", *files], seconds)


def tidy(image: Path) -> None:
    """Plain files of which there is a packed one go."""
    for found in image.glob(f"{PAGES}{PACKED}"):
        plain(found).unlink(missing_ok=True)


def plain(packed: Path) -> Path:
    return packed.with_name(packed.name.removesuffix(PACKED))


async def _zstd(words: list[str], seconds: float) -> None:
    done = await commands.run(["zstd", "--quiet", "--force", *words], seconds)
    if done.code:
        full = "No space left" in done.err
        raise HostUnfit(f"zstd: {done.err.strip()[:300]}", code="disk_full" if full else "host_unfit", hint="make room on the disk for images")
