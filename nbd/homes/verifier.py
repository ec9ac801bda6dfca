"""Proves that everything the pointer reaches is there and is what was stored; names the files that are not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import Damaged, NbdError, NotFound, Refused
from .contents import extents_of, shown
from .encoding import PACK_MAGIC, PACK_TAIL, decode_footer, decode_parts, list_ids
from .model import NO_ID, Entry, Kind, Place
from .ports import KeyRing, ObjectStore
from .repository import CONFIGS, LARGEST, Repository
from .walk import entries_of, join

SHOWN_PATHS = 100


@dataclass(slots=True)
class Verification:
    objects: int = 0
    bytes: int = 0
    snapshots: int = 0
    damages: list[str] = field(default_factory=list)
    """One sentence for each object that is missing or altered."""
    paths: dict[str, None] = field(default_factory=dict)
    """Files of kept snapshots that cannot be restored."""

    @property
    def good(self) -> bool:
        return not self.damages and not self.paths


async def verify(store: ObjectStore, keys: KeyRing, share: float = 1.0) -> Verification:
    """Reads from the store, and nothing from memory. `share`: which part of the packs, drawn by lot, one at least; all else is always looked at."""
    found = Verification()
    for key in CONFIGS:
        try:
            keys.open_home((await store.fetch(key)).data)
        except (Damaged, NotFound, Refused) as error:
            found.damages.append(f"{key}: {error.message}")
    try:
        repository = await Repository.open(store, keys)
        await repository.doomed()
    except Damaged as error:
        found.damages.append(error.message)
        return found
    await Verifier(repository, found).run(share)
    return found


class Verifier:
    def __init__(self, repository: Repository, found: Verification) -> None:
        self._repository, self._found = repository, found
        self._bad: set[bytes] = set()
        self._done: set[bytes] = set()

    async def run(self, share: float) -> None:
        packs = self._packs()
        drawn = sorted(packs, key=lambda _: self._repository.codec.random(8))
        for pack in drawn[: math.ceil(share * len(drawn))]:
            await self._pack(pack, packs[pack])
        for listed in self._repository.root.snapshots:
            try:
                snapshot = await self._repository.snapshot(listed)
            except NbdError as error:
                self._found.damages.append(error.message)
                continue
            self._found.snapshots += 1
            await self._tree(bytes.fromhex(snapshot.tree))

    def _packs(self) -> dict[bytes, list[Place]]:
        packs: dict[bytes, list[Place]] = {}
        for table in self._repository.tables():
            for place in table.places():
                packs.setdefault(place.pack, []).append(place)
        return packs

    async def _pack(self, pack: bytes, places: Iterable[Place]) -> None:
        self._found.objects += 1
        codec = self._repository.codec
        try:
            data = (await self._repository.store.fetch(f"data/{pack.hex()}")).data
        except NotFound:
            self._found.damages.append(f"pack {pack.hex()[:12]} is not in the store")
            self._bad.update(place.id for place in places)
            return
        self._found.bytes += len(data)
        if codec.digest(data) != pack or not self._footer(pack, data):
            self._found.damages.append(f"pack {pack.hex()[:12]} is not what was stored")
        for place in places:
            try:
                content = codec.open(place.type, place.id, data[place.offset : place.offset + place.sealed], place.content)
                if len(content) != place.content:
                    raise Damaged(f"blob {place.id.hex()[:12]} has another length than its index says")
            except Damaged as error:
                self._found.damages.append(error.message)
                self._bad.add(place.id)

    def _footer(self, pack: bytes, data: bytes) -> bool:
        try:
            length, magic = PACK_TAIL.unpack(data[-PACK_TAIL.size :])
            sealed = data[-PACK_TAIL.size - length : -PACK_TAIL.size]
            return magic == PACK_MAGIC and bool(decode_footer(self._repository.codec.open(b"f", NO_ID, sealed, LARGEST), pack))
        except (Damaged, ValueError):
            return False

    async def _tree(self, tree: bytes) -> None:
        stack = [(b"", tree)]
        while stack:
            path, tree = stack.pop()
            if tree in self._done:
                continue
            self._done.add(tree)
            entries = await self._entries(path, tree)
            stack += [(join(path, entry.name), entry.payload) for entry in entries if entry.kind == Kind.FOLDER]
            for entry in entries:
                if entry.kind == Kind.FILE and not await self._file(entry):
                    self._lost(join(path, entry.name))

    async def _entries(self, path: bytes, tree: bytes) -> list[Entry]:
        try:
            parts = decode_parts(data) if (data := await self._repository.blob(tree))[:1] == b"S" else []
            if self._bad.isdisjoint([tree, *parts]):
                return await entries_of(self._repository, tree)
        except Damaged as error:
            self._found.damages.append(error.message)
        self._lost(path)
        return []

    async def _file(self, entry: Entry) -> bool:
        lists = list_ids(entry.payload) if entry.payload[:1] == b"L" else []
        try:
            extents = await extents_of(self._repository, entry)
        except Damaged:
            return False
        ids = [*lists, *(extent.id for extent in extents if extent.id != NO_ID)]
        whole = sum(extent.length for extent in extents) == entry.size
        return whole and self._bad.isdisjoint(ids) and all(self._repository.find(part) for part in ids)

    def _lost(self, path: bytes) -> None:
        if len(self._found.paths) < SHOWN_PATHS:
            self._found.paths[shown(path)] = None
