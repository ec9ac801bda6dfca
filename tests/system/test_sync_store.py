"""A real `nbd sync` on a real S3: credentials that go bad and are replaced while it runs; an end in the middle of uploads; where secrets are not."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nbd.errors import NbdError
from nbd.homes.stores import layout, policy
from nbd.notebooks.model import Occupant
from tests.fakes.object_servers import BUCKET, Server, s3, s3_user, strict_s3
from tests.homes.bucket_reader import BucketReader
from tests.homes.world import SOAK, look

from .syncbox import QUIET, SyncBox, sync_box

pytestmark = pytest.mark.real
WHERE = f"s3://{BUCKET}/lab"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3() as found:
        yield found


class Kept:
    """A home, kept in the bucket by a sync whose credentials are in a file."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.good = s3_user(server, folder.name, policy.document(layout.parse(WHERE), None))
        self.secrets = folder / "secrets"
        self.secrets.touch(mode=0o600)
        self.write(self.good)
        self.home = folder / "home"
        self.home.mkdir()
        self.who = Occupant(f"ada-{folder.name}", os.geteuid(), os.getegid(), str(self.home))
        self.settings = f'{QUIET}user = "nbdtest-none"\nstore = "{WHERE}"\nstore_secrets = "{self.secrets}"\nstore_timeout = "5s"\n'

    def write(self, secrets: dict[str, str]) -> None:
        new = self.secrets.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text("".join(f'{key} = "{value}"\n' for key, value in secrets.items()))
        new.replace(self.secrets)

    def is_stored(self, box: SyncBox) -> bool:
        reader = BucketReader(self.server, f"lab/{self.who.name}", self.folder / "copy")
        strict_s3(self.server, strict=False)  # The reader has no key. So this is asked only while sync's own is good.
        try:
            return reader.restored(box.master) == look(self.home)
        finally:
            strict_s3(self.server, strict=True)


@pytest.fixture
def kept(server: Server, short_path: Path) -> Iterator[Kept]:
    made = Kept(server, short_path)
    strict_s3(server, strict=True)
    yield made
    strict_s3(server, strict=False)


async def until_protected(box: SyncBox, who: Occupant, after: float) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            status = await box.status(who)
            if status.protected is not None and status.protected > after and status.sentence.startswith("protected"):
                return
            await asyncio.sleep(0.05)


async def test_credentials_that_have_gone_bad_are_replaced_while_it_runs(kept: Kept) -> None:
    with sync_box(kept.folder, kept.settings) as box:
        (kept.home / "work").write_bytes(os.urandom(50_000))
        await box.flush(kept.who, name="first")
        assert kept.is_stored(box)
        box.end()
        kept.write({**kept.good, "access_key_id": "AKIAEXPIRED"})
        box.up()
        (kept.home / "more").write_bytes(os.urandom(50_000))
        changed = time.time()
        with suppress(NbdError):  # It may wait on the box, or be tried again.
            await box.flush(kept.who, name="second")
        status = await box.status(kept.who)
        assert not status.sentence.startswith("protected")
        assert status.protected is None or status.protected <= changed
        assert "denies access" in status.trouble + status.sentence + box.output
        kept.write(kept.good)
        await until_protected(box, kept.who, changed)
        assert kept.is_stored(box)
        assert {"first", "second"} <= {one.name for one in await box.snapshots(kept.who)}
        for secret in (kept.good["secret_access_key"], kept.good["access_key_id"]):
            assert box.process
            there = (Path(f"/proc/{box.process.pid}/environ"), Path(f"/proc/{box.process.pid}/cmdline"), box.folder / "sync.out")
            assert not [path for path in there if secret.encode() in path.read_bytes()]


async def test_an_end_in_the_middle_of_uploads_is_an_end(kept: Kept) -> None:
    """Whatever obstore's threads do at that moment: exit code 0, no core dump; and the next one begins where this ended."""
    with sync_box(kept.folder, kept.settings) as box:
        for number in range(6 * SOAK):
            for part in range(20):
                (kept.home / f"f{part}").write_bytes(os.urandom(400_000))
            asked = asyncio.create_task(box.flush(kept.who, name=f"n{number}"))
            await asyncio.sleep(0.04 * (number % 8))
            assert await asyncio.to_thread(box.end) == 0, box.output[-2000:]
            await asyncio.gather(asked, return_exceptions=True)
            await asyncio.to_thread(box.up)
        await box.flush(kept.who, name="last", seconds=PATIENCE)
        await until_protected(box, kept.who, 0)
        assert kept.is_stored(box)
