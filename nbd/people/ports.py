"""What the people slice needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .model import BrowserRight, Person


class Accounts(Protocol):
    """The box's account database (passwd, LDAP, …): may be slow, so it is asked off the event loop, with a deadline."""

    async def by_uid(self, uid: int) -> Person | None: ...

    async def by_name(self, name: str) -> Person | None: ...


class RightStore(Protocol):
    """Sign-ins that survive a restart. A write is durable when it returns."""

    async def rights(self) -> Sequence[BrowserRight]: ...

    async def add_right(self, right: BrowserRight) -> None: ...

    async def end_right(self, sha256: str) -> None: ...
