"""What people are told of their homes beyond their state, on real folders: sizes, losses, old texts, the states of a path."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nbd.errors import NotFound, Refused
from nbd.homes.insight import Insight
from nbd.homes.model import HomeRequest
from nbd.homes.ports import SizedHome
from nbd.homes.sizes.room import Policy, Space
from nbd.homes.sizes.surveyor import Surveyor, Tools
from nbd.homes.sizes.usage import Here
from nbd.homes.snapshots.snapshotter import Request, Snapshotter
from nbd.homes.vault import Vault
from nbd.host.homesizes import DescriptorSizes, space
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from nbd.messages import UsageView
from tests.fakes.object_store import MemoryStore

from .world import KEYS, World, opened

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SECOND = 1_000_000_000


@dataclass
class Watched:
    """The real weighing; a test can hold it up, and counts how often a home was opened."""

    opened: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    disk: Space | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    async def space(self, path: str, owner: int | None) -> Space:
        return self.disk or await DescriptorSizes().space(path, owner)

    async def open(self, path: str, owner: int | None) -> SizedHome:
        self.opened += 1
        await self.gate.wait()
        return await DescriptorSizes().open(path, owner)


@dataclass
class House:
    folder: Path
    sizes: Watched = field(default_factory=Watched)
    policy: Policy = field(default_factory=Policy)
    now: int = 1_800_000_000 * SECOND

    def __post_init__(self) -> None:
        self.path = self.folder / "home"
        self.path.mkdir()
        self.home = HomeRequest("ada", os.geteuid(), str(self.path))
        store = MemoryStore()
        self.vault = Vault("memory", lambda _: store, KEYS, SequenceFile(self.folder / "seen.json"))
        self.set(self.policy)

    def set(self, policy: Policy) -> None:
        self.surveyor = Surveyor(Tools(self.sizes, DescriptorHomes(), IgnoreRules, policy, lambda: self.now, 3600.0))
        self.insight = Insight(self.vault, DescriptorHomes(), self.surveyor, "0.02 USD/GB-month")

    def write(self, name: str | bytes, data: bytes | str = b"x") -> None:
        path = self.path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    async def snap(self, event: str = "save", name: str = "") -> str:
        repository = await self.vault.open("ada")
        async with opened(self.path) as home:
            report = await Snapshotter(repository, IgnoreRules(), time.time_ns).take(home, Request(event, name))
        await self.vault.note("ada", repository)
        return report.listed.id

    async def weighed(self) -> UsageView:
        view = await self.insight.usage(self.home)
        end = time.monotonic() + 10
        while view.measuring:
            assert time.monotonic() < end
            await asyncio.sleep(0.005)
            view = await self.insight.usage(self.home)
        return view


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# sizes


async def test_a_home_is_weighed_as_du_does(house: House) -> None:
    for number in range(60):
        house.write(f"work/d{number % 7}/f{number}", bytes(number * KIB))
    house.write(".cache/huggingface/model", bytes(3 * MIB))
    with open(house.path / "sparse", "wb") as sparse:
        sparse.truncate(GIB)
    os.link(house.path / "work/d1/f57", house.path / "again")
    (house.path / "link").symlink_to("/etc")
    view = await house.weighed()
    du = subprocess.run(["du", "-s", "--block-size=1", str(house.path)], capture_output=True, check=True, text=True, timeout=30).stdout.split()[0]
    assert view.bytes == int(du)
    assert view.bytes < GIB
    assert view.files == 60 + 1 + 1 + 1
    assert (view.excluded[0].path, view.excluded[0].rule) == (".cache/huggingface", "/.cache/")
    assert view.excluded_bytes >= 3 * MIB
    assert view.culprits[0].command == f"rm -rf -- {house.path}/.cache/huggingface"
    assert view.room is not None
    assert view.room.used == view.bytes


async def test_what_is_asked_again_soon_is_not_weighed_again(house: House) -> None:
    await house.weighed()
    await house.weighed()
    assert house.sizes.opened == 1
    house.now += 200 * SECOND
    house.write("more", bytes(MIB))
    assert (await house.insight.usage(house.home)).measuring, "the old one is told while the new one is made"
    assert (await house.weighed()).bytes >= MIB
    assert house.sizes.opened == 2


async def test_homes_in_use_are_weighed_now_and_then_one_at_a_time(house: House) -> None:
    house.surveyor.in_use([house.home])
    await asyncio.sleep(0.01)
    assert house.sizes.opened == 0, "without a quota nobody wants to know"
    house.set(Policy(quota=GIB))
    house.sizes.gate.clear()
    other = HomeRequest("bob", os.geteuid(), str(house.folder))
    for _ in range(5):
        house.surveyor.in_use([house.home, other])
        await asyncio.sleep(0.01)
    assert house.sizes.opened == 1
    house.sizes.gate.set()
    await house.weighed()
    house.now += 1800 * SECOND
    house.surveyor.in_use([house.home])
    await asyncio.sleep(0.05)
    assert house.sizes.opened == 2, "within the hour only the other one was"
    await house.surveyor.close()


async def test_a_home_that_is_not_there_is_said(house: House) -> None:
    house.path.rename(house.folder / "away")
    view = await house.weighed()
    assert "cannot be opened" in view.trouble
    assert (view.measured, view.room) == (None, None)


async def test_wrong_rules_are_left_out(house: House) -> None:
    house.write(".nbdignore", "[z-a]\n")
    house.write("a.tmp")
    assert (await house.weighed()).excluded == ()
    house.write(".nbdignore", "*.tmp\n")
    house.now += 200 * SECOND
    await house.insight.usage(house.home)
    assert [(one.path, one.rule) for one in (await house.weighed()).excluded] == [(".", "*.tmp")]


async def test_a_folder_of_its_disk_has_no_quota_of_its_own(house: House) -> None:
    found = space(house.path, os.geteuid())
    assert not found.own
    assert 0 < found.free <= found.total
    link = house.folder / "link"
    link.symlink_to(house.path)
    with pytest.raises(Refused):
        space(link, os.geteuid())


def test_what_is_anothers_is_not_looked_into(house: House) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    house.write("theirs/secret-name")
    os.chown(house.path / "theirs", 65001, 65001)

    async def looked() -> list[Here]:
        held = await DescriptorSizes().open(str(house.path), os.geteuid())
        try:
            return await held.visit([b"", b"theirs", b"nothing", b"../home"])
        finally:
            await held.close()

    top, *others = asyncio.run(looked())
    assert top.folders == [b"theirs"]
    assert others == [Here(seen=False)] * 3


async def test_a_restore_knows_how_much_there_is(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for name in ("a/b/c", "a/d", "e"):
        (world.home / name).parent.mkdir(parents=True, exist_ok=True)
        (world.home / name).write_text("x")
    os.link(world.home / "e", world.home / "f")
    report = await world.snap()
    for path, count in ((b"", 6), (b"a", 4), (b"e", 1), (b"a/b", 2)):
        progress = await world.restore(report, tmp_path / f"to-{count}", path)
        assert progress.of_entries == count
        assert count <= progress.entries + progress.already <= count + path.count(b"/")


# a quota


async def test_a_home_above_its_quota_takes_no_new_start_until_there_is_room(house: House) -> None:
    house.set(Policy(quota=MIB))
    house.write(".cache/pip/wheel", bytes(2 * MIB))
    await house.surveyor.admit(house.home)  # Not weighed yet: nothing is known, and nothing refused.
    await house.weighed()
    house.now += SECOND
    with pytest.raises(Refused) as said:
        await house.surveyor.admit(house.home)
    assert said.value.code == "home_over_quota"
    assert "of the 1.0 MiB that it may take" in said.value.message
    assert "pip cache purge (2.0 MiB)" in said.value.hint
    assert "the largest: .cache 2.0 MiB" in said.value.hint
    (house.path / ".cache/pip/wheel").unlink()
    await house.surveyor.admit(house.home)  # At once: it is weighed anew before anybody is refused.


@pytest.mark.parametrize("policy", [Policy(MIB, {"ada": 0}), Policy(MIB, {"ada": GIB}), Policy(MIB, refuse=False), Policy()])
async def test_who_has_no_such_quota_starts(house: House, policy: Policy) -> None:
    house.set(policy)
    house.write("big", bytes(2 * MIB))
    await house.weighed()
    house.now += SECOND
    await house.surveyor.admit(house.home)


async def test_a_full_disk_names_what_takes_the_room(house: House) -> None:
    house.sizes.disk = Space(0, GIB)
    house.write(".local/share/Trash/files/old", bytes(5 * MIB))
    room, verdict = await house.surveyor.room(house.home)
    assert (room.used, house.surveyor.hint(house.home, verdict)) == (None, "what takes the room: nbctl home usage")
    await asyncio.sleep(0.05)
    assert house.sizes.opened == 1, "it is weighed without being asked"
    view = await house.weighed()
    assert view.room is not None
    assert (view.room.level, view.room.kind) == ("over", "disk")
    assert f"rm -rf -- {house.path}/.local/share/Trash/* (5.0 MiB)" in view.room.hint
    await house.surveyor.admit(house.home)


# what is kept


async def test_what_the_store_holds(house: House) -> None:
    view = await house.weighed()
    assert (view.snapshots, view.stored) == (0, 0)
    house.write("paper", os.urandom(MIB))
    await house.snap()
    view = await house.weighed()
    assert view.snapshots == 1
    assert view.stored is not None
    assert MIB < view.stored < 1.1 * MIB
    assert view.cost == "less than 0.01 USD a month"


async def test_what_a_confirmation_lets_go_of(house: House) -> None:
    with pytest.raises(NotFound):
        await house.insight.losses(house.home)
    for name in ("keep", "gone", "folder/a", "folder/b/c", "old name", b"\xff\n"):
        house.write(name)
    await house.snap()
    assert (await house.insight.losses(house.home)).gone == ()
    for name in ("gone", "folder/a", "folder/b/c", os.fsdecode(b"\xff\n")):
        (house.path / name).unlink()
    (house.path / "folder/b").rmdir()
    (house.path / "folder").rmdir()
    (house.path / "old name").rename(house.path / "new name")
    house.write("other")
    view = await house.insight.losses(house.home)
    assert [(one.path, one.kind, one.entries) for one in view.gone] == [("folder", "folder", 4), ("gone", "file", 1), ("\\xff\n", "file", 1)]
    assert (view.entries, view.whole) == (6, True)


async def test_an_old_text(house: House) -> None:
    house.write("work/paper", "first\n")
    first = await house.snap()
    house.write("work/paper", "second\n")
    house.write("work/binary", b"\0\1")
    house.write("work/latin", "café".encode("latin-1"))
    house.write("work/long", "é" * MIB)
    house.write(b"work/\xff", "odd name")
    await house.snap()
    assert (await house.insight.text(house.home, first, "work/paper")).text == "first\n"
    assert (await house.insight.text(house.home, "latest", "work/paper")).text == "second\n"
    for name in ("binary", "latin"):
        view = await house.insight.text(house.home, "latest", f"work/{name}")
        assert (view.text, view.why_not) == ("", "it is no text")
    long = await house.insight.text(house.home, "latest", "work/long")
    assert (len(long.text), long.cut, long.size) == (MIB // 2, True, 2 * MIB)
    assert (await house.insight.text(house.home, "latest", "work/\udcff")).text == "odd name"
    assert (await house.insight.text(house.home, "latest", "work")).why_not == "it is no file"
    for path in ("work/paper/paper", "nothing", "work/\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")):
        with pytest.raises(NotFound):
            await house.insight.text(house.home, "latest", path)


async def test_the_states_that_a_path_had(house: House) -> None:
    ids = []
    for text in ("a", "a", None, "b"):
        if text is None:
            (house.path / "paper").unlink()
        else:
            house.write("paper", text)
        house.write("other", os.urandom(4))
        ids.append(await house.snap())
    (house.path / "paper").unlink()
    ids.append(await house.snap())
    found = await house.insight.versions(house.home, "paper")
    assert [(one.kind, one.first.id, one.snapshot.id) for one in found] == [
        ("", ids[4], ids[4]), ("file", ids[3], ids[3]), ("", ids[2], ids[2]), ("file", ids[0], ids[1]),
    ]  # fmt: skip
    assert await house.insight.versions(house.home, "never") == []


# a project quota


@pytest.fixture
def quota_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 that keeps project quotas."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", str(image)], check=True, timeout=60)
    mounted = subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(folder)], capture_output=True, text=True, timeout=60, check=False)
    if mounted.returncode:
        pytest.skip("this kernel has no project quotas (CONFIG_QFMT_V2)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=60)


@pytest.mark.real
def test_a_project_quota_is_seen(quota_disk: Path) -> None:
    home = quota_disk / "ada"
    home.mkdir()
    subprocess.run(["chattr", "-p", "42", "+P", str(home)], check=True, timeout=60)
    subprocess.run(["setquota", "-P", "42", "0", "8192", "0", "0", str(quota_disk)], check=True, timeout=60)
    (home / "file").write_bytes(bytes(2 * MIB))
    os.sync()
    found = space(home, os.geteuid())
    assert found.own
    assert found.total == 8 * MIB
    assert 5 * MIB <= found.free <= 6 * MIB

