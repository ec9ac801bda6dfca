"""A store whose credentials may be put into their file anew while it is used: after a denial the file is read again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..errors import HostUnfit
from .credentials import Access
from .objectstore import BucketStore
from .wrapping import Call, Step, T, WrappedStore

log = logging.getLogger(__name__)


class Connection:
    """To one bucket, under the credentials that are in the file now; all persons' stores in it go by this one."""

    def __init__(self, read: Callable[[], Access], open_bucket: Callable[[Access], BucketStore]) -> None:
        self._read, self._open = read, open_bucket
        self._access = read()
        self.bucket = open_bucket(self._access)

    def renewed(self, denied: BucketStore) -> bool:
        """After a denial: whether there are other credentials than those that were denied. Raises HostUnfit for a file that is not fit."""
        if self.bucket is not denied:
            return True
        found = self._read()
        if found == self._access:
            return False
        self._access, self.bucket = found, self._open(found)
        log.info("the credentials of %s are new", self.bucket.url)
        return True


class RenewingStore(WrappedStore):
    """`prefix`: whose, in the bucket; may be empty."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        super().__init__(connection.bucket)
        self._connection, self._prefix = connection, prefix

    async def _through(self, step: Step, call: Call[T]) -> T:
        bucket = self._connection.bucket
        try:
            return await call(self._of(bucket))
        except HostUnfit as error:
            if error.code != "store_denied" or not self._connection.renewed(bucket):
                raise
        return await call(self._of(self._connection.bucket))

    def _of(self, bucket: BucketStore) -> BucketStore:
        return bucket.below(self._prefix) if self._prefix else bucket
