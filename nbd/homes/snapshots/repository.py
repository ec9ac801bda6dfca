"""The repository of one home: what is stored and where, how something is added, how the pointer moves (docs/home-format.md).

Concurrency: one Repository belongs to one task. Others (another box, a prune) are met only at the pointer, by compare and swap: a commit
that loses raises Conflict and has changed nothing that anybody names; the caller refreshes and begins again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ... import wire
from ...errors import Conflict, Damaged, NbdError, NotFound, Refused, StateUnusable, Unreachable
from ..model import FORMAT, MAX_CHUNK, NO_ID, DoomedList, Listed, Place, Root, Snapshot
from ..ports import Codec, KeyRing, ObjectStore, Versioned
from .copies import KEPT, Copies
from .indexes import Indexes, Table, encode_index, merge, to_merge

T = TypeVar("T")
POINTER, CONFIGS = "latest", ("config", "config.copy")
ANEW = "If this one is meant: stop nbd-sync, and remove seen.json in its state folder"
LARGEST = 64 << 20
"""Nothing but an index is larger unpacked; an index may have LARGEST_INDEX."""
LARGEST_INDEX = 4 << 30
GAP = 64 << 10
RUN = 16 << 20
AT_ONCE = 8
COPIED = (b"i", b"s")


@dataclass(slots=True)
class Moving:
    """Bytes of a look under way: found to be new, and of these already where they are stored."""

    found: int = 0
    sent: int = 0


class Repository:
    def __init__(self, store: ObjectStore, codec: Codec, copies: Copies | None = None) -> None:
        self.store, self.codec = store, codec
        self.root = Root(FORMAT, 0, 0)
        self.box = ""
        """Of which box's home the snapshots are that are committed here."""
        self.moving = Moving()
        self.copies = copies or Copies()
        self._version: str | None = None
        self.indexes = Indexes()
        self.fixed: frozenset[str] = frozenset()
        """Indexes that are not merged with others."""
        self.spooling = False
        """What is committed here is on this box alone, and waits for the store."""
        self._shelved: set[str] = set()
        """Keys of objects of which there is a copy on the shelf."""
        self._newest: tuple[str, Snapshot, bytes] | None = None
        self._config = b""

    @classmethod
    async def open(cls, store: ObjectStore, keys: KeyRing, at_least: int = 0, copies: Copies | None = None) -> Repository:
        """Makes it if there is nothing. `at_least`: the highest sequence this box has seen; less means that someone put an old pointer back, nothing
        that this is not the store of before: Unreachable(store_away)."""
        config = await config_of(store, keys, seen=at_least)
        repository = cls(store, keys.open_home(config), copies)
        repository._config = config
        await repository.refresh()
        if repository._version is None:
            await repository._begin()
        if repository.root.sequence < at_least:
            raise rolled_back(repository.root.sequence, at_least)
        return repository

    async def _begin(self) -> None:
        """The first pointer, naming nothing: from now on a missing pointer is a lost one, and a crash before the first commit is none."""
        try:
            await self.move(self.root)
        except Conflict:
            await self.refresh()

    async def refresh(self) -> None:
        """The pointer as it is now, and the indexes that are new."""
        found = await pointer_of(self.store, begun=self._version is not None)
        if found is None:
            self.root, self._version = Root(FORMAT, 0, 0), None
            return
        sealed, version = found
        root = root_of(self.codec, sealed)
        missing = [name for name in root.indexes if name not in self.indexes.named]
        loaded = await asyncio.gather(*(self.table(name) for name in missing))
        self.indexes.coming = dict(zip(missing, loaded, strict=True))
        self.indexes.settle(root.indexes)
        # Together: with the new version and the old root, a commit would take away what others have added.
        self.root, self._version = root, version
        await self._remember(sealed)

    async def _remember(self, sealed: bytes) -> None:
        """On this box: so that the next start, and a look while the store is away, need nothing from it."""
        if self.spooling:
            return  # What the store had last is what is to be remembered.
        here = {CONFIGS[0]: self._config} | {f"index/{name}": table.data for name, table in self.indexes.named.items()}
        newest = self.root.newest()
        others = {*here, f"snapshots/{newest.id}"} if newest else {*here}
        if self._newest is not None and newest and self._newest[0] == newest.id:
            here[f"snapshots/{newest.id}"] = self._newest[2]
        new = {key: content for key, content in here.items() if key not in self._shelved}
        await self.copies.keep_objects({**new, POINTER: sealed}, others)
        self._shelved = (self._shelved | here.keys()) & others

    async def table(self, name: str) -> Table:
        return Table(await self.object(b"i", f"index/{name}", LARGEST_INDEX))

    async def object(self, kind: bytes, key: str, limit: int = LARGEST) -> bytes:
        """The content of an object that is named by its id."""
        copy = await self.copies.named(self.codec, kind, key) if kind in COPIED else None
        if copy is not None:
            self._shelved.add(key)
            return copy
        try:
            sealed = await self.store.fetch(key)
        except NotFound:
            raise Damaged(f"{key} is not in the store") from None
        part = bytes.fromhex(key.rpartition("/")[2])
        return await asyncio.to_thread(self.codec.open, kind, part, sealed.data, limit)

    async def put_object(self, kind: bytes, folder: str, content: bytes) -> str:
        part = self.codec.identify(kind, content)
        sealed = await asyncio.to_thread(self.codec.seal, kind, part, content)
        await self.store.create(f"{folder}/{part.hex()}", sealed)
        return part.hex()

    async def snapshot(self, listed: Listed) -> Snapshot:
        if self._newest is not None and self._newest[0] == listed.id:
            return self._newest[1]
        content = await self.object(b"s", f"snapshots/{listed.id}")
        snapshot = parsed(Snapshot, content, f"snapshot {listed.id[:12]}")
        if listed == self.root.newest():
            self._newest = (listed.id, snapshot, content)
            if not self.spooling:
                await self.copies.keep_objects({f"snapshots/{listed.id}": content}, {*self._shelved, POINTER})
        return snapshot

    def find(self, part: bytes) -> Place | None:
        return self.indexes.find(part)

    def tables(self) -> Iterable[Table]:
        return self.indexes.named.values()

    async def blob(self, part: bytes) -> bytes:
        return (await self.blobs([part]))[part]

    async def blobs(self, wanted: Iterable[bytes]) -> dict[bytes, bytes]:
        """Contents by id, each proven. Neighbours in a pack are read in one go. Raises Damaged for what is missing or altered."""
        found: dict[bytes, bytes] = {}
        places = []
        for part in dict.fromkeys(wanted):
            cached = self.copies.get(part)
            place = None if cached is not None else self.find(part)
            if cached is not None:
                found[part] = cached
            elif place is not None:
                places.append(place)
            else:
                raise Damaged(f"blob {part.hex()[:12]} is in no index")
        found |= await self.copies.recall(self.codec, places)
        slots = asyncio.Semaphore(AT_ONCE)
        for contents in await asyncio.gather(*(self._run(run, slots) for run in runs(place for place in places if place.id not in found))):
            found |= contents
        return found

    async def _run(self, run: Sequence[Place], slots: asyncio.Semaphore) -> dict[bytes, bytes]:
        start, end = run[0].offset, run[-1].offset + run[-1].sealed
        async with slots:
            try:
                data = memoryview(await self.store.read(f"data/{run[0].pack.hex()}", start, end - start))
            except NotFound:
                raise Damaged(f"pack {run[0].pack.hex()[:12]} is not in the store") from None
            contents = await asyncio.to_thread(opened, self.codec, run, data)
        kept = {place.id: contents[place.id] for place in run if place.type in KEPT}
        for part, content in kept.items():
            self.copies.put(part, content)
        await self.copies.keep(kept)
        return contents

    async def commit(self, places: Sequence[Place], snapshot: Snapshot) -> Listed:
        """Index, snapshot, pointer, in this order; the packs are there. Raises Conflict if another was first."""
        indexes = await self.add_index(places)
        snapshot = replace(snapshot, box=self.box)
        content = wire.encode(snapshot).encode()
        listed = Listed(await self.put_object(b"s", "snapshots", content), snapshot.time, snapshot.name, snapshot.event, self.box)
        self._newest = (listed.id, snapshot, content)
        await self.move(replace(self.root, indexes=indexes, snapshots=(*self.root.snapshots, listed)))
        return listed

    async def add_index(self, places: Sequence[Place]) -> tuple[str, ...]:
        """The names of the indexes with these places in them. Many small ones become one; the old ones are strays then."""
        if not places:
            return self.root.indexes
        content = encode_index(self.codec.random(16), places)
        merged = to_merge({name: table for name, table in self.indexes.named.items() if name not in self.fixed})
        if merged:
            tables = [*(self.indexes.named[name] for name in merged), Table(content)]
            content = await asyncio.to_thread(merge, self.codec.random(16), tables)
        name = await self.put_index(content)
        return (*(old for old in self.root.indexes if old not in merged), name)

    async def put_index(self, content: bytes) -> str:
        """It counts from the moment at which the pointer names it."""
        name = await self.put_object(b"i", "index", content)
        self.indexes.coming[name] = Table(content)
        return name

    async def move(self, root: Root) -> None:
        """The one moment at which something happened."""
        root = replace(root, sequence=self.root.sequence + 1)
        sealed = self.codec.seal(b"p", NO_ID, wire.encode(root).encode())
        self._version = await self.store.replace(POINTER, sealed, self._version)
        self.root = root
        self.indexes.settle(root.indexes)
        await self._remember(sealed)

    async def doomed(self) -> DoomedList:
        if not self.root.doomed:
            return DoomedList(FORMAT, "")
        return parsed(DoomedList, await self.object(b"g", f"doomed/{self.root.doomed}"), "the list of doomed objects")


