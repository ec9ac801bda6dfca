"""The folders of a notebook on the host, made so that only its person and the web program can enter.

A folder is `2770 person:web`: the editor, running as the person, makes its socket there; setgid gives the socket the web program's group, and
the editor gives that group the right to connect. Above it is `0711 root`, so nobody can list whose notebooks there are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from ..editors import SOCKET_NAME
from ..errors import HostUnfit
from ..notebooks.model import ID, Occupant

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
        (folder / SOCKET_NAME).unlink(missing_ok=True)
        os.chown(folder, who.uid, self._web_gid)
        folder.chmod(0o2770)
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
        # The person owns what is inside and may have put anything there; rmtree goes by descriptors and follows no link.
        shutil.rmtree(self._notebooks / notebook, ignore_errors=True)

    def socket(self, notebook: str) -> str:
        return str(self._notebooks / notebook / SOCKET_NAME)

    async def existing(self) -> Collection[str]:
        return frozenset(entry.name for entry in self._notebooks.iterdir() if ID.fullmatch(entry.name))
