"""Drops snapshots by the retention, and what only they needed: planned, shown, executed in an order that is safe at every step.

Two generations: what nothing names any more is listed as doomed; only what an earlier pointer had doomed for a day is deleted, after the
pointer has moved. See docs/home-format.md for why a running snapshot cannot lose anything to this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ... import wire
from ...errors import Refused
from ..model import FORMAT, NO_ID, Doomed, DoomedList, Kind, Listed, Place, Root
from .encoding import decode_entries, decode_extents, decode_parts, list_ids
from .indexes import Alive, Table, encode_index, merge
from .packer import PACK_BYTES, joined
from .repository import POINTER, Repository
from .retention import DAY, HOUR, Kept, Policy, retain

GRACE = DAY
SKEW = HOUR // 12
DEAD_SHARE = 0.5
SMALL_PACK, MANY_SMALL = 1 << 20, 8
TREES = 64
FOLDERS = ("data/", "index/", "snapshots/", "doomed/")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prune would do. Good for one execution, against the pointer that it was made from."""

    sequence: int
    now: int
    keep: tuple[Kept, ...]
    drop: tuple[Listed, ...]
    stay: bytes
    """An index of what stays where it is."""
    rewrite: tuple[Place, ...]
    doom: tuple[Doomed, ...]
    delete: tuple[str, ...]
    freed: int
    """Bytes that will be free when all that is doomed is deleted."""


def worth_it(plan: Plan, root: Root) -> bool:
    """Whether it would do more than write the index anew: something is dropped, deleted or copied, or lies there and nobody names it."""
    named = {*(f"index/{name}" for name in root.indexes), f"doomed/{root.doomed}"}
    strays = any(one.since == plan.now and one.key not in named for one in plan.doom)
    return bool(plan.drop or plan.delete or plan.rewrite or strays)


