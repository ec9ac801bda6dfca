"""The master key as a file: made once and said loudly, replaced by a new one, kept until no home is under it any more.

Two files beside each other: the key, and while a rotation goes on the former one. Their order makes each crash harmless: the copy of the old key is
durable before the new one takes its name, and it goes only after every home is under the new one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostUnfit, Refused
from ..homes.model import KeyFacts
from .codec import MasterKeys, derive
from .credentials import MASTER_KEY, read_secret, secret_file

log = logging.getLogger(__name__)
FILE, FORMER, RETIRED = "master.key", ".former", ".retired"
KEY_BYTES = 32
LOUD = """A NEW MASTER KEY for the snapshots of all homes was made: %s
WHO LOSES IT LOSES EVERY SNAPSHOT, the store does not have it. Put a copy where this box cannot take it along, now:
  cat %s        (64 hex digits: print them, or put them into a password safe; its name is %s)"""


@dataclass(frozen=True, slots=True)
class KeyFile:
    path: Path
    ours: bool
    """In sync's own folder: it may be made and replaced. Else it is an admin's."""

    @property
    def former(self) -> Path:
        return self.path.with_name(self.path.name + FORMER)


def key_file(configured: str | None, folder: Path) -> KeyFile:
    """Where the key is: named in the settings, handed over by systemd, or sync's own."""
    found = secret_file(configured, MASTER_KEY)
    return KeyFile(found, ours=False) if found else KeyFile(folder / FILE, ours=True)


class KeyShelf:
    """The key ring that `keys` is follows what is done here."""

    def __init__(self, file: KeyFile, *, used: bool) -> None:
        """`used`: there are homes under a master key already. Raises HostUnfit."""
        self._file = file
        if not file.path.exists() and not used:
            made(file)
        elif not file.path.exists():
            hint = f"put its copy back: install -m 0600 COPY {file.path}"
            raise HostUnfit(f"the master key {file.path} is gone, and homes of this box were encrypted under it", code="key_unfit", hint=hint)
        self._master = read_master(file.path)
        former = read_master(file.former) if file.former.exists() else None
        self.keys = MasterKeys(self._master) if former is None else MasterKeys(self._master, former)
        self._former = former not in (None, self._master)
        if self._former:
            log.warning("a rotation of the master key was begun and has not ended: nbctl admin storage rotate-key")

    def facts(self) -> KeyFacts:
        return KeyFacts(str(self._file.path), name_of(self._master), self._former)

    async def begin(self) -> None:
        """A new key wraps from now on, the former one unwraps still. Where that is so already, nothing is done. Raises Refused, HostUnfit."""
        if self._former:
            return
        if not self._file.ours:
            hint = f"put the old one beside it as {self._file.former.name}, a new one (64 hex digits) in its place, restart nbd-sync, say this again"
            raise Refused(f"the master key {self._file.path} is not nbd's to replace", code="key_elsewhere", hint=hint)
        await asyncio.to_thread(self._replace)

    def _replace(self) -> None:
        master = os.urandom(KEY_BYTES)
        try:
            put(self._file.former, self._master)
            put(self._file.path, master)
        except OSError as error:
            raise HostUnfit(f"the master key {self._file.path} cannot be replaced: {error.strerror}", code="key_unfit") from None
        self.keys.renew(master)
        self._master, self._former = master, True
        log.warning(LOUD, self._file.path, self._file.path, name_of(master))

    async def finish(self) -> None:
        """No home is under the former key any more; it is put aside for who has old copies of the store. An admin's own stays where it is."""
        if self._former and self._file.ours:
            self._file.former.replace(self._file.path.with_name(self._file.path.name + RETIRED))
            await asyncio.to_thread(sync_folder, self._file.path.parent)
        self._former = False


def made(file: KeyFile) -> None:
    try:
        master = make_master(file.path)
    except OSError as error:
        raise HostUnfit(f"the master key {file.path} cannot be made: {error.strerror}", code="key_unfit") from None
    log.warning(LOUD, file.path, file.path, name_of(master))


def read_master(path: Path) -> bytes:
    """Raises HostUnfit."""
    text = read_secret(path, "the master key").strip()
    try:
        master = bytes.fromhex(text)
    except ValueError:
        master = b""
    if len(master) != KEY_BYTES:
        raise HostUnfit(f"{path} is not a master key of 64 hex digits", code="key_unfit")
    return master


def name_of(master: bytes) -> str:
    """What may be told: as it stands in the config of each home."""
    return derive("nbd 2026 master name", master).hex()[:16]


def make_master(path: Path) -> bytes:
    """A new master key in a new 0600 file: whole, or not there. Raises FileExistsError: a key is never overwritten."""
    master = os.urandom(KEY_BYTES)
    aside = written_aside(path, master)
    try:
        path.hardlink_to(aside)
    finally:
        aside.unlink()
    sync_folder(path.parent)
    return master


def put(path: Path, master: bytes) -> None:
    """In the place of what is there: whole, or as it was."""
    written_aside(path, master).replace(path)
    sync_folder(path.parent)


def written_aside(path: Path, master: bytes) -> Path:
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)  # Of one that was killed here.
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(master.hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return aside


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
