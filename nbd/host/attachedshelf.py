"""What sync keeps of attachments, in its own state: a file each that says what it is, its ledger, and people's own keys, closed to all others."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .. import wire
from ..errors import InvalidInput, NbdError
from ..homes.attached.model import Attachment
from ..homes.attached.ports import Ledger, Objects
from ..homes.attached.url import Place, parsed, persons_options, signs
from . import credentials
from .attachedledger import LedgerFile
from .plainobjects import PlainObjects

log = logging.getLogger(__name__)
ID = re.compile(r"[0-9a-f]{20}")
ASIDE = ".new"
NUMBERS = itertools.count()
UNSIGNED = {"skip_signature": "true"}


class ShelfFolder:
    def __init__(self, folder: Path, endpoint: str = "", patience: float = 30.0) -> None:
        """`endpoint`: of what people attach by s3://; empty: Amazon's."""
        self._folder, self._keys, self._endpoint, self._patience = folder, folder / "keys", endpoint, patience
        for made in (folder, self._keys):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in made.glob(f"*{ASIDE}"):
                left.unlink()
        self._kept = {one.id: one for file in sorted(folder.glob("*.json")) if (one := read(file))}
        self._ledgers: dict[str, LedgerFile] = {}
        self._turn = asyncio.Lock()

    def all(self) -> Sequence[Attachment]:
        return list(self._kept.values())

    async def keep(self, attachment: Attachment) -> None:
        async with self._turn:
            if self._kept.get(attachment.id) != attachment:
                await asyncio.to_thread(put, self._path(attachment.id, "json"), wire.encode(attachment))
                self._kept[attachment.id] = attachment

    async def drop(self, attachment: str) -> None:
        for ending in ("ledger", "json"):
            self._path(attachment, ending).unlink(missing_ok=True)
        self._kept.pop(attachment, None)
        self._ledgers.pop(attachment, None)

    async def ledger(self, attachment: str) -> Ledger:
        if attachment not in self._ledgers:
            made = await asyncio.to_thread(LedgerFile, self._path(attachment, "ledger"))
            self._ledgers.setdefault(attachment, made)
        return self._ledgers[attachment]

    def objects(self, attachment: Attachment) -> Objects:
        place = parsed(attachment.url)
        return PlainObjects(place, self._persons(attachment, place) if attachment.own else admins(attachment, place), self._patience)

    async def entrust(self, person: str, url: str, options: Mapping[str, str]) -> None:
        path = self._keys / key_name(person, url)
        checked = persons_options(parsed(url).scheme, options)
        async with self._turn:
            if checked:
                await asyncio.to_thread(put, path, json.dumps(checked))
            else:
                path.unlink(missing_ok=True)

    def _persons(self, attachment: Attachment, place: Place) -> credentials.Access:
        """Signed by their keys, or not at all: never by what this box could find for itself."""
        options: dict[str, str] = {}
        with suppress(FileNotFoundError):
            options = json.loads((self._keys / key_name(attachment.person, attachment.url)).read_text())
        options = persons_options(place.scheme, options)
        if place.scheme == "az" and "account_name" not in options:
            hint = "account_name, in a file for --attach-keys"
            raise InvalidInput(f"{place.url} does not say whose container it is", hint=hint, code="data_unfit")
        if not signs(place.scheme, options):
            options |= UNSIGNED
        if place.scheme == "s3":
            options.setdefault("region", "us-east-1")
            options |= {"endpoint": self._endpoint} if self._endpoint else {}
        return credentials.spelled(place.scheme, options)

    def _path(self, attachment: str, ending: str) -> Path:
        if not ID.fullmatch(attachment):
            raise InvalidInput(f"{attachment[:40]!r} is no attachment")
        return self._folder / f"{attachment}.{ending}"


def admins(attachment: Attachment, place: Place) -> credentials.Access:
    if not attachment.secrets:
        return credentials.spelled(place.scheme, dict(UNSIGNED))
    return credentials.access(place.scheme, Path(attachment.secrets), role=False, what="attach.secrets")


def read(file: Path) -> Attachment | None:
    """One that does not parse is said and left: its notebook names it again at its next start."""
    try:
        return wire.decode(Attachment, file.read_bytes())
    except (NbdError, OSError) as error:
        log.error("%s is not what sync wrote: %s", file, error)
        return None


def key_name(person: str, url: str) -> str:
    return hashlib.sha256(f"{person}\n{url}".encode()).hexdigest()[:40] + ".key"


def put(path: Path, text: str) -> None:
    """For this account's eyes alone; whole or not at all. Two at once do not meet: who is cancelled cannot call its thread back."""
    aside = path.with_name(f"{path.name}.{next(NUMBERS)}{ASIDE}")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
