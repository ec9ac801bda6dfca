"""A person's spool as a store: what is written stays on this box, what is read comes from there, else from the store itself.

The pointer that is read is the spool's own or, before the first commit, `base`: the store's, as this box saw it last.
"""

from __future__ import annotations

from dataclasses import replace

from ...errors import NotFound, Unreachable
from ..model import Root
from ..ports import Codec, KeyRing, ObjectStore, Stored, Versioned
from ..snapshots.copies import Copies
from ..snapshots.repository import CONFIGS, POINTER, Repository, root_of
from . import spool

BASE = "base"
CONFIG = CONFIGS[0]


class SpoolingStore:
    def __init__(self, local: ObjectStore, store: ObjectStore) -> None:
        self._local, self._store = local, store

    async def create(self, key: str, data: bytes) -> str | None:
        return await self._local.create(key, data)

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        return await self._local.replace(key, data, None if expected == BASE else expected)

    async def fetch(self, key: str) -> Versioned:
        try:
            return await self._local.fetch(key)
        except NotFound:
            if key == POINTER:
                return Versioned((await self._local.fetch(BASE)).data, BASE)
        return await self._store.fetch(key)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        try:
            return await self._local.read(key, offset, length)
        except NotFound:
            return await self._store.read(key, offset, length)

    async def list(self, prefix: str) -> list[Stored]:
        """Who asks wants to prune, and a spool is not pruned."""
        raise Unreachable(f"some of {prefix or 'it'} is in the spool on this box, and not in the store yet", code="store_away")

    async def delete(self, key: str) -> None:
        raise Unreachable(f"{key} is not deleted while something is in the spool on this box", code="store_away")


async def begin(local: ObjectStore, copies: Copies) -> bool:
    """Makes an empty spool, resting on what this box knows of the store. False: it knows too little."""
    config, pointer = await copies.sealed(CONFIG), await copies.sealed(POINTER)
    if config is None or pointer is None:
        return False
    await local.create(CONFIG, config)
    await local.create(BASE, pointer)
    return True


async def begun(local: ObjectStore) -> bool:
    """Whether anything was ever committed to it."""
    try:
        await local.fetch(POINTER)
    except NotFound:
        return False
    return True


async def opened(local: ObjectStore, store: ObjectStore, keys: KeyRing, copies: Copies) -> Repository:
    """Raises Refused(wrong_key), Damaged, and the store's trouble where the copies on this box do not suffice."""
    codec = keys.open_home((await local.fetch(CONFIG)).data)
    repository = Repository(SpoolingStore(local, store), codec, copies)
    repository.spooling = True
    base, _ = await roots(local, codec)
    repository.fixed = frozenset(base.indexes)
    await repository.refresh()
    return repository


async def roots(local: ObjectStore, codec: Codec) -> tuple[Root, Root]:
    """`base`, and the spool's own pointer."""
    base = root_of(codec, (await local.fetch(BASE)).data)
    try:
        return base, root_of(codec, (await local.fetch(POINTER)).data)
    except NotFound:
        return base, base


async def roll_back(repository: Repository, indexes: tuple[str, ...]) -> None:
    """Only these indexes and the snapshots are named again: what a long writing had named before it failed is dropped."""
    await repository.refresh()
    if repository.root.indexes != indexes:
        merged = [name for name in indexes if name not in repository.indexes.named]
        repository.indexes.coming = {name: await repository.table(name) for name in merged}
        await repository.move(replace(repository.root, indexes=indexes))


async def tidy(local: ObjectStore, repository: Repository) -> None:
    """Away with what a failed or killed writing left. No look may be under way."""
    await repository.refresh()
    base, root = await roots(local, repository.codec)
    packs = {pack for name in spool.added(base, root).indexes for pack in repository.indexes.named[name].all_packs()}
    keep = spool.named(root, base, packs)
    for stored in await local.list(""):
        if stored.key not in keep:
            await local.delete(stored.key)
