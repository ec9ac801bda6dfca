"""What of a spool belongs into the store's pointer, and how it gets there. Pure (docs/decisions/0006-spool.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ...errors import HostUnfit, NbdError, Unreachable
from ..model import Listed, Root
from ..snapshots.retention import PASSING

FULL = "spool_full"
FOLDERS = ("data/", "index/", "snapshots/")
"""In the order in which they are published."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """What waits on this box for the store."""

    bytes: int
    snapshots: int
    since: int | None = None
    """The time of the oldest; None where that cannot be read now."""
    trouble: str = ""
    """Why it did not get there yet, as far as that was tried."""


@dataclass(frozen=True, slots=True)
class Added:
    indexes: tuple[str, ...]
    snapshots: tuple[Listed, ...]
    named: tuple[Listed, ...] = ()
    """Snapshots of the store that were given a name here."""


def is_away(error: NbdError) -> bool:
    """A store that fails, denies or is full: a snapshot can wait for it on this box. Not: one that is damaged, or that another has changed."""
    return isinstance(error, (Unreachable, HostUnfit)) and error.code.startswith("store_")


def added(base: Root, local: Root) -> Added:
    """What the spool's pointer names beyond the one that it began with."""
    known = {listed.id: listed for listed in base.snapshots}
    return Added(
        tuple(name for name in local.indexes if name not in base.indexes),
        tuple(listed for listed in local.snapshots if listed.id not in known),
        tuple(listed for listed in local.snapshots if listed.id in known and listed != known[listed.id]),
    )


def needs_proof(base: Root, store: Root) -> bool:
    """Whether something that the spool rests on may have been deleted."""
    return base.swept != store.swept


def merged(store: Root, added: Added) -> Root:
    """The store's pointer with these in it, too; published twice, it is the same. Its sequence is the repository's business."""
    names = {listed.id: listed.name for listed in added.named}
    there = [replace(listed, name=names.get(listed.id, listed.name)) if listed.name in PASSING else listed for listed in store.snapshots]
    known = {listed.id for listed in there}
    new = [listed for listed in added.snapshots if listed.id not in known]
    return replace(
        store, indexes=tuple(dict.fromkeys((*store.indexes, *added.indexes))), snapshots=tuple(sorted((*there, *new), key=lambda one: one.time))
    )  # fmt: skip


def named(local: Root, base: Root, packs: Iterable[bytes]) -> frozenset[str]:
    """Keys of all that belongs in the spool. `packs`: those that its indexes name."""
    new = added(base, local)
    objects = [f"index/{name}" for name in new.indexes] + [f"snapshots/{listed.id}" for listed in new.snapshots]
    return frozenset(["base", "config", "latest", *objects, *(f"data/{pack.hex()}" for pack in packs)])


def order(keys: Iterable[str], done: Collection[str]) -> list[list[str]]:
    """What is still to be uploaded; each list only after the one before."""
    return [[key for key in sorted(keys) if key.startswith(folder) and key not in done] for folder in FOLDERS]
