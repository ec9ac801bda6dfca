"""The folders of a notebook on the host, made so that only its person and the web program can enter.

A folder is `2770 person:web`: the editor, running as the person, makes its socket there; setgid gives the socket the web program's group, and
the editor gives that group the right to connect. Above it is `0711 root`, so nobody can list whose notebooks there are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

from ..editors import SOCKET_NAME
from ..errors import Deadline, HostUnfit
from ..notebooks.model import ID, Occupant
from . import commands

log = logging.getLogger(__name__)
ERASE_SECONDS = 30.0

SOCKET_PATH_LIMIT = 107
"""sun_path of unix(7), less the final NUL."""


class RunFolders:
    def __init__(self, run: Path, web_gid: int) -> None:
        self._notebooks = run / "notebooks"
        self._identities = run / "identities"
        self._web_gid = web_gid

    def set_up(self) -> None:
        """Raises HostUnfit when the path is too long for a socket to be in it."""
        if len(self.socket("n" * 10)) > SOCKET_PATH_LIMIT:
            raise HostUnfit(f"the path {self._notebooks} is too long for a socket to be in it", hint="choose a shorter one, such as --dir /srv/nbd")
        for folder in (self._notebooks, self._identities):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder.chmod(0o711)

    async def make(self, notebook: str, who: Occupant) -> str:
        folder = self._notebooks / notebook
        folder.mkdir(mode=0o700, exist_ok=True)
        await erase(folder / SOCKET_NAME)
        # By what is held, and never through a link: root must not give away what a name happens to lead to.
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(held, who.uid, self._web_gid)
            os.fchmod(held, 0o2770)
        finally:
            os.close(held)
        return str(folder)

    async def identity(self, who: Occupant, passwd: str, group: str) -> str:
        folder = self._identities / str(who.uid)
        folder.mkdir(mode=0o755, exist_ok=True)
        for name, text in (("passwd", passwd), ("group", group)):
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.write_text(text)
            fresh.chmod(0o644)
            # A running notebook goes on with the file it has mounted.
            fresh.replace(folder / name)
        return str(folder)

    async def remove(self, notebook: str) -> None:
        # Most often there is nothing but the socket.
        await erase(self._notebooks / notebook / SOCKET_NAME)
        await erase(self._notebooks / notebook)

    def socket(self, notebook: str) -> str:
        return str(self._notebooks / notebook / SOCKET_NAME)

    async def existing(self) -> Collection[str]:
        return frozenset(entry.name for entry in self._notebooks.iterdir() if ID.fullmatch(entry.name))


async def erase(path: Path) -> None:
    """Remove whatever is there. Whose folder it was may have put anything inside: a million files, links, a tree deeper than any stack; so
    what is more than one file is rm's work, which follows no link, knows no depth and does not hold up the loop."""
    try:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        try:
            done = await commands.run(["rm", "-rf", "--one-file-system", "--", str(path)], ERASE_SECONDS)
        except Deadline as error:
            log.warning("%s is not removed yet: %s", path, error)
        else:
            if done.code:
                log.warning("%s cannot be removed: %s", path, done.err.strip()[:300])
