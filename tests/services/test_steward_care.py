"""What is kept is looked after: dropped by the rules, read and compared, also beside somebody who saves all the time; what was found stays said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Conflict, NotFound, Refused, Unreachable
from nbd.homes.keeping.caretaker import Care, Caretaker
from nbd.homes.keeping.duties import Rhythm
from nbd.homes.snapshots.retention import DAY, HOUR, Policy
from nbd.homes.snapshots.snapshotter import Request

from .boxes import Box

LITTLE = Policy(recent=0, hourly=1, daily=0, weekly=0, monthly=0)
RHYTHM = Rhythm(3600.0, 30 * 86400.0, 86400.0)


class CaredFor(Box):
    """A box whose clock can be set."""

    ahead = 0

    def build(self) -> None:
        super().build()
        self.caretaker = self.cared(LITTLE)

    def cared(self, policy: Policy, rhythm: Rhythm = RHYTHM) -> Caretaker:
        return Caretaker(self.means, self.notes, self.keeper, Care(policy, rhythm), self.steward.calm)

    def wall(self) -> int:
        return super().wall() + self.ahead

    async def saved(self, *texts: str, name: str = "") -> None:
        for text in texts:
            (self.path / "paper").write_text(text)
            await self.steward.flush(self.home, Request("stop" if name else "save", name))


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[CaredFor]:
    box = CaredFor(tmp_path / "box")
    yield box
    await box.steward.close()


async def test_a_dry_run_tells_all_and_changes_nothing(box: CaredFor) -> None:
    await box.saved("a", "b", name="")
    await box.saved("c", name="main run 1")
    await box.saved("d", "e")
    before = dict(box.store.objects)
    view = await box.caretaker.prune("ada", dry_run=True)
    assert [one.reasons for one in view.snapshots] == [("the newest", "hourly"), (), ("named main run 1",), (), ()]
    assert (view.done, view.deleted) == (False, 0)
    assert view.freed_bytes > 0
    assert box.store.objects == before


async def test_what_is_dropped_is_gone_from_the_list_and_a_day_later_from_the_store(box: CaredFor) -> None:
    await box.saved(*(os.urandom(5000).hex() for _ in range(5)))
    view = await box.caretaker.prune("ada", dry_run=False)
    assert sum(not one.reasons for one in view.snapshots) == 4
    assert len(await box.steward.snapshots(box.home)) == 1
    size = sum(map(len, box.store.objects.values()))
    box.ahead = 25 * HOUR
    await box.saved("later")
    again = await box.caretaker.prune("ada", dry_run=False)
    assert again.deleted > 0
    assert sum(map(len, box.store.objects.values())) < size
    assert (await box.caretaker.verify("ada")).good


async def test_nothing_to_drop_writes_nothing(box: CaredFor) -> None:
    await box.saved("a")
    await box.caretaker.prune("ada", dry_run=False)
    before = dict(box.store.objects)
    await box.caretaker.prune("ada", dry_run=False)
    assert box.store.objects == before
    assert (await box.caretaker.prune("nobody", dry_run=False)).snapshots == ()
    assert (await box.caretaker.verify("nobody")).good


async def test_beside_somebody_who_saves_all_the_time_both_go_on(box: CaredFor) -> None:
    await box.saved(*map(str, range(20)))
    over = False

    async def save() -> int:
        number = 0
        while not over:
            number += 1
            await box.saved(f"again {number}")
        return number

    saving = asyncio.create_task(save())
    for _ in range(3):
        assert (await box.caretaker.prune("ada", dry_run=False)).done
    over = True
    last = await saving
    assert last
    assert (await box.caretaker.verify("ada")).good
    assert len(await box.steward.snapshots(box.home)) < 20 + last


async def test_a_look_of_hours_is_not_pruned_away(box: CaredFor) -> None:
    await box.saved("a", "b", "c")
    async with box.steward.calm("ada"):  # As a look holds it.
        with pytest.raises(Conflict, match="so much is being saved"):
            await box.caretaker.prune("ada", dry_run=False)
        assert (await box.caretaker.prune("ada", dry_run=True)).snapshots
    assert (await box.caretaker.prune("ada", dry_run=False)).done


async def test_a_prune_that_lost_twice_keeps_saves_away_for_a_moment(box: CaredFor) -> None:
    await box.saved("a", "b")
    other = Box(box.folder.with_name("other"), box.store)

    async def save() -> None:
        (other.path / "paper").write_text(os.urandom(9).hex())
        await other.steward.flush(other.home, Request(confirmed=True))

    box.store.meddlers = [save, save]
    assert (await box.caretaker.prune("ada", dry_run=False)).done
    await box.saved("x", "y")
    box.store.meddlers = [save, save, save]
    with pytest.raises(Conflict, match="again and again"):
        await box.caretaker.prune("ada", dry_run=False)
    async with box.steward.calm("ada"):
        saving = asyncio.create_task(box.saved("c"))
        await asyncio.sleep(0.05)
        assert not saving.done()
    await saving
    await other.steward.close()


async def test_one_thing_at_a_time_with_what_is_kept(box: CaredFor) -> None:
    await box.saved("a")
    found = await asyncio.gather(*(box.caretaker.verify("ada") for _ in range(3)), return_exceptions=True)
    assert [type(one).__name__ for one in found] == ["VerifyView", "Conflict", "Conflict"]
    assert (await box.caretaker.verify("ada")).snapshots == 1
    pruning = asyncio.create_task(box.caretaker.prune("ada", dry_run=False))
    await asyncio.sleep(0)
    with pytest.raises(Conflict):
        await box.caretaker.verify("ada")
    await pruning


async def test_a_named_one_goes_only_by_its_name(box: CaredFor) -> None:
    await box.saved("a", name="main run 1")
    await box.saved("b")
    newest, named = await box.steward.snapshots(box.home)
    box.ahead = 900 * DAY
    await box.caretaker.prune("ada", dry_run=False)
    assert len(await box.steward.snapshots(box.home)) == 2
    with pytest.raises(Refused) as said:
        await box.caretaker.forget("ada", newest.id)
    assert said.value.code == "newest"
    with pytest.raises(NotFound):
        await box.caretaker.forget("ada", "ffff")
    with pytest.raises(NotFound):
        await box.caretaker.forget("eve", named.id)
    assert await box.caretaker.forget("ada", named.id[:9]) == named
    assert [one.id for one in await box.steward.snapshots(box.home)] == [newest.id]
    await box.saved("c")
    assert (await box.caretaker.verify("ada")).good


async def test_what_is_due_is_done_by_itself_and_goes_on_after_a_failure(box: CaredFor) -> None:
    await box.saved("a", "b", "c")
    await box.caretaker.tick()
    assert len(await box.steward.snapshots(box.home)) == 3
    box.ahead = HOUR
    box.store.trouble = Unreachable("the store is away")
    await box.caretaker.tick()
    box.store.trouble = None
    await box.caretaker.tick()
    assert len(await box.steward.snapshots(box.home)) == 3, "not at once again"
    box.ahead += HOUR // 12
    await box.caretaker.tick()
    assert len(await box.steward.snapshots(box.home)) == 1
    note = await box.notes.read("ada")
    assert note.pruned
    assert not note.proven
    await box.killed()
    box.ahead = 31 * DAY
    await box.caretaker.tick()
    assert (await box.notes.read("ada")).proven


async def test_a_drill_that_finds_damage_is_followed_by_the_whole_and_both_stay_said_until_all_is_well(box: CaredFor) -> None:
    for number in range(3):
        (box.path / f"f{number}").write_bytes(os.urandom(100_000))
    await box.saved("a")
    key = max((key for key in box.store.objects if key.startswith("data/")), key=lambda key: len(box.store.objects[key]))
    whole = box.store.objects[key]
    await box.caretaker.tick()
    box.store.objects[key] = whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]
    for _ in range(20):
        box.ahead += DAY
        await box.caretaker.tick()
        if (await box.notes.read("ada")).damages:
            break
    await box.caretaker.tick()
    note = await box.notes.read("ada")
    assert note.proven
    assert any("cannot be restored" in one for one in note.damages)
    (alarm,) = (await box.steward.status(box.home)).alarms
    assert "nbctl home verify" in alarm
    box.store.objects[key] = whole
    box.ahead += DAY
    await box.caretaker.tick()
    assert (await box.notes.read("ada")).damages, "a part that is good proves nothing of the rest"
    assert (await box.caretaker.verify("ada")).good
    assert (await box.steward.status(box.home)).alarms == ()


async def test_a_clock_that_cannot_be_right_drops_nothing(box: CaredFor) -> None:
    box.ahead = 400 * DAY
    await box.saved("a", "b")
    box.ahead = 0
    with pytest.raises(Refused) as said:
        await box.caretaker.prune("ada", dry_run=False)
    assert said.value.code == "clock"


async def test_another_boxs_snapshot_that_is_told_of_gets_its_name_when_the_store_is_there(box: CaredFor) -> None:
    await box.saved("a")
    (theirs,) = await box.steward.snapshots(box.home)
    await box.notes.change("ada", parted=theirs.id, told=theirs.id)
    box.store.trouble = Unreachable("the store is away")
    await box.caretaker.tick()
    assert not (await box.notes.read("ada")).held
    box.store.trouble = None
    await box.caretaker.tick()
    assert [one.name for one in await box.steward.snapshots(box.home)] == [f"of {box.means.vault.box}"]
    calls = len(box.store.calls)
    await box.caretaker.tick()
    assert len(box.store.calls) == calls, "it is done once"
