"""Proves that everything the pointer reaches is there and is what was stored; names the files that are not."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...errors import Damaged, NbdError, NotFound, Refused
from ..model import NO_ID, Entry, Extent, Kind, Place
from ..ports import Codec, KeyRing, ObjectStore
from .contents import extents_of, shown
from .encoding import PACK_MAGIC, PACK_TAIL, decode_entries, decode_extents, decode_footer, decode_parts, list_ids
from .indexes import Table
from .repository import CONFIGS, LARGEST, Repository
from .walk import join, parts_of

SHOWN_PATHS = 100
AT_ONCE = 2
TREES = 64
Rows = list[tuple[Table, "array[int]"]]
"""What the indexes say lies in one pack: numbers of rows."""


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
    """What takes the processor is done in threads: the same program answers people."""

    def __init__(self, repository: Repository, found: Verification) -> None:
        self._repository, self._found = repository, found
        self._bad: set[bytes] = set()
        self._done: set[bytes] = set()

    async def run(self, share: float) -> None:
        packs = await asyncio.to_thread(rows_by_pack, list(self._repository.tables()))
        drawn = sorted(packs, key=lambda _: self._repository.codec.random(8))[: math.ceil(share * len(packs))]
        for at in range(0, len(drawn), AT_ONCE):
            await asyncio.gather(*(self._pack(pack, packs[pack]) for pack in drawn[at : at + AT_ONCE]))
        for listed in self._repository.root.snapshots:
            try:
                snapshot = await self._repository.snapshot(listed)
            except NbdError as error:
                self._found.damages.append(error.message)
                continue
            self._found.snapshots += 1
            await self._tree(bytes.fromhex(snapshot.tree))

    async def _pack(self, pack: bytes, rows: Rows) -> None:
        self._found.objects += 1
        try:
            data = (await self._repository.store.fetch(f"data/{pack.hex()}")).data
        except NotFound:
            self._found.damages.append(f"pack {pack.hex()[:12]} is not in the store")
            self._bad.update(place.id for place in places_of(rows))
            return
        self._found.bytes += len(data)
        damages, bad = await asyncio.to_thread(proven, self._repository.codec, pack, data, rows)
        self._found.damages += damages
        self._bad |= bad

    async def _tree(self, tree: bytes) -> None:
        stack = [(b"", tree)]
        while stack:
            some = {tree: path for path, tree in stack[-TREES:] if tree not in self._done}
            del stack[-TREES:]
            self._done |= some.keys()
            trees = await self._parts(list(some))
            for one, path in some.items():
                try:
                    below, files = await asyncio.to_thread(decoded, trees.get(one))
                except Damaged as error:
                    self._found.damages += [error.message] if one in trees else []
                    self._lost(path)
                    continue
                stack += [(join(path, entry.name), entry.payload) for entry in below]
                await self._files(path, files)

    async def _parts(self, trees: list[bytes]) -> dict[bytes, list[bytes]]:
        """The sound ones. Many in one go; where something is wrong one by one, to see what."""
        try:
            found = await parts_of(self._repository, trees)
        except Damaged as error:
            if len(trees) == 1:
                self._found.damages.append(error.message)
                return {}
            return {tree: parts for one in trees for tree, parts in (await self._parts([one])).items()}
        return {tree: parts for tree, parts in found.items() if self._bad.isdisjoint([tree, *await self._ids(tree)])}

    async def _ids(self, tree: bytes) -> list[bytes]:
        data = await self._repository.blob(tree)
        return decode_parts(data) if data[:1] == b"S" else []

    async def _files(self, path: bytes, files: list[Entry]) -> None:
        """Of one folder. Those of many parts have lists, which are read; the others are looked up in a thread."""
        short = [entry for entry in files if entry.payload[:1] != b"L"]
        lost = await asyncio.to_thread(lambda: [entry for entry in short if not self._short(entry)])
        for entry in files:
            if entry.payload[:1] == b"L" and not await self._long(entry):
                lost.append(entry)
        for entry in lost:
            self._lost(join(path, entry.name))

    def _short(self, entry: Entry) -> bool:
        try:
            return self._there(entry, decode_extents(entry.payload[1:]))
        except Damaged:
            return False

    async def _long(self, entry: Entry) -> bool:
        lists = list_ids(entry.payload)
        try:
            extents = await extents_of(self._repository, entry)
        except Damaged:
            return False
        return self._bad.isdisjoint(lists) and await asyncio.to_thread(self._there, entry, extents)

    def _there(self, entry: Entry, extents: list[Extent]) -> bool:
        ids = [extent.id for extent in extents if extent.id != NO_ID]
        whole = sum(extent.length for extent in extents) == entry.size
        return whole and self._bad.isdisjoint(ids) and all(self._repository.find(part) for part in ids)

    def _lost(self, path: bytes) -> None:
        if len(self._found.paths) < SHOWN_PATHS:
            inside = path.partition(b"/")[2]  # The tree of a snapshot has one entry, which is the home.
            self._found.paths[shown(inside) or "."] = None


def rows_by_pack(tables: Sequence[Table]) -> dict[bytes, Rows]:
    packs: dict[bytes, Rows] = {}
    for table in tables:
        numbers = table.by_pack()
        for pack, group in itertools.groupby(range(len(numbers)), key=lambda at: table.pack_number(numbers[at])):
            some = list(group)
            packs.setdefault(table.pack(pack), []).append((table, numbers[some[0] : some[-1] + 1]))
    return packs


def places_of(rows: Rows) -> Iterator[Place]:
    return (table.row(number) for table, numbers in rows for number in numbers)


def proven(codec: Codec, pack: bytes, data: bytes, rows: Rows) -> tuple[list[str], set[bytes]]:
    """What is wrong with a pack, and which blobs cannot be read."""
    damages, bad = [], set()
    if codec.digest(data) != pack or not footer_is_sound(codec, pack, data):
        damages.append(f"pack {pack.hex()[:12]} is not what was stored")
    for place in places_of(rows):
        try:
            content = codec.open(place.type, place.id, data[place.offset : place.offset + place.sealed], place.content)
            if len(content) != place.content:
                raise Damaged(f"blob {place.id.hex()[:12]} has another length than its index says")
        except Damaged as error:
            damages.append(error.message)
            bad.add(place.id)
    return damages, bad


def footer_is_sound(codec: Codec, pack: bytes, data: bytes) -> bool:
    try:
        length, magic = PACK_TAIL.unpack(data[-PACK_TAIL.size :])
        sealed = data[-PACK_TAIL.size - length : -PACK_TAIL.size]
        return magic == PACK_MAGIC and bool(decode_footer(codec.open(b"f", NO_ID, sealed, LARGEST), pack))
    except (Damaged, ValueError, struct.error):
        return False


def decoded(parts: Sequence[bytes] | None) -> tuple[list[Entry], list[Entry]]:
    """The folders and the files. Raises Damaged."""
    if parts is None:
        raise Damaged("the tree of the folder cannot be read")
    entries = [entry for part in parts for entry in decode_entries(part)]
    return [one for one in entries if one.kind == Kind.FOLDER], [one for one in entries if one.kind == Kind.FILE]
