"""The profiles as their folder has them now: read again when a file changed. A wrong file keeps the last right set in force."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import NbdError
from ..profiles import Profile, profile_files, read_profiles

log = logging.getLogger(__name__)


class ProfileFolder:
    def __init__(self, folder: Path, read: Callable[[Path], Mapping[str, Profile]] = read_profiles) -> None:
        self._folder = folder
        self._reader = read
        self._stamp: tuple[tuple[str, int, int], ...] | None = None
        self._profiles: Mapping[str, Profile] = {}
        self.trouble = ""
        """What is wrong with the files now, in one sentence."""

    def profiles(self) -> Mapping[str, Profile]:
        stamp = self._now()
        if stamp != self._stamp:
            self._stamp = stamp
            self._read()
        return self._profiles

    async def health(self) -> str:
        self.profiles()
        return self.trouble or "ok"

    def _now(self) -> tuple[tuple[str, int, int], ...]:
        return tuple(stamp(file) for file in profile_files(self._folder))

    def _read(self) -> None:
        try:
            self._profiles = self._reader(self._folder)
            self.trouble = ""
        except (NbdError, OSError, UnicodeDecodeError) as error:
            self.trouble = str(error)
            log.error("profiles stay as they were: %s", error)
        except Exception as error:  # whatever a file makes of its reader, the profiles that were right stay in force
            self.trouble = f"{self._folder} cannot be read: {error!r}"
            log.exception("profiles stay as they were")


def stamp(file: Path) -> tuple[str, int, int]:
    """What changes with a file. A link to nowhere has one too: that it cannot be read is found out by reading it."""
    try:
        status = file.stat()
    except OSError:
        return file.name, 0, 0
    return file.name, status.st_mtime_ns, status.st_size
