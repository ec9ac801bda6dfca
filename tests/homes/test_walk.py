"""What a look costs: names that are as they were are not read, folders that were moved are not read, and what stat cannot vouch for is."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from nbd.errors import Damaged
from nbd.homes.model import Entry, Flag, Kind, Seen
from nbd.homes.ports import LargeFile, OpenHome, Reading
from nbd.homes.snapshots.encoding import HEAD, encode_part, heads
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.snapshotter import Request, Snapshotter, home_entry
from nbd.homes.snapshots.verifier import verify
from nbd.homes.snapshots.walk import entries_of
from nbd.host.hometree import head_of
from nbd.host.ignores import IgnoreRules
from tests.fakes.object_store import MemoryStore

from .world import KEYS, World, look, opened


class Reads:
    """A home that notes what is read of it."""

    def __init__(self, home: OpenHome) -> None:
        self._home = home
        self.look, self.sift, self.close = home.look, home.sift, home.close
        self.names: list[bytes] = []

    async def read(self, folder: bytes, wanted: Sequence[Seen]) -> list[Reading]:
        self.names += [seen.name for seen in wanted]
        return await self._home.read(folder, wanted)

    async def open_large(self, folder: bytes, wanted: Seen) -> LargeFile | Reading:
        self.names.append(wanted.name)
        return await self._home.open_large(folder, wanted)


async def reads(world: World, *dirty: bytes) -> set[bytes]:
    async with opened(world.home) as home:
        noted = Reads(home)
        request = Request(dirty=frozenset(dirty) if dirty else None)
        report = await Snapshotter(world.repository, IgnoreRules(), lambda: 0).take(noted, request)
    target = world.home.parent / "back"
    await world.restore(report, target)
    assert look(target) == look(world.home)
    shutil.rmtree(target)
    return set(noted.names)


def many(home: Path) -> None:
    for folder in ("a/one", "a/two/deep", "b", "c"):
        (home / folder).mkdir(parents=True)
        for name in ("x", "y", "z"):
            (home / folder / name).write_text(f"{folder} {name}")


async def test_only_what_differs_is_read(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    many(world.home)
    assert await reads(world) == {b"x", b"y", b"z"}
    assert await reads(world) == set()
    (world.home / "a/two/deep/y").write_text("new")
    (world.home / "c/new").write_text("new")
    (world.home / "b/x").unlink()
    assert await reads(world) == {b"y", b"new"}
    os.link(world.home / "b/y", world.home / "b/twin")
    (world.home / "b/z").chmod(0o600)
    assert await reads(world) == {b"y", b"z", b"twin"}


@pytest.mark.parametrize(("source", "target"), [("a/two", "a/renamed"), ("a/two", "c/two"), ("c", "a/one/c"), ("a/two/deep", "deep")])
@pytest.mark.parametrize("where", ["everywhere", "dirty"])
async def test_a_moved_folder_is_not_read(tmp_path: Path, source: str, target: str, where: str) -> None:
    world = await World.make(tmp_path)
    many(world.home)
    await reads(world)
    (world.home / source).rename(world.home / target)
    dirty = [os.fsencode(path.rpartition("/")[0]) for path in (source, target)] if where == "dirty" else []
    assert await reads(world, *dirty) == set()


async def test_a_new_folder_in_an_old_ones_place_is_read(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    many(world.home)
    await reads(world)
    (world.home / "b").rename(world.home / "a/one/b")
    (world.home / "b").mkdir()
    (world.home / "b/x").write_text("another")
    assert await reads(world) == {b"x"}
    (world.home / "c/x").unlink()
    (world.home / "c/x").mkdir()
    (world.home / "c/x/y").write_text("in a folder that was a file")
    assert await reads(world) == {b"y"}


def entry(name: bytes, kind: Kind = Kind.FILE, flags: int = 0, payload: bytes = b"D") -> Entry:
    return Entry(name, kind, flags, 0o644, 1, 2, 3, -5_000_000_001, 7, 8, payload, ((b"user.a", b"1"),))


def test_what_stat_can_vouch_for() -> None:
    flagged = [entry(name, flags=flag) for name, flag in ((b"c", Flag.STALE), (b"d", Flag.UNSETTLED), (b"e", Flag.LINKED))]
    entries = [entry(b"a"), entry(b"b", Kind.FOLDER), *flagged]
    vouched, others = heads([encode_part(entries[:2]), encode_part(entries[2:])])
    assert vouched.keys() == {b"a", b"e"}
    assert others == {one.name: one for one in entries[1:4]}
    assert HEAD.unpack(vouched[b"e"]) == (Kind.FILE, Flag.LINKED, 0o644, 1, 2, 3, -6, 999_999_999, 0, 7, 8)
    for cut in (1, 70):
        with pytest.raises(Damaged):
            heads([encode_part(entries)[:-cut]])


def test_stat_is_packed_as_an_entry_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    os.utime(tmp_path / "x", ns=(1, -5_000_000_001))
    status = (tmp_path / "x").stat()
    facts = (status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    stored = Entry(b"x", Kind.FILE, 0, status.st_mode & 0o7777, *facts, b"D")
    assert heads([encode_part([stored])])[0] == {b"x": head_of(status)}


async def test_one_change_in_a_large_folder_rewrites_one_part(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    for number in range(3000):
        (world.home / f"f{number}").write_text(str(number))
    first = await world.snap()
    size = sum(map(len, store.objects.values()))
    for change in ("new", "changed", "gone"):
        path = world.home / ("f1500" if change != "new" else "f1500x")
        path.unlink() if change == "gone" else path.write_text(change)
        report = await world.snap(b"")
        assert report.snapshot.entries == first.snapshot.entries + (change != "gone")
        grown = sum(map(len, store.objects.values())) - size
        size += grown
        assert grown < 80_000, change
    target = tmp_path / "back"
    await world.restore(report, target)
    assert look(target) == look(world.home)
    independent = await Repository.open(store, KEYS)
    top = await home_entry(independent, report.snapshot)
    assert top
    entries = await entries_of(independent, top.payload)
    assert [entry.name for entry in entries] == sorted(path.name.encode() for path in world.home.iterdir())


async def test_changes_inside_a_large_file_are_cut_as_a_new_file_would_be(tmp_path: Path) -> None:
    """Whatever is changed, put in between, cut off or appended: what comes back is the file, and what is stored anew is little."""
    world, chance = await World.make(tmp_path, store := MemoryStore()), random.Random(4)
    content = bytearray(chance.randbytes(24 << 20))
    path = world.home / "large"
    path.write_bytes(content)
    await world.snap()
    for edit in ("change", "insert", "remove", "append", "truncate", "start", "end"):
        at = {"start": 0, "end": len(content) - 5}.get(edit, chance.randrange(len(content)))
        if edit in ("change", "start", "end"):
            content[at : at + 5] = chance.randbytes(5)
        elif edit == "insert":
            content[at:at] = chance.randbytes(3000)
        elif edit == "remove":
            del content[at : at + 3000]
        elif edit == "append":
            content += chance.randbytes(3 << 20)
        else:
            del content[-(5 << 20) :]
        path.write_bytes(content)
        before = sum(map(len, store.objects.values()))
        report = await world.snap()
        grown = sum(map(len, store.objects.values())) - before
        assert grown < (6 << 20 if edit == "append" else 3 << 20), edit
        await world.restore(report, tmp_path / edit)
        assert (tmp_path / edit / "large").read_bytes() == content
    assert (await verify(store, KEYS)).good
