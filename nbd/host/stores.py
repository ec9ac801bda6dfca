"""The store of each person, as the settings say: the bucket or the folder, and around it what proves, holds back, tries again and counts.

From the inside: the bucket under credentials that may be renewed · counted · so many at a time · so many bytes a second · proven · tried again. Who
waits for a try, or for its bytes' turn, keeps no connection from the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..config import HomeSettings
from ..errors import HostUnfit, InvalidInput
from ..homes.ports import ObjectStore
from ..homes.stores import layout
from ..homes.stores.bandwidth import Limits, Window
from ..homes.stores.traffic import Counts
from .counting import CountingStore
from .credentials import SECRETS, Access, access, secret_file
from .folderstore import FolderStore
from .limiting import ConcurrentStore, Lines, ThrottledStore
from .objectstore import BucketStore
from .renewing import Connection, RenewingStore
from .retrying import RetryingStore
from .verifying import VerifyingStore
from .wrapping import BOX_CLOCK, Clock

log = logging.getLogger(__name__)
BUDGET_SECONDS = 10.0
"""What fails for longer is told, and tried again by who keeps the home."""


class Ground(Protocol):
    """What stands below the wrappers."""

    def store(self, person: str) -> ObjectStore: ...

    async def persons(self) -> Sequence[str]:
        """Whose folders there are, as far as that can be seen from here. Raises as a store does."""


class FolderGround:
    def __init__(self, folder: Path, *, make: bool) -> None:
        """`make`: nothing was ever kept here. Later, a folder that is not there is a disk that is not mounted: nothing is begun in its place."""
        self._folder, self._used = folder, not make
        try:
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not folder.is_dir():
                log.error("the store %s is not there: is it mounted? Homes are not protected until it is", folder)
        except OSError as error:
            log.error("the store %s is not there and cannot be made: %s; homes are not protected until it is", folder, error.strerror)

    def store(self, person: str) -> ObjectStore:
        return FolderStore(self._folder / layout.part_of(person), used=self._used)

    async def persons(self) -> Sequence[str]:
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        except OSError as error:
            raise HostUnfit(f"the store {self._folder} cannot be read: {error.strerror}", code="store_unfit") from None
        return [person for name in names if (person := layout.unquoted(name)) is not None]


class BucketGround:
    """One connection a bucket, whoever uses it."""

    def __init__(self, where: layout.Layout, settings: HomeSettings) -> None:
        self._layout, self._settings = where, settings
        self._connections: dict[str, Connection] = {}
        self._open(self._access(), f"{where.scheme}://nbd")  # So that a wrong setting is said at the start, not at the first snapshot.

    def store(self, person: str) -> ObjectStore:
        spot = self._layout.spot(person)
        return RenewingStore(self._connection(spot.bucket), spot.prefix)

    async def persons(self) -> Sequence[str]:
        """With a bucket a person none: who may list a cloud's buckets may too much."""
        if self._layout.bucket_a_person:
            return []
        names = await self._connection(self._layout.bucket).bucket.folders(self._layout.root)
        return [person for name in names if (person := self._layout.person(name)) is not None]

    def _connection(self, bucket: str) -> Connection:
        url = f"{self._layout.scheme}://{bucket}"
        if url not in self._connections:
            self._connections[url] = Connection(self._access, lambda found: self._open(found, url))
        return self._connections[url]

    def _access(self) -> Access:
        return access(self._layout.scheme, secret_file(self._settings.store_secrets, SECRETS), role=self._settings.store_role)

    def _open(self, found: Access, url: str) -> BucketStore:
        return BucketStore(url, found.options, found.client, self._settings.store_timeout)


class Stores:
    """One store a person, made once: it knows what of theirs is not proven yet. Limits and counts are of all together."""

    def __init__(self, ground: Ground, settings: HomeSettings, clock: Clock = BOX_CLOCK) -> None:
        self.counts: Counts = {}
        self._clock = clock
        self.persons = ground.persons
        self._ground, self._settings = ground, settings
        self._slots = asyncio.Semaphore(settings.connections)
        self._lines = Lines(Limits([Window(*hours) for hours in settings.bandwidth_schedule], settings.bandwidth), clock)
        self._made: dict[str, ObjectStore] = {}

    def __call__(self, person: str) -> ObjectStore:
        if person not in self._made:
            self._made[person] = self._around(self._ground.store(person))
        return self._made[person]

    def _around(self, store: ObjectStore) -> ObjectStore:
        limited = ThrottledStore(ConcurrentStore(CountingStore(store, self.counts, self._clock), self._slots), self._lines)
        # What the kernel says is on the disk, is there.
        local = isinstance(store, FolderStore)
        proven = limited if local else VerifyingStore(limited, read_back=self._settings.verify_writes == "read")
        return RetryingStore(proven, budget=BUDGET_SECONDS, clock=self._clock)


def stores_of(settings: HomeSettings, where: str, clock: Clock = BOX_CLOCK, *, used: bool = False) -> Stores:
    """`used`: this box has kept homes before. Raises InvalidInput, HostUnfit: what an admin has to mend."""
    if "://" in where:
        return Stores(BucketGround(layout.parse(where), settings), settings, clock)
    folder = Path(where)
    if not folder.is_absolute() or layout.BRACES.search(where):
        raise InvalidInput(f"homes.store: {where} is neither an absolute path nor a URL", hint=f"/srv/nbd-store, {layout.SHAPES}", code="bad_config")
    return Stores(FolderGround(folder, make=not used), settings, clock)
