"""What people are told of snapshots that wait on this box, and that they get into the store by themselves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import HostUnfit, Unreachable
from nbd.homes.keeper import Keeper
from nbd.homes.keeping.guardian import Means
from nbd.homes.offline.publisher import MOST_PAUSE_SECONDS, Publisher
from nbd.homes.snapshots.snapshotter import Request
from nbd.homes.steward import Steward
from nbd.homes.vault import Vault
from nbd.host.homefolder import DescriptorFolders
from nbd.host.homenotes import NoteFiles
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from nbd.host.shelf import FileShelf
from nbd.host.spoolfolder import SpoolFolder
from tests.homes.offline import kill
from tests.homes.world import KEYS
from tests.services.guarded import EVERY, House, until

AWAY = Unreachable("the store is away", code="store_away")


class SpoolingHouse(House):
    now = 0.0
    most_bytes = 1 << 30
    copies: FileShelf | None = None

    def build(self) -> None:
        if self.copies:
            kill(self.copies)
        self.copies = FileShelf(self.folder / "copies", 1 << 30, lambda _: 1 << 40)
        self.vault = Vault("memory", lambda _: self.store, KEYS, SequenceFile(self.folder / "seen.json"))
        spool = SpoolFolder(self.folder / "spool", self.most_bytes, lambda _: 1 << 40)
        self.vault.use(self.copies, spool)
        means = Means(self.vault, self.homes, IgnoreRules, time.time_ns, EVERY, self.prove_seconds, self.sources)
        self.steward = Steward(means, Keeper(means, NoteFiles(self.folder / "notes"), DescriptorFolders()))
        assert self.vault.outbox
        self.publisher = Publisher(self.vault.outbox, lambda: self.now)

    async def tried(self) -> None:
        """One try to publish what is due."""
        await self.publisher.tick()
        while self.publisher._tasks:
            await next(iter(self.publisher._tasks.values()))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SpoolingHouse]:
    found = SpoolingHouse(tmp_path)
    (found.path / "file").write_text("1")
    await found.steward.flush(found.home, Request("stop", "one"))
    yield found
    await found.steward.close()


async def test_a_stop_while_the_store_is_away(house: SpoolingHouse) -> None:
    before = (await house.status()).protected
    assert before
    house.store.trouble = AWAY
    (house.path / "file").write_text("2")
    view = await house.steward.flush(house.home, Request("stop", "two"))
    assert (view.pending, view.trouble) == ((), "")
    assert view.sentence.startswith("not protected: in the spool on this box (")
    assert "not in the store yet, since " in view.sentence
    assert view.waiting
    assert view.waiting.snapshots == 1
    assert view.waiting.bytes > 0
    await house.steward.flush(house.home, Request("stop", "three"))
    view = await house.status()
    assert view.protected == before, "what is on this box alone is not protected"
    assert [name for _, name in await house.events()] == ["three", "two", "one"]
    await house.tried()
    view = await house.status()
    assert view.waiting
    assert (view.waiting.snapshots, view.waiting.trouble) == (2, "the store is away")
    assert "the store is away" in view.hint
    house.store.trouble = None
    await house.tried()
    assert (await house.status()).waiting, "not tried again before its time"
    house.now += MOST_PAUSE_SECONDS
    await house.tried()
    view = await house.status()
    assert view.waiting is None
    assert view.protected
    assert view.protected > before
    assert view.sentence.startswith("protected")
    assert [name for _, name in await house.events()] == ["three", "two", "one"]


async def test_sync_started_again_with_something_in_the_spool(house: SpoolingHouse) -> None:
    house.store.trouble = AWAY
    (house.path / "file").write_text("2")
    await house.steward.flush(house.home, Request("stop", "two"))
    house.build()
    await house.tried()
    view = await house.status()
    assert view.waiting
    assert view.sentence.startswith("not protected: in the spool on this box (")
    assert view.protected is None
    house.store.trouble = None
    house.now += MOST_PAUSE_SECONDS
    await house.tried()
    assert [name for _, name in await house.events()] == ["two", "one"]
    assert (await house.status()).waiting is None


async def test_a_store_that_denies_is_waited_for_too(house: SpoolingHouse) -> None:
    house.store.trouble = HostUnfit("the credentials of the store have expired", code="store_denied")
    (house.path / "file").write_text("2")
    await house.steward.flush(house.home, Request("stop", "two"))
    await house.tried()
    assert "have expired" in (await house.status()).hint


async def test_a_watched_home_goes_on_and_comes_back(house: SpoolingHouse) -> None:
    house.store.trouble = AWAY
    await house.steward.watch([house.home])
    (house.path / "new").write_text("x")

    async def waits() -> bool:
        return (await house.status()).waiting is not None

    await until(waits)
    house.store.trouble = None
    await house.tried()

    async def protected() -> bool:
        view = await house.status()
        return view.sentence == "protected" and view.waiting is None

    await until(protected)
    (house.path / "newer").write_text("x")
    await until(lambda: house.has("newer"))


async def test_a_full_spool_is_said(house: SpoolingHouse) -> None:
    house.most_bytes = 10
    house.build()
    house.store.trouble = AWAY
    (house.path / "file").write_text("2")
    with pytest.raises(HostUnfit):
        await house.steward.flush(house.home, Request("stop", "two"))
    view = await house.status()
    assert view.trouble == "the store is away, and the spool on this box is full"
    assert view.pending == ("stop two",)
