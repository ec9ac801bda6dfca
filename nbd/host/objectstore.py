"""Objects in S3 and compatibles, Azure Blob, GCS: obstore behind the port. A local folder is `folderstore.py`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from ..errors import Conflict, Damaged, Deadline, HostUnfit, InvalidInput, NbdError, NotFound
from ..homes.ports import Stored, Versioned
from .storewords import Said, trouble

PATIENCE_SECONDS = 30.0
SLOWEST = 64 << 10
"""Bytes a second. Who is slower is taken for gone."""
CONNECT_SECONDS = 10
LONGEST_SECONDS = 24 * 3600
PART, MOST_PARTS = 8 << 20, 9000
"""Of a streamed upload: S3 takes 10,000."""
KINDS: Mapping[str, Any] = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}
# S3 checks the body against its hash: a cut body is refused, not kept. One delete a request: not every compatible store has the other kind.
ALWAYS: Mapping[str, Mapping[str, Any]] = {"s3": {"checksum_algorithm": "SHA256", "disable_bulk_delete": "true"}}
BEHIND_OUR_BACK = ("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_", "MSI_")


class BucketStore:
    """`url`: s3://bucket/prefix, az://container/prefix, gs://bucket/prefix. `secrets`: obstore's options, read from files by the caller; without
    credentials among them, obstore asks the cloud's metadata service for some. Keeps its connections open."""

    def __init__(self, url: str, secrets: Mapping[str, str], client: Mapping[str, Any] | None = None, patience: float = PATIENCE_SECONDS) -> None:
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme not in KINDS or not bucket:
            raise InvalidInput(f"{url} is not a store", hint="s3://bucket/prefix, az://container/prefix or gs://bucket/prefix", code="bad_config")
        forget_environment()
        # The deadlines are ours, for they depend on the size; so are the retries, for we know what may be repeated.
        line: dict[str, Any] = {"timeout": f"{LONGEST_SECONDS}s", "connect_timeout": f"{CONNECT_SECONDS}s", **(client or {})}
        options: dict[str, Any] = {"client_options": line, "retry_config": {"max_retries": 0}, **ALWAYS.get(scheme, {}), **secrets}
        self.url, self._patience = url.rstrip("/"), patience
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        try:
            self._store = KINDS[scheme](bucket, **options)
        except (exceptions.BaseError, TypeError, ValueError) as error:
            # The text may name an option and never its value.
            raise InvalidInput(f"the store {url} cannot be opened: {str(error).splitlines()[0][:200]}", code="bad_config") from None

    def below(self, prefix: str) -> BucketStore:
        """The same bucket by the same connections, further down."""
        store = object.__new__(BucketStore)
        store._store, store._patience = self._store, self._patience
        store.url, store._prefix = f"{self.url}/{prefix}", f"{self._prefix}{prefix}/"
        return store

    async def create(self, key: str, data: bytes) -> str | None:
        async with self._explained(key, len(data)):
            try:
                result = await obstore.put_async(self._store, self._prefix + key, data, mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError as error:
                if "ConditionalRequestConflict" in str(error):
                    raise
                return None
        return version_of(result)

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        mode: Any = "create" if expected is None else dict(zip(("e_tag", "version"), expected.split("\n"), strict=False))
        async with self._explained(key, len(data)):
            result = await obstore.put_async(self._store, self._prefix + key, data, mode=mode, use_multipart=False)
        return version_of(result)

    async def fetch(self, key: str) -> Versioned:
        try:
            return await self._fetch(key)
        except HostUnfit as error:
            if error.code == "store_denied" and await self._is_absent(key):
                raise NotFound(f"{key} is not in the store {self.url}", code="store_missing") from None
            raise

    async def _is_absent(self, key: str) -> bool:
        """S3 denies what is not there to who may not list the whole bucket; to list our part of it is allowed, if the credentials are good."""
        folder = (self._prefix + key).rpartition("/")[0]
        try:
            async with self._explained(key, 0):
                found = await obstore.list_with_delimiter_async(self._store, folder or None)
        except NbdError:
            return False
        return self._prefix + key not in {meta["path"] for meta in found["objects"]}

    async def _fetch(self, key: str) -> Versioned:
        async with self._explained(key, 0):
            result = await obstore.get_async(self._store, self._prefix + key)
        async with self._explained(key, result.meta["size"]):
            return Versioned(bytes(await result.bytes_async()), version_of(result.meta))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        async with self._explained(key, length):
            try:
                return bytes(await obstore.get_range_async(self._store, self._prefix + key, start=offset, length=length))
            except exceptions.GenericError as error:
                if Said("", str(error)).past_the_end:
                    return b""
                raise

    async def folders(self, prefix: str) -> list[str]:
        """The names of the folders right below `prefix`, which is empty or ends with a slash."""
        async with self._explained(prefix, 0):
            found = await obstore.list_with_delimiter_async(self._store, (self._prefix + prefix).rstrip("/") or None)
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    async def list(self, prefix: str) -> list[Stored]:
        found = []
        whole = self._prefix + prefix
        stream = obstore.list(self._store, whole.rpartition("/")[0] or None, chunk_size=1000)
        while batch := await self._next(stream, prefix):
            found += [Stored(meta["path"][len(self._prefix) :], meta["size"]) for meta in batch if meta["path"].startswith(whole)]
        return sorted(found)

    async def delete(self, key: str) -> None:
        async with self._explained(key, 0):
            try:
                await obstore.delete_async(self._store, self._prefix + key)
            except (exceptions.NotFoundError, FileNotFoundError) as error:
                if "<Code>" not in str(error) or "NoSuchKey" in str(error):
                    return
                raise

    async def _next(self, stream: Any, prefix: str) -> Any:
        async with self._explained(prefix, 0):
            return await anext(stream, None)

    @asynccontextmanager
    async def _explained(self, key: str, size: int) -> AsyncIterator[None]:
        seconds = self._patience + size / SLOWEST
        try:
            async with asyncio.timeout(seconds):
                yield
        except NbdError:
            raise
        except TimeoutError:
            raise Deadline(f"the store {self.url} did not answer within {seconds:.3g} s", code="store_away") from None
        except exceptions.InvalidPathError as error:
            raise Damaged(f"the store {self.url} has an object whose name no file can have: {name_in(str(error))}", code="odd_name") from None
        except (exceptions.BaseError, OSError) as error:
            raise trouble(Said(type(error).__name__, str(error)), self.url, key) from None


class PlainBucket(BucketStore):
    """Objects as other tools see them too, each with its version: what attached data needs beyond the port."""

    async def look(self, key: str) -> Mapping[str, Any]:
        """Its facts, as obstore gives them. Raises NotFound."""
        async with self._explained(key, 0):
            return dict(await obstore.head_async(self._store, self._prefix + key))

    async def every(self) -> list[Mapping[str, Any]]:
        """Facts of all below the prefix, by keys relative to it. Raises Damaged(odd_name) where obstore cannot say one of the names: then it says
        nothing of any of them."""
        found: list[Mapping[str, Any]] = []
        stream = obstore.list(self._store, self._prefix.rstrip("/") or None, chunk_size=1000)
        while batch := await self._next(stream, "its listing"):
            found += [{**facts, "path": facts["path"][len(self._prefix) :]} for facts in batch]
        return found

    async def level(self, folder: str) -> tuple[list[Mapping[str, Any]], list[str]]:
        """The same of one folder alone (empty: the prefix itself), and the folders in it."""
        async with self._explained(folder, 0):
            found = await obstore.list_with_delimiter_async(self._store, (self._prefix + folder).rstrip("/") or None)
        start = len(self._prefix)
        return [{**facts, "path": facts["path"][start:]} for facts in found["objects"]], [path[start:] for path in found["common_prefixes"]]

    async def read_version(self, key: str, e_tag: str, offset: int, length: int) -> bytes:
        """Raises Conflict(store_changed) where there is another version, or none."""
        options: Any = {"range": (offset, offset + length), "if_match": e_tag}
        async with self._explained(key, length):
            try:
                result = await obstore.get_async(self._store, self._prefix + key, options=options)
                data = bytes(await result.bytes_async())
            except exceptions.GenericError as error:
                if Said("", str(error)).past_the_end:
                    return b""
                raise
            if result.meta["e_tag"] != e_tag:
                raise Conflict(f"{key} was changed by another", code="store_changed")
            return data

    async def stream(self, key: str, parts: AsyncIterator[bytes], size: int) -> Mapping[str, Any]:
        """Uploads part by part; nothing is seen of it before the end, and what `parts` raises takes it back. Unconditional."""
        chunk = max(PART, -(-size // MOST_PARTS))
        async with self._explained(key, size):
            return dict(await obstore.put_async(self._store, self._prefix + key, parts, use_multipart=True, chunk_size=chunk, max_concurrency=3))


def version_of(facts: Any) -> str:
    """Azure and S3 go by e-tag, GCS by version: both travel."""
    return "\n".join(str(facts.get(name)) for name in ("e_tag", "version") if facts.get(name) is not None)


def name_in(text: str) -> str:
    found = re.search(r'[Pp]ath "(.{1,200}?)"[ :]', text)
    return found[1] if found else text.partition("\n")[0][:200]


def forget_environment() -> None:
    """obstore takes credentials and endpoints from the environment, too. Ours come from files alone."""
    for name in [name for name in os.environ if name.startswith(BEHIND_OUR_BACK)]:
        del os.environ[name]
