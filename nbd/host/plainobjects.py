"""Plain objects below a prefix: the port of attached data on a bucket. Versions are e-tags; Google also wants a number as a condition."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..errors import Conflict, Damaged, HostUnfit, NbdError, NotFound
from ..homes.attached.model import Remote, There
from ..homes.attached.names import Named, sorted_out
from ..homes.attached.url import Place
from .credentials import Access
from .objectstore import PlainBucket

T = TypeVar("T")
AT_ONCE = 16
BUDGET_SECONDS, FIRST_SECONDS, LONGEST_SECONDS = 10.0, 0.2, 5.0


class PlainObjects:
    def __init__(self, place: Place, access: Access, patience: float = 30.0) -> None:
        """Raises InvalidInput."""
        self._place = place
        self._lines = asyncio.Semaphore(AT_ONCE)
        who = {"store_denied": f"look at the keys for {place.url}, and at what they allow", "store_unfit": "look at its name, region and endpoint"}
        self._hints = who if not unsigned(access) else {**who, "store_denied": "it is not public; with your own keys: --attach-keys FILE"}
        self._bucket = PlainBucket(place.url, access.options, access.client, patience)

    async def listing(self) -> There:
        try:
            found, closed = await self._again(self._bucket.every), dict[str, str]()
        except Damaged:
            # One odd name anywhere, and the library says nothing at all. Folder by folder, only the folder that has it is left out.
            found, closed = await self._by_folder()
        if "" in closed:
            raise HostUnfit(closed[""], code="data_unfit", hint="rename or remove that object, or attach a folder beside it")
        named = (Named(facts["path"], remote_of(facts)) for facts in found if facts["path"])
        return sorted_out(named, closed, self._place.prefix)

    async def look(self, key: str) -> str | None:
        try:
            return tag_of(await self._again(lambda: self._bucket.look(key)))
        except NotFound:
            return None

    async def read(self, key: str, version: str, offset: int, length: int) -> bytes:
        try:
            return await self._again(lambda: self._bucket.read_version(key, f'"{version}"', offset, length))
        except NotFound:
            raise Conflict(f"{key} was deleted by another", code="store_changed") from None

    async def put(self, key: str, data: bytes, expected: str | None) -> str:
        return (await self._again(lambda: self._replace(key, data, expected))).partition("\n")[0].strip('"')

    async def put_large(self, key: str, content: AsyncIterator[bytes], size: int, expected: str | None) -> str:
        """Once: who calls has read the file to its end."""

        async def parts() -> AsyncIterator[bytes]:
            async for part in content:
                yield part
            await self._still(key, expected)

        return tag_of(await self._bucket.stream(key, parts(), size))

    async def delete(self, key: str, expected: str) -> None:
        version = await self.look(key)
        if version is None:
            return
        if version != expected:
            raise Conflict(f"{key} was changed by another", code="store_changed")
        await self._again(lambda: self._bucket.delete(key))

    async def _replace(self, key: str, data: bytes, expected: str | None) -> str:
        condition = None if expected is None else f'"{expected}"'
        if expected is not None and self._place.scheme == "gs":
            facts = await self._still(key, expected)
            condition = f"{condition}\n{facts['version']}"
        try:
            return await self._bucket.replace(key, data, condition)
        except NotFound:
            raise Conflict(f"{key} was deleted by another", code="store_changed") from None

    async def _still(self, key: str, expected: str | None) -> Mapping[str, Any]:
        """Raises Conflict unless the version there is the expected one (None: there is none)."""
        try:
            facts = await self._again(lambda: self._bucket.look(key))
        except NotFound:
            facts = {}
        if (tag_of(facts) if facts else None) != expected:
            raise Conflict(f"{key} was changed by another", code="store_changed")
        return facts

    async def _by_folder(self) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
        found: list[Mapping[str, Any]] = []
        closed: dict[str, str] = {}
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                objects, folders = await self._again(lambda: self._bucket.level(folder))  # noqa: B023 - awaited before the next turn
            except Damaged as error:
                closed[folder] = error.message
                continue
            found += objects
            waiting += [name.rstrip("/") for name in folders]
        return found, closed

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + BUDGET_SECONDS, FIRST_SECONDS
        while True:
            try:
                async with self._lines:
                    return await call()
            except HostUnfit as error:
                # The words are about the store of homes; the next step here is another.
                raise HostUnfit(error.message, code=error.code, hint=self._hints.get(error.code, error.hint)) from None
            except NbdError as error:
                if not error.retryable or loop.time() + pause > end:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_SECONDS)


def tag_of(facts: Mapping[str, Any]) -> str:
    """Without the quotes, which Azure leaves out of a listing."""
    return str(facts["e_tag"]).strip('"')


def unsigned(access: Access) -> bool:
    return access.options.get("skip_signature") == "true"


def remote_of(facts: Mapping[str, Any]) -> Remote:
    return Remote(int(facts["size"]), tag_of(facts), int(facts["last_modified"].timestamp() * 1e6) * 1000)
