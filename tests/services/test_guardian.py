"""One home and its guardian, over a store in memory that has bad days: looks come when they should, one at a time, and nothing asked for is lost."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nbd.errors import Damaged, NbdError, NotFound, Refused, Unreachable
from nbd.homes.guardian import Means
from nbd.homes.keeper import Keeper
from nbd.homes.model import HomeRequest
from nbd.homes.ports import OpenHome
from nbd.homes.snapshotter import Request
from nbd.homes.steward import Steward
from nbd.homes.vault import Vault
from nbd.host.homefolder import DescriptorFolders
from nbd.host.homenotes import NoteFiles
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from nbd.messages import HomeView, RestoreRequest
from tests.fakes.object_store import MemoryStore
from tests.homes.world import KEYS

EVERY = 0.02


class BadDays(MemoryStore):
    trouble: NbdError | None = None

    async def _called(self, what: str, key: str) -> None:
        await super()._called(what, key)
        if self.trouble:
            raise self.trouble


class CountedHomes:
    """The real ones; knows how many looks there were, and how many at once."""

    def __init__(self) -> None:
        self.looks = self.now = self.most = 0

    async def open(self, path: str, owner: int | None) -> OpenHome:
        home = await DescriptorHomes().open(path, owner)
        self.looks += 1
        self.now += 1
        self.most = max(self.most, self.now)
        return Counted(home, self)


class Counted:
    def __init__(self, home: OpenHome, counts: CountedHomes) -> None:
        self._home, self._counts = home, counts
        self.look, self.sift, self.read, self.open_large = home.look, home.sift, home.read, home.open_large

    async def close(self) -> None:
        self._counts.now -= 1
        await self._home.close()


@dataclass
class House:
    folder: Path
    store: BadDays = field(default_factory=BadDays)
    homes: CountedHomes = field(default_factory=CountedHomes)

    def __post_init__(self) -> None:
        self.path = self.folder / "home"
        self.path.mkdir(exist_ok=True)
        self.home = HomeRequest("ada", os.geteuid(), str(self.path))
        self.build()

    def build(self) -> None:
        """As after a restart of sync."""
        vault = Vault("memory", lambda _: self.store, KEYS, SequenceFile(self.folder / "seen.json"))
        means = Means(vault, self.homes, IgnoreRules, time.time_ns, EVERY)
        self.steward = Steward(means, Keeper(means, NoteFiles(self.folder / "notes"), DescriptorFolders()))

    async def status(self) -> HomeView:
        return await self.steward.status(self.home)

    async def names(self) -> set[str]:
        with suppress(NotFound):
            return {entry.name for entry in await self.steward.entries(self.home, "latest", "")}
        return set()

    async def events(self) -> list[tuple[str, str]]:
        return [(one.event, one.name) for one in await self.steward.snapshots(self.home)]


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.005)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_a_watched_home_is_looked_at_now_and_again_until_it_rests(house: House) -> None:
    (house.path / "one").write_text("1")
    await house.steward.watch([house.home])
    await house.steward.watch([house.home])

    async def has(name: str) -> bool:
        return name in await house.names()

    await until(lambda: has("one"))
    (house.path / "two").write_text("2")
    await until(lambda: has("two"))
    (house.path / "three").write_text("3")
    await house.steward.watch([])
    await until(lambda: has("three"))
    await asyncio.sleep(5 * EVERY)
    looks = house.homes.looks
    await asyncio.sleep(5 * EVERY)
    assert house.homes.looks == looks
    assert house.homes.most == 1
    assert (await house.status()).sentence.startswith("protected; no notebook runs")


async def test_a_flush_is_a_look_that_began_after_it_and_never_beside_another(house: House) -> None:
    await house.steward.watch([house.home])
    for number in range(20):
        (house.path / f"f{number}").write_text("x")
        await asyncio.gather(*(house.steward.flush(house.home, Request("stop", f"n{number}-{way}")) for way in range(3)))
        assert f"f{number}" in await house.names()
    assert house.homes.most == 1
    assert len([event for event, _ in await house.events() if event == "stop"]) == 60
    await house.steward.close()


async def test_what_fails_is_told_stays_pending_and_gets_there(house: House) -> None:
    (house.path / "work").write_text("x")
    house.store.trouble = Unreachable("the store is away", code="store_away")
    await house.steward.watch([house.home])
    with pytest.raises(Unreachable):
        await house.steward.flush(house.home, Request("stop", "main"))
    await house.steward.watch([])
    status = await house.status()
    assert (status.trouble, status.pending, status.watched) == ("the store is away", ("stop main",), False)
    assert status.since is not None
    house.store.trouble = None

    async def there() -> bool:
        return ("stop", "main") in await house.events()

    await until(there)
    status = await house.status()
    assert (status.trouble, status.pending, status.since) == ("", (), None)
    assert await house.names() == {"work"}


async def test_what_waiting_cannot_mend_is_given_up_once_nobody_uses_the_home(house: House) -> None:
    house.store.trouble = Damaged("the pointer is not what was stored")
    with pytest.raises(Damaged):
        await house.steward.flush(house.home, Request("stop", "main"))
    calls = len(house.store.calls)
    await asyncio.sleep(10 * EVERY)
    assert len(house.store.calls) == calls
    assert "not protected: the pointer" in (await house.status()).sentence


async def test_failures_come_less_and_less_often(house: House) -> None:
    house.store.trouble = Unreachable("the store is away")
    await house.steward.watch([house.home])
    await asyncio.sleep(0.5)
    assert 2 <= house.homes.looks <= 6
    await house.steward.close()


async def test_a_store_that_was_put_back_is_noticed_after_a_restart(house: House) -> None:
    await house.steward.flush(house.home, Request("stop", "one"))
    old, versions = dict(house.store.objects), dict(house.store._versions)
    await house.steward.flush(house.home, Request("stop", "two"))
    house.store.objects, house.store._versions = old, versions
    house.build()
    with pytest.raises(Damaged) as said:
        await house.steward.snapshots(house.home)
    assert said.value.code == "rolled_back"
    house.store.objects, house.store._versions = {}, {}
    with pytest.raises(Damaged):
        await house.steward.snapshots(house.home)


async def test_reading_makes_nothing(house: House) -> None:
    assert await house.steward.snapshots(house.home) == []
    assert (await house.steward.verify(house.home)).good
    assert (await house.status()).sentence.startswith("there are no snapshots yet")
    assert house.store.objects == {}


async def test_a_great_loss_waits_for_a_word(house: House) -> None:
    for number in range(100):
        (house.path / f"f{number}").write_text("x")
    await house.steward.flush(house.home, Request("stop", "one"))
    for number in range(60):
        (house.path / f"f{number}").unlink()
    status = await house.steward.flush(house.home, Request())
    assert "nbctl home confirm" in status.hint
    assert len(await house.names()) == 100
    status = await house.steward.flush(house.home, Request("confirm", confirmed=True))
    assert status.hint == ""
    assert len(await house.names()) == 40
    for path in house.path.iterdir():
        path.unlink()
    with pytest.raises(Refused):
        await house.steward.flush(house.home, Request())
    assert "nbctl home confirm" in (await house.status()).hint
    await house.steward.flush(house.home, Request("confirm", confirmed=True))
    assert await house.names() == set()


async def test_the_newest_that_has_it_is_what_comes_back(house: House) -> None:
    for number, text in enumerate(("a", "b")):
        (house.path / "paper").write_text(text)
        await house.steward.flush(house.home, Request("stop", str(number)))
    (house.path / "paper").rename(house.path / "other")
    await house.steward.flush(house.home, Request("stop", "2"))
    two, one, zero = await house.steward.snapshots(house.home)
    repository = await house.steward._repository(house.home)
    for asked, expected in (
        (RestoreRequest("paper"), one),
        (RestoreRequest("paper", at=zero.time), zero),
        (RestoreRequest("paper", snapshot=zero.id[:10]), zero),
        (RestoreRequest("", at=two.time), two),
    ):
        listed, _ = await house.steward._chosen(repository, asked, asked.path.encode())
        assert listed.id == expected.id
    with pytest.raises(NotFound):
        await house.steward._chosen(repository, RestoreRequest("paper", at=zero.time - 1), b"paper")


async def test_own_rules_and_wrong_ones(house: House) -> None:
    (house.path / ".nbdignore").write_text("*.tmp\n")
    (house.path / "a.tmp").write_text("x")
    (house.path / "a").write_text("x")
    await house.steward.flush(house.home, Request())
    assert await house.names() == {".nbdignore", "a"}
    (house.path / ".nbdignore").write_text("!\n")
    status = await house.steward.flush(house.home, Request())
    assert "a.tmp" in await house.names()
    assert "your .nbdignore is left out" in status.sentence




async def test_one_verify_of_a_person_at_a_time(house: House) -> None:
    await house.steward.flush(house.home, Request("stop", "one"))
    found = await asyncio.gather(*(house.steward.verify(house.home) for _ in range(3)), return_exceptions=True)
    assert [type(one).__name__ for one in found] == ["VerifyView", "Conflict", "Conflict"]
    assert (await house.steward.verify(house.home)).snapshots == 1
