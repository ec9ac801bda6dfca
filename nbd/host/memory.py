"""Large buffers and the C library's allocator: kept while there is work, given back when it is done.

glibc gives a freed buffer of some MiB back to the kernel at once, and the kernel clears each page of the next one: reading and writing a home then
takes three times the system's time (measured: 4.7 s against 1.9 s for 1 GiB). Each thread would have an arena of its own, too, and keep what it had.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BYTES, LARGEST_BYTES, ARENAS = 256 << 20, 32 << 20, 2
GIVE_BACK_SECONDS = 60.0

_library = ctypes.CDLL(None)


def keep_buffers() -> None:
    """To be called first of all. On another C library nothing happens."""
    if hasattr(_library, "mallopt"):
        for option, value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGEST_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES)):
            _library.mallopt(option, value)


async def give_back() -> None:
    """What is free goes to the kernel. Takes a millisecond where there is nothing to give."""
    if hasattr(_library, "malloc_trim"):
        _library.malloc_trim(0)
