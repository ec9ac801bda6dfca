"""How much more may be written beside a person's and the system's own files."""

from __future__ import annotations

import os
from pathlib import Path

LEAST_BYTES, LEAST_SHARE = 1 << 30, 0.05


def spare(folder: Path) -> int:
    """Bytes, until the last gibibyte or the last twentieth of the file system is reached: what is there only for comfort never takes these."""
    space = os.statvfs(folder)
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    return max(0, int(free - max(LEAST_BYTES, LEAST_SHARE * total)))
