"""Routes of the store of all snapshots, for admins: how it is, what it must allow, a new master key. Core asks sync, which alone holds the key."""

from __future__ import annotations

from typing import Any, Protocol

from .. import wire
from ..errors import Conflict, Refused
from ..homes.ports import KeyShelf
from ..homes.snapshots.rotation import Rotation
from ..homes.stores import layout, policy
from ..homes.stores.traffic import Counts
from ..storemessages import PolicyView, RotationView, StorageView, TrafficView
from .routes import Ask, Route, Who

ROTATION_SECONDS = 3600.0


class StoreWindow:
    """The routes of sync's own socket."""

    def __init__(self, where: str, shelf: KeyShelf, rotation: Rotation, counts: Counts) -> None:
        self._where, self._shelf, self._rotation, self._counts = where, shelf, rotation, counts

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/homes/storage", "How the store is used", StorageView, self.status, who=Who.DOOR),
            Route("POST", "/v1/homes/rotate-key", "Put every home under a new master key", RotationView, self.rotate, who=Who.DOOR),
        ]

    async def status(self, ask: Ask) -> StorageView:
        key = self._shelf.facts()
        traffic = (
            TrafficView(kind, one.requests, one.errors, one.sent, one.received, round(one.seconds, 3)) for kind, one in sorted(self._counts.items())
        )
        return StorageView(self._where, key.file, key.name, key.rotating, tuple(traffic))

    async def rotate(self, ask: Ask) -> RotationView:
        found = await self._rotation.rotate()
        key = self._shelf.facts()
        return RotationView(found.homes, found.failed, key.file, key.name)


class Sync(Protocol):
    async def ask(self, path: str, body: object, seconds: float = 30.0) -> Any: ...


class StorageRoutes:
    """Core's. `store`: homes.store, as it is in the settings."""

    def __init__(self, sync: Sync, store: str | None) -> None:
        self._sync, self._store = sync, store

    def routes(self) -> list[Route]:
        whose = {"user": "an account's name; without one, of nbd sync itself"}
        return [
            Route("GET", "/v1/storage", "How the store of snapshots is used", StorageView, self.status, who=Who.ADMIN),
            Route("GET", "/v1/storage/policy", "The least that the store must allow", PolicyView, self.policy, who=Who.ADMIN, query=whose),
            Route("POST", "/v1/storage/rotate-key", "Put every home under a new master key", RotationView, self.rotate, who=Who.ADMIN),
        ]

    async def status(self, ask: Ask) -> StorageView:
        return wire.load(StorageView, await self._sync.ask("storage", None))

    async def policy(self, ask: Ask) -> PolicyView:
        if not self._store or "://" not in self._store:
            raise Conflict("snapshots are kept in a folder of this box: there is nothing to allow", hint="homes.store = s3://bucket/prefix")
        found, person = layout.parse(self._store), ask.query.get("user") or None
        bucket, prefix = policy.place(found, person)
        place = f"{found.scheme}://{bucket}/{prefix}".rstrip("/")
        return PolicyView(person or "", place, policy.document(found, person), policy.steps(found, person))

    async def rotate(self, ask: Ask) -> RotationView:
        if ask.person.uid != 0 or ask.token is not None:
            raise Refused("only root may replace the master key", hint="on this box: sudo nbctl admin storage rotate-key")
        return wire.load(RotationView, await self._sync.ask("rotate-key", None, ROTATION_SECONDS))