async def pointer_of(store: ObjectStore, *, begun: bool) -> Versioned | None:
    """None where there never was one. Looked for again before it is called lost: another box may just be making the first."""
    for _ in range(2):
        try:
            return await store.fetch(POINTER)
        except NotFound:
            if not begun and not await store.list("snapshots/"):
                return None
    hint = "tests/homes/independent_reader.py --salvage lists what is there"
    raise Damaged("the pointer of the home is gone, and its snapshots are there", code="pointer_lost", hint=hint)


def root_of(codec: Codec, sealed: bytes) -> Root:
    return parsed(Root, codec.open(b"p", NO_ID, sealed, LARGEST), "the pointer")


def rolled_back(found: int, seen: int) -> Damaged:
    hint = f"restore the store from its versions. {ANEW}"
    return Damaged(f"the store is at change {found}, and this box has seen {seen}", code="rolled_back", hint=hint)


async def config_of(store: ObjectStore, keys: KeyRing, seen: int = 0) -> bytes:
    """The config, from whichever copy is good; made if the store is empty, unless this box has `seen` changes in it."""
    trouble: NbdError | None = None
    for key in CONFIGS:
        try:
            config = (await store.fetch(key)).data
            keys.open_home(config)
        except NotFound:
            continue
        except (Damaged, Refused) as error:
            trouble = error  # Of another master key, or altered where it names one: the copy may know better.
            continue
        if key == CONFIGS[0]:
            await _copy(store, config)
        return config
    if trouble is not None:
        raise trouble
    if await store.list(""):
        if await _version(store, CONFIGS[0]) is not None:
            return await config_of(store, keys)  # Another box made it just now.
        raise Damaged("the store has objects and no config: its key is gone with it", code="config_lost")
    if seen:
        # An empty mount point, most often. What is begun there would be a second home, and hide that the first one is away.
        message = f"the store has nothing of this home, and this box has seen {seen} changes of it"
        raise Unreachable(message, code="store_away", hint=f"is it mounted, and the right one? {ANEW}")
    config = keys.new_home()
    try:
        await store.replace(CONFIGS[0], config, None)
    except Conflict:
        return await config_of(store, keys)
    await _copy(store, config)
    return config


