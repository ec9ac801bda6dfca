"""Where a file is cut. Pure: the cutting itself comes as a function.

A cut depends on nothing but the bytes since the cut before it. So a region whose old chunk still has its id needs no cutting, and after a
change the cuts fall in step again by themselves: a changed kilobyte in a gigabyte costs one or two chunks and one pass of hashing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..model import MAX_CHUNK, MIN_CHUNK, NO_ID, Extent

WHOLE = 4 << 20
"""Files up to this size are read in one go, together with their neighbours."""


@dataclass(frozen=True, slots=True)
class Cutter:
    """`cut`: the length of the first chunk of the bytes. `identify`: the id of a data chunk."""

    cut: Callable[[memoryview], int]
    identify: Callable[[memoryview], bytes]

    def chunks(self, window: memoryview, at: int, old: dict[int, Extent], *, last: bool) -> Iterator[tuple[Extent, memoryview]]:
        """The chunks of `window`, which lies at offset `at`; without `last`, the end that more bytes could change is left over."""
        while len(window) >= (1 if last else MAX_CHUNK):
            before = old.get(at)
            extent = before if before and before.id != NO_ID and before.length <= len(window) else None
            if extent is None or self.identify(window[: extent.length]) != extent.id:
                length = self.cut(window[:MAX_CHUNK]) if len(window) > MIN_CHUNK else len(window)
                extent = Extent(length, self.identify(window[:length]))
            yield extent, window[: extent.length]
            window, at = window[extent.length :], at + extent.length


def by_offset(extents: list[Extent]) -> dict[int, Extent]:
    found, at = {}, 0
    for extent in extents:
        found[at] = extent
        at += extent.length
    return found
