"""Objects in S3 and compatibles, Azure Blob, GCS: obstore behind the port. A local folder is `folderstore.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from ..errors import Conflict, Deadline, HostUnfit, InvalidInput, NbdError, NotFound, Unreachable
from ..homes.ports import Stored, Versioned

SECONDS = 120.0
KINDS: Mapping[str, Any] = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}
DENIED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)


class BucketStore:
    """`url`: s3://bucket/prefix, az://container/prefix, gs://bucket/prefix. `secrets`: obstore's options, read from files by the caller."""

    def __init__(self, url: str, secrets: Mapping[str, str], client: Mapping[str, Any] | None = None) -> None:
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme not in KINDS or not bucket:
            raise InvalidInput(f"{url} is not a store", hint="s3://bucket/prefix, az://container/prefix or gs://bucket/prefix")
        # Retries are the wrapper's, which knows what may be repeated. S3 checks the body against its hash: a cut body is refused, not kept.
        checked: dict[str, Any] = {"checksum_algorithm": "SHA256"} if scheme == "s3" else {}
        options: dict[str, Any] = {"client_options": {"timeout": "60s", **(client or {})}, "retry_config": {"max_retries": 0}}
        self._name = url
        try:
            self._store = KINDS[scheme](bucket, prefix=prefix or None, **options, **checked, **secrets)
        except (exceptions.BaseError, TypeError, ValueError) as error:
            # The text may name an option and never its value.
            raise InvalidInput(f"the store {url} cannot be opened: {str(error).splitlines()[0][:200]}", code="bad_config") from None

    async def create(self, key: str, data: bytes) -> None:
        async with self._explained(key):
            try:
                await obstore.put_async(self._store, key, data, mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError:
                return

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        mode: Any = "create" if expected is None else dict(zip(("e_tag", "version"), expected.split("\n"), strict=False))
        async with self._explained(key):
            result = await obstore.put_async(self._store, key, data, mode=mode, use_multipart=False)
        return version_of(result)

    async def fetch(self, key: str) -> Versioned:
        async with self._explained(key):
            result = await obstore.get_async(self._store, key)
            data = bytes(await result.bytes_async())
            return Versioned(data, version_of(result.meta))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        async with self._explained(key):
            return bytes(await obstore.get_range_async(self._store, key, start=offset, length=length))

    async def list(self, prefix: str) -> list[Stored]:
        found = []
        folder, _, rest = prefix.rpartition("/")
        async with self._explained(prefix):
            async for batch in obstore.list(self._store, folder or None):
                found += [Stored(meta["path"], meta["size"]) for meta in batch if meta["path"].rpartition("/")[2].startswith(rest) or not rest]
        return sorted(found)

    async def delete(self, key: str) -> None:
        async with self._explained(key):
            try:
                await obstore.delete_async(self._store, key)
            except (exceptions.NotFoundError, FileNotFoundError):
                return

    @asynccontextmanager
    async def _explained(self, key: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(SECONDS):
                yield
        except NbdError:
            raise
        except TimeoutError:
            raise Deadline(f"the store {self._name} did not answer within {SECONDS:g} s", code="store_away") from None
        except (exceptions.NotFoundError, FileNotFoundError):
            raise NotFound(f"{key} is not in the store {self._name}", code="store_missing") from None
        except (exceptions.PreconditionError, exceptions.AlreadyExistsError):
            raise Conflict(f"{key} was changed by another", code="store_changed") from None
        except DENIED:
            hint = "look at the credentials, and at what their policy allows"
            raise HostUnfit(f"the store {self._name} denies access", code="store_unfit", hint=hint) from None
        except (exceptions.BaseError, OSError) as error:
            # The text of a request may name the bucket and the key, never the credentials; one line is enough.
            raise Unreachable(f"the store {self._name} fails: {str(error).splitlines()[0][:200]}", code="store_away") from None


def version_of(facts: Any) -> str:
    """Azure and S3 go by e-tag, GCS by version: both travel."""
    return "\n".join(str(facts.get(name)) for name in ("e_tag", "version") if facts.get(name) is not None)
