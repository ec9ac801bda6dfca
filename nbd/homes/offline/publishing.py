"""One publishing of a person's spool: uploads what is sound in it, and joins its pointer with the store's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from ...errors import Conflict, Damaged, NotFound
from ..model import Listed, Root
from ..ports import Codec, ObjectStore
from ..snapshots.indexes import Indexes, Table, encode_index
from ..snapshots.reach import Reach
from ..snapshots.repository import LARGEST, LARGEST_INDEX, Repository
from . import spool, spooling

log = logging.getLogger(__name__)
ATTEMPTS = 5
AT_ONCE = 3
KINDS = {"index": b"i", "snapshots": b"s"}


class Publishing:
    def __init__(self, local: ObjectStore, store: Repository) -> None:
        """`store`: the repository in the store."""
        self._local, self._store = local, store
        self._done: set[str] = set()
        self._damaged: set[str] = set()

    async def upload(self) -> None:
        """Everything that is there now: packs, then indexes, then snapshots. New ones may come meanwhile."""
        try:
            base, local = await spooling.roots(self._local, self._store.codec)
        except (Damaged, NotFound):
            return  # `finish` says so.
        named = spool.named(local, base, ())
        there = [stored.key for stored in await self._local.list("")]
        for keys in spool.order([key for key in there if key in named or key.startswith("data/")], self._done | self._damaged):
            for at in range(0, len(keys), AT_ONCE):
                await asyncio.gather(*(self._send(key) for key in keys[at : at + AT_ONCE]))

    async def finish(self) -> bool:
        """The rest, and the pointer; no look may be under way. True if something could not be published: it is nowhere then but in the home."""
        store = self._store
        try:
            base, local = await spooling.roots(self._local, store.codec)
        except (Damaged, NotFound) as error:
            log.error("WHAT WAITED ON THIS BOX CANNOT BE READ, and is dropped; the home itself is looked at anew: %s", error)
            return True
        added, swept = spool.added(base, local), base.swept
        if added == spool.Added((), ()):
            return False
        for _ in range(ATTEMPTS):
            if store.root.swept != swept:
                self._done, swept = set(), store.root.swept  # What was uploaded and is not named may be gone with that prune.
            await self.upload()
            root = await self._joined(base, added)
            try:
                await store.move(root)
            except Conflict:
                await store.refresh()
            else:
                return not {listed.id for listed in added.snapshots} <= {listed.id for listed in root.snapshots}
        raise Conflict("others move the pointer of the home again and again", code="store_changed")

    async def _send(self, key: str) -> None:
        try:
            data = (await self._local.fetch(key)).data
        except NotFound:
            return  # A look that failed left it, and its rests were cleared away.
        if await asyncio.to_thread(sound, self._store.codec, key, data):
            await self._store.store.create(key, data)
            self._done.add(key)
        else:
            log.error("%s, which waited on this box, is damaged", key)
            self._damaged.add(key)

    async def _joined(self, base: Root, added: spool.Added) -> Root:
        """The pointer, with what is whole of the spool."""
        store = self._store
        tables = await self._tables(added.indexes)
        missing = {f"data/{pack.hex()}" for table in tables.values() for pack in table.all_packs()} - self._done
        broken = bool(missing) or len(tables) < len(added.indexes) or any(f"snapshots/{one.id}" not in self._done for one in added.snapshots)
        if missing or len(tables) < len(added.indexes):
            places = [place for table in tables.values() for place in table.places() if f"data/{place.pack.hex()}" not in missing]
            name = await store.put_index(encode_index(store.codec.random(16), places))
            tables = {name: store.indexes.coming[name]}
        store.indexes.coming = tables
        whole = list(added.snapshots)
        if broken or spool.needs_proof(base, store.root):
            reach = Reach(beside(store, tables))
            whole = [listed for listed in added.snapshots if await self._is_whole(reach, listed)]
        return spool.merged(store.root, replace(added, indexes=tuple(tables), snapshots=tuple(whole)))

    async def _is_whole(self, reach: Reach, listed: Listed) -> bool:
        found = f"snapshots/{listed.id}" in self._done and await reach.whole(listed)
        if not found:
            words = f"{listed.event} {listed.name}".strip()
            log.error("THE SNAPSHOT '%s' THAT WAITED ON THIS BOX IS NOT WHOLE any more, and is dropped; the home is looked at anew", words)
        return found

    async def _tables(self, names: tuple[str, ...]) -> dict[str, Table]:
        """Those that were sound."""
        found = {}
        for name in names:
            if f"index/{name}" in self._done:
                data = (await self._local.fetch(f"index/{name}")).data
                found[name] = Table(await asyncio.to_thread(self._store.codec.open, b"i", bytes.fromhex(name), data, LARGEST_INDEX))
        return found


def beside(store: Repository, tables: Mapping[str, Table]) -> Repository:
    """To read from: the store, as if its pointer named these indexes, too."""
    other = Repository(store.store, store.codec, store.copies)
    other.root, other.indexes = store.root, Indexes({**store.indexes.named, **tables})
    return other


def sound(codec: Codec, key: str, data: bytes) -> bool:
    folder, _, name = key.partition("/")
    if folder not in KINDS:
        return codec.digest(data).hex() == name
    try:
        codec.open(KINDS[folder], bytes.fromhex(name), data, LARGEST_INDEX if folder == "index" else LARGEST)
    except Damaged:
        return False
    return True