async def rotate(store: ObjectStore, keys: KeyRing) -> None:
    """Wraps the home key under the first of `keys` alone. Killed in the middle, the two copies are under two keys; running it again ends it."""
    config = keys.rewrap(await config_of(store, keys))
    for key in CONFIGS:
        await store.replace(key, config, await _version(store, key))


async def _copy(store: ObjectStore, config: bytes) -> None:
    """What is there is left alone, whatever it is: where config was put in another's place, the copy is the only good one."""
    if await _version(store, CONFIGS[1]) is None:
        await store.create(CONFIGS[1], config)


async def _version(store: ObjectStore, key: str) -> str | None:
    try:
        return (await store.fetch(key)).version
    except NotFound:
        return None


def parsed(kind: type[T], content: bytes, what: str) -> T:
    try:
        value = wire.decode(kind, content)
    except NbdError as error:
        raise Damaged(f"{what} does not parse: {error.message}") from None
    if getattr(value, "format", FORMAT) > FORMAT:
        raise StateUnusable(f"{what} was written by a newer nbd", hint="install that one, or a newer one")
    return value


def runs(places: Iterable[Place]) -> list[list[Place]]:
    """Places that are near each other in one pack, to be read in one go."""
    found: list[list[Place]] = []
    for place in sorted(places, key=lambda place: (place.pack, place.offset)):
        last = found[-1][-1] if found else None
        near = last is not None and last.pack == place.pack and place.offset - (last.offset + last.sealed) <= GAP
        if near and place.offset + place.sealed - found[-1][0].offset <= RUN:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def opened(codec: Codec, run: Sequence[Place], data: memoryview) -> dict[bytes, bytes]:
    start = run[0].offset
    if any(place.content > (MAX_CHUNK if place.type == b"d" else LARGEST) for place in run):
        raise Damaged("a blob unpacks to more than any that nbd makes")
    return {
        place.id: codec.open(place.type, place.id, bytes(data[place.offset - start : place.offset - start + place.sealed]), place.content)
        for place in run
    }
