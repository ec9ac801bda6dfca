"""Opens what the settings name: the master key, and the store with a part of its own for each person."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..config import HomeSettings
from ..errors import HostUnfit
from ..homes.ports import Spool
from ..homes.snapshots.rotation import Rotation
from ..homes.vault import Vault
from .homenotes import box_of
from .masterkeys import KeyShelf, key_file
from .sequences import SequenceFile
from .shelf import FileShelf
from .spoolfolder import SpoolFolder
from .stores import Stores, stores_of


class Opened(NamedTuple):
    vault: Vault
    stores: Stores
    shelf: KeyShelf
    rotation: Rotation


def open_vault(settings: HomeSettings, folder: Path) -> Opened:
    """`folder`: where sync keeps what is its own. Raises HostUnfit, InvalidInput, StateUnusable: what an admin has to mend."""
    where = settings.store or str(folder / "store")
    seen = SequenceFile(folder / "seen.json")
    stores = stores_of(settings, where, used=seen.used)
    shelf = KeyShelf(key_file(settings.key_file, folder), used=seen.used)
    vault = Vault(where, stores, shelf.keys, seen, box_of(folder / "box"))
    vault.use(FileShelf(folder / "copies", settings.copies), spool_at(folder / "spool", settings.spool))
    return Opened(vault, stores, shelf, Rotation(vault, shelf, stores.persons))


def spool_at(folder: Path, most_bytes: int) -> Spool | None:
    if not most_bytes:
        return None
    try:
        return SpoolFolder(folder, most_bytes)
    except OSError as error:
        raise HostUnfit(f"the spool {folder} cannot be used: {error.strerror}", code="spool_unfit") from None