class Pruner:
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def plan(self, policy: Policy, now: int) -> Plan:
        """Raises Refused(code=clock) where the clock cannot be right, and Damaged where what is to be kept cannot be read: then nothing may go."""
        await self._repository.refresh()
        root = self._repository.root
        newest = root.newest()
        if newest and newest.time > now + SKEW:
            raise Refused("the clock is before the newest snapshot: nothing is pruned", code="clock", hint="set the clock: timedatectl")
        verdict = retain(root.snapshots, policy, now)
        alive = await self._alive(kept.snapshot for kept in verdict.keep)
        packs = await asyncio.to_thread(alive.sizes)
        sizes = {stored.key: stored.size for stored in await self._repository.store.list("")}
        rewrite = self._to_rewrite(packs, sizes)
        stay = {f"data/{pack.hex()}" for pack, size in packs.items() if size and pack not in rewrite}
        stay |= {f"snapshots/{kept.snapshot.id}" for kept in verdict.keep} | {POINTER}
        before = {item.key: item.since for item in (await self._repository.doomed()).objects}
        named = [f"index/{name}" for name in root.indexes] + [f"snapshots/{listed.id}" for listed in verdict.drop]
        named += [f"data/{pack.hex()}" for pack in packs] + ([f"doomed/{root.doomed}"] if root.doomed else [])
        candidates = dict.fromkeys([*before, *named, *(key for key in sizes if key.startswith(FOLDERS))])
        unnamed = [key for key in candidates if key not in stay]
        ripe = [key for key in unnamed if before.get(key, now) <= now - GRACE]
        doom = [Doomed(key, before.get(key, now)) for key in unnamed if key not in ripe]
        return Plan(
            sequence=root.sequence, now=now, keep=verdict.keep, drop=verdict.drop, delete=tuple(ripe), doom=tuple(doom),
            stay=await asyncio.to_thread(alive.index, self._repository.codec.random(16), rewrite),
            rewrite=tuple(await asyncio.to_thread(alive.places, rewrite)), freed=sum(sizes.get(key, 0) for key in unnamed),
        )  # fmt: skip

    async def execute(self, plan: Plan) -> None:
        """New data, index, pointer, deletion. Raises Conflict if the pointer has moved since the plan: make another."""
        repository = self._repository
        if repository.root.sequence != plan.sequence:
            raise Refused("the home has changed since this plan was made", code="plan_old", hint="plan again")
        name = await repository.put_index(await self._index(plan))
        doomed = DoomedList(FORMAT, repository.codec.random(16).hex(), plan.doom)
        listed = await repository.put_object(b"g", "doomed", wire.encode(doomed).encode())
        snapshots = tuple(sorted((kept.snapshot for kept in plan.keep), key=lambda one: one.time))
        root = repository.root
        await repository.move(replace(root, swept=root.swept + 1, indexes=(name,), snapshots=snapshots, doomed=listed))
        for key in plan.delete:
            await repository.store.delete(key)

    async def _index(self, plan: Plan) -> bytes:
        rewritten = await self._rewritten(plan.rewrite)
        if not rewritten:
            return plan.stay
        salt = self._repository.codec.random(16)
        return await asyncio.to_thread(merge, salt, [Table(plan.stay), Table(encode_index(salt, rewritten))])

    async def _alive(self, snapshots: Iterable[Listed]) -> Alive:
        """Marks everything that these snapshots reach. What takes the processor is done in threads: the same program answers people."""
        alive = Alive(self._repository.tables())
        stack = [bytes.fromhex((await self._repository.snapshot(listed)).tree) for listed in snapshots]
        while stack:
            some, stack = stack[-TREES:], stack[:-TREES]
            new = [tree for tree in some if alive.mark(tree)]
            blobs = await self._repository.blobs(new)
            below, lists = await asyncio.to_thread(marked, alive, [blobs[tree] for tree in new])
            stack += below
            extents = (await self._repository.blobs(lists)).values() if lists else ()
            await asyncio.to_thread(mark_extents, alive, extents)
        if alive.lacking:
            raise Refused("the indexes lack what the snapshots need: nothing is pruned", code="incomplete", hint="look: nbctl home verify")
        return alive

    def _to_rewrite(self, packs: dict[bytes, int], sizes: dict[str, int]) -> set[bytes]:
        """Mostly dead ones; and small ones, once they are many. `packs`: how much of each is alive."""
        alive = {pack: size for pack, size in packs.items() if size}
        size = {pack: sizes.get(f"data/{pack.hex()}", alive[pack]) for pack in alive}
        small = {pack for pack in alive if size[pack] < SMALL_PACK}
        dead = {pack for pack in alive if alive[pack] < (1 - DEAD_SHARE) * size[pack] and size[pack] > SMALL_PACK // 16}
        return dead | (small if len(small) >= MANY_SMALL else set())

    async def _rewritten(self, places: Iterable[Place]) -> list[Place]:
        """Copies what is alive, proven, into new packs. The seals are kept: they bind type and id, not the pack."""
        moved: list[Place] = []
        sealed: list[tuple[bytes, bytes, bytes, int]] = []
        size = 0
        for place in places:
            body = await self._repository.store.read(f"data/{place.pack.hex()}", place.offset, place.sealed)
            self._repository.codec.open(place.type, place.id, body, place.content)
            sealed.append((place.type, place.id, body, place.content))
            size += len(body)
            if size >= PACK_BYTES:
                moved += await self._written(sealed)
                sealed, size = [], 0
        return [*moved, *(await self._written(sealed) if sealed else [])]

    async def _written(self, sealed: list[tuple[bytes, bytes, bytes, int]]) -> list[Place]:
        name, data, places = joined(self._repository.codec, sealed)
        await self._repository.store.create(f"data/{name.hex()}", data)
        return places


def marked(alive: Alive, blobs: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Marks what these trees name, but for the trees below, which come back, as do the chunk lists that are new."""
    below: list[bytes] = []
    lists: list[bytes] = []
    for data in blobs:
        if data[:1] == b"S":
            below += decode_parts(data)
            continue
        for entry in decode_entries(data):
            if entry.kind == Kind.FOLDER:
                below.append(entry.payload)
            elif entry.kind == Kind.FILE and entry.payload[:1] == b"L":
                lists += [part for part in list_ids(entry.payload) if alive.mark(part)]
            elif entry.kind == Kind.FILE:
                mark_extents(alive, [entry.payload[1:]])
    return below, lists


def mark_extents(alive: Alive, lists: Iterable[bytes]) -> None:
    for data in lists:
        for extent in decode_extents(data):
            if extent.id != NO_ID:
                alive.mark(extent.id)
