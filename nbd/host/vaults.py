"""Opens what the settings name: the master key, and the store with a part of its own for each person."""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from ..config import HomeSettings
from ..errors import HostUnfit, InvalidInput
from ..homes.ports import ObjectStore
from ..homes.vault import Vault
from .codec import MasterKeys, make_master, read_master
from .folderstore import FolderStore
from .homenotes import box_of
from .objectstore import BucketStore
from .retrying import RetryingStore
from .sequences import SequenceFile

log = logging.getLogger(__name__)
BUDGET_SECONDS = 10.0
"""What fails for longer is told, and tried again by who keeps the home."""
Stores = Callable[[str], ObjectStore]


def open_vault(settings: HomeSettings, folder: Path) -> Vault:
    """`folder`: where sync keeps what is its own. Raises HostUnfit, InvalidInput, StateUnusable: what an admin has to mend."""
    key = Path(settings.key_file) if settings.key_file else folder / "master.key"
    where = settings.store or str(folder / "store")
    return Vault(where, stores_at(where, secrets(settings.store_secrets)), master_keys(key), SequenceFile(folder / "seen.json"), box_of(folder / "box"))


def master_keys(path: Path) -> MasterKeys:
    if path.exists():
        return MasterKeys(read_master(path))
    try:
        master = make_master(path)
    except OSError as error:
        raise HostUnfit(f"the master key {path} cannot be made: {error.strerror}", code="key_unfit") from None
    log.warning("A NEW MASTER KEY for snapshots of homes is in %s. LOSING IT LOSES EVERY SNAPSHOT: put a copy in a safe place, now.", path)
    return MasterKeys(master)


def stores_at(where: str, options: Mapping[str, str]) -> Stores:
    if "://" in where:
        client = {"allow_http": True} if options.get("endpoint", "").startswith("http://") else {}
        BucketStore(where, options, client)  # So that a wrong setting is said at the start, not at the first snapshot.
        return lambda person: RetryingStore(BucketStore(f"{where.rstrip('/')}/{part_of(person)}", options, client), budget=BUDGET_SECONDS)
    folder = Path(where)
    if not folder.is_absolute():
        hint = "/srv/nbd-store, s3://bucket/prefix"
        raise InvalidInput(f"homes.store: {where} is neither an absolute path nor a URL", hint=hint, code="bad_config")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.error("the store %s is not there and cannot be made: %s; homes are not protected until it is", folder, error.strerror)
    return lambda person: RetryingStore(FolderStore(folder / part_of(person)), budget=BUDGET_SECONDS)


def part_of(person: str) -> str:
    """An account's name as one name in a path: never empty, "." or "..", nor anything that leads elsewhere."""
    part = quote(person, safe="@-_.")
    return f"%2E{part[1:]}" if part.startswith(".") else part


def secrets(file: str | None) -> dict[str, str]:
    if file is None:
        return {}
    try:
        with open(file, "rb") as opened:
            mode, found = os.fstat(opened.fileno()).st_mode, tomllib.load(opened)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise HostUnfit(f"homes.store_secrets: {file} cannot be read: {error}", code="key_unfit") from None
    if stat.S_IMODE(mode) & 0o077:
        raise HostUnfit(f"others may read {file}", code="key_unfit", hint=f"chmod 0600 {file}")
    return {key: str(value) for key, value in found.items()}
