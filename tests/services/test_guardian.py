"""One home and its guardian, over a store in memory that has bad days: looks come when they should, one at a time, and nothing asked for is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Damaged, NotFound, Refused, Unreachable
from nbd.homes.snapshots.snapshotter import Request
from nbd.messages import RestoreRequest
from tests.services.guarded import EVERY, House, house_with, until


@pytest.fixture(params=["looks", "inotify", pytest.param("fanotify", marks=pytest.mark.real)])
async def house(request: pytest.FixtureRequest, tmp_path: Path, short_path: Path) -> AsyncIterator[House]:
    """All of this holds whatever tells of changes, and with nothing that does."""
    async with house_with(request.param, tmp_path, short_path) as house:
        yield house


async def test_a_watched_home_is_looked_at_now_and_again_until_it_rests(house: House) -> None:
    (house.path / "one").write_text("1")
    await house.steward.watch([house.home])
    await house.steward.watch([house.home])
    await until(lambda: house.has("one"))
    (house.path / "two").write_text("2")
    await until(lambda: house.has("two"))
    (house.path / "three").write_text("3")
    await house.steward.watch([])
    await until(lambda: house.has("three"))
    await asyncio.sleep(5 * EVERY)
    looks = house.homes.opened
    await asyncio.sleep(5 * EVERY)
    assert house.homes.opened == looks
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


async def test_a_home_that_is_gone_is_given_up_once_nobody_uses_it(house: House) -> None:
    house.path.rename(house.path.with_name("elsewhere"))
    with pytest.raises(Refused):
        await house.steward.flush(house.home, Request("stop", "main"))
    opened = house.homes.opened
    await asyncio.sleep(10 * EVERY)
    assert house.homes.opened == opened
    assert "not protected: the home" in (await house.status()).sentence


async def test_a_store_that_an_admin_mends_is_tried_until_then(house: House) -> None:
    house.store.trouble = Damaged("the pointer is not what was stored")
    with pytest.raises(Damaged):
        await house.steward.flush(house.home, Request("stop", "main"))
    assert "not protected: the pointer" in (await house.status()).sentence
    house.store.trouble = None

    async def there() -> bool:
        return ("stop", "main") in await house.events()

    await until(there)


async def test_failures_come_less_and_less_often(house: House) -> None:
    house.store.trouble = Unreachable("the store is away")
    await house.steward.watch([house.home])
    await asyncio.sleep(0.5)
    assert 2 <= house.homes.opened <= 6
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
    with pytest.raises(Unreachable, match="has nothing of this home, and this box has seen"):
        await house.steward.snapshots(house.home)
    assert house.store.objects == {}, "nothing is begun in an empty mount point"


async def test_reading_makes_nothing(house: House) -> None:
    assert await house.steward.snapshots(house.home) == []
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
    (house.path / ".nbdignore").write_text("[z-a]\n*.bak\n")
    (house.path / "a.bak").write_text("x")
    status = await house.steward.flush(house.home, Request())
    assert await house.names() == {".nbdignore", "a", "a.tmp"}
    assert "of your .nbdignore is left out: line 1 is not understood: '[z-a]'" in status.sentence


@pytest.mark.parametrize(("odd", "words"), [("link", "it is no plain file"), ("large", "it is larger than 64 KiB")])
async def test_own_rules_that_are_not_heeded_are_said(house: House, odd: str, words: str) -> None:
    rules = house.path / ".nbdignore"
    (house.path / "a.tmp").write_text("x")
    (house.path / "dotfiles").write_text("*.tmp\n")
    if odd == "link":
        rules.symlink_to("dotfiles")
    else:
        rules.write_text("*.tmp\n" * 20_000)
    status = await house.steward.flush(house.home, Request())
    assert words in status.sentence
    assert "a.tmp" in await house.names()
    rules.unlink()
    rules.write_text("*.tmp\n")
    assert ".nbdignore" not in (await house.steward.flush(house.home, Request())).sentence
    assert "a.tmp" not in await house.names()
