"""The kernel's clocks, and which boot they count from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BootClock:
    def __init__(self, boot_id: Path = BOOT_ID) -> None:
        self.boot = boot_id.read_text().strip()

    def steady(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def minute_of(self, wall: float) -> float:
        local = local_time(wall)
        return local.hour * 60 + local.minute + local.second / 60

    def text(self, moment: float | None) -> str:
        if moment is None:
            return ""
        now = self.wall()
        local, today = local_time(now + moment - self.steady()), local_time(now).date()
        return f"{local:%H:%M}" if local.date() == today else f"{local:%d %b %H:%M}"


def local_time(wall: float) -> datetime:
    return datetime.fromtimestamp(wall, UTC).astimezone()
