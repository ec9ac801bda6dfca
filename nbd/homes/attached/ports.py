"""What attached data needs of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from ..ports import Target
from .model import Attachment, Known, There


class Objects(Protocol):
    """The plain objects below one prefix. Keys are UTF-8, relative to it.

    Every call has a deadline of its own and may be repeated. Worth a retry: whatever says `retryable`; a writing call that failed so may have taken
    effect, and is then a Conflict with ourselves when it is repeated. HostUnfit: the store denies, or what was asked for is not there at all; a
    person must act.
    """

    async def listing(self) -> There:
        """Everything that is there. What the store cannot tell of is in `closed`."""

    async def look(self, key: str) -> str | None:
        """Its version now; None: there is none."""

    async def read(self, key: str, version: str, offset: int, length: int) -> bytes:
        """A range of just this version. Raises Conflict(code=store_changed) where there is another, or none any more."""

    async def put(self, key: str, data: bytes, expected: str | None) -> str:
        """In place of this version alone (None: of nothing). Atomic. Raises Conflict(code=store_changed). Returns the new version."""

    async def put_large(self, key: str, content: AsyncIterator[bytes], size: int, expected: str | None) -> str:
        """The same, part by part; `expected` is asked for just before the end, which is all that a store can be asked. What `content` raises leaves
        the object as it was, and is raised."""

    async def delete(self, key: str, expected: str) -> None:
        """This version alone, as far as a store can be asked. Missing is fine. Raises Conflict(code=store_changed)."""


class Ledger(Protocol):
    """What was the same on both sides, by path. Survives whatever ends the program."""

    @property
    def known(self) -> Mapping[str, Known]: ...

    async def note(self, fresh: Sequence[Known], gone: Sequence[str] = ()) -> None:
        """Durable when it returns."""


class Hands(Target, Protocol):
    """The folder, written by a process that is its owner."""

    async def settle(self, paths: Sequence[bytes]) -> None:
        """What was written and removed there is on the disk when it returns."""


class Shelf(Protocol):
    """What sync knows of attachments, kept on this box."""

    def all(self) -> Sequence[Attachment]: ...

    async def keep(self, attachment: Attachment) -> None: ...

    async def drop(self, attachment: str) -> None:
        """With its ledger. Absent is done."""

    async def ledger(self, attachment: str) -> Ledger:
        """Raises StateUnusable."""

    def objects(self, attachment: Attachment) -> Objects:
        """Raises InvalidInput, HostUnfit: what an admin, or the person, has to mend."""

    async def entrust(self, person: str, url: str, options: Mapping[str, str]) -> None:
        """A person's own keys for a bucket, already checked. Empty: forgets them."""
