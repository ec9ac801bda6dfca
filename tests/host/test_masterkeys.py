"""The master key: made once and said loudly, never made anew over homes under the old one, replaced so that a crash at any point loses nothing."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from nbd.config import HomeSettings
from nbd.errors import HostUnfit, Refused, Unreachable
from nbd.homes.ports import ObjectStore
from nbd.homes.snapshots.rotation import Rotation
from nbd.homes.vault import Vault
from nbd.host.masterkeys import KeyFile, KeyShelf, key_file, name_of
from nbd.host.sequences import SequenceFile
from nbd.host.vaults import open_vault
from tests.fakes.object_store import MemoryStore


def shelf_in(folder: Path, *, used: bool = False) -> KeyShelf:
    return KeyShelf(key_file(None, folder), used=used)


def test_it_is_made_once_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = shelf_in(tmp_path), shelf_in(tmp_path, used=True)
    key = tmp_path / "master.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    told = caplog.text
    assert str(key) in told
    assert "LOSES EVERY SNAPSHOT" in told
    assert one.facts().name in told
    assert key.read_text().strip() not in told
    assert one.facts() == other.facts()


def test_no_new_one_where_homes_are_under_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(HostUnfit, match="is gone") as said:
        shelf_in(tmp_path, used=True)
    assert "install -m 0600" in said.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "mended"), [(0o640, True), (0o604, True), (0o600, False), (0o400, False)])
def test_others_may_not_read_it(tmp_path: Path, mode: int, mended: bool) -> None:  # noqa: FBT001
    shelf_in(tmp_path)
    key = tmp_path / "master.key"
    key.chmod(mode)
    if not mended:
        shelf_in(tmp_path)
        return
    with pytest.raises(HostUnfit) as said:
        shelf_in(tmp_path)
    assert said.value.hint == f"chmod 0600 {key}"


def test_systemd_hands_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = tmp_path / "credentials"
    handed.mkdir()
    (handed / "nbd.master-key").write_text("ab" * 32 + "\n")
    (handed / "nbd.master-key").chmod(0o440)  # What systemd gives a service of an ordinary account looks like this, and is nobody else's.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    shelf = shelf_in(tmp_path)
    assert shelf.facts().name == name_of(bytes.fromhex("ab" * 32))
    assert not (tmp_path / "master.key").exists()
    (tmp_path / "other").write_text("cd" * 32)
    (tmp_path / "other").chmod(0o600)
    assert KeyShelf(key_file(str(tmp_path / "other"), tmp_path), used=True).facts().name == name_of(bytes.fromhex("cd" * 32))


@pytest.mark.parametrize("text", ["", "ab" * 31, "no", "ab" * 33, "\xff"])
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "master.key"
    file.touch(mode=0o600)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(HostUnfit):
        shelf_in(tmp_path)


class Box:
    """Some people's homes under a master key in a folder."""

    def __init__(self, folder: Path, stores: Mapping[str, ObjectStore]) -> None:
        self.folder, self.stores = folder, stores
        self.come_up()

    def come_up(self) -> None:
        seen = SequenceFile(self.folder / "seen.json")
        self.shelf = KeyShelf(key_file(None, self.folder), used=seen.used)
        self.vault = Vault("memory", lambda person: self.stores[person], self.shelf.keys, seen)
        self.rotation = Rotation(self.vault, self.shelf, self.seen)

    async def seen(self) -> list[str]:
        return [*self.stores]

    async def all_open(self) -> bool:
        return all([await self.vault.find(person) is not None for person in ("ada", "eve")])


class Failing(MemoryStore):
    """Dies at the call of this number."""

    left = 1 << 30

    async def _called(self, what: str, key: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unreachable("the store is away", code="store_away")
        await super()._called(what, key)


@pytest.fixture
async def box(tmp_path: Path) -> Box:
    made = Box(tmp_path, {"ada": MemoryStore(), "eve": Failing(), "nobody yet": MemoryStore()})
    for person in ("ada", "eve"):
        await made.vault.open(person)
    return made


async def test_rotation(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    old = box.shelf.facts().name
    found = await box.rotation.rotate()
    assert (found.homes, found.failed) == (2, ())
    assert box.shelf.facts().name != old
    assert not box.shelf.facts().rotating
    assert "PUT" in caplog.text.upper()
    assert await box.all_open()
    assert not box.stores["nobody yet"].objects, "a rotation makes no home"  # type: ignore[attr-defined]
    box.come_up()
    assert await box.all_open()
    assert sorted(path.name for path in box.folder.iterdir()) == ["master.key", "master.key.retired", "seen.json"]
    for name in ("master.key", "master.key.retired"):
        assert stat.S_IMODE((box.folder / name).stat().st_mode) == 0o600
    assert name_of(bytes.fromhex((box.folder / "master.key.retired").read_text())) == old


@pytest.mark.parametrize("calls", range(9))
async def test_a_rotation_that_is_cut_is_ended_by_another(box: Box, calls: int) -> None:
    """Of any number of the store's answers; and as after a kill, sync comes up on what is on the disk."""
    store = box.stores["eve"]
    assert isinstance(store, Failing)
    store.left = calls
    found = await box.rotation.rotate()
    store.left = 1 << 30
    new = box.shelf.facts()
    assert new.rotating == bool(found.failed)
    assert await box.all_open()
    box.come_up()
    assert box.shelf.facts() == new
    assert await box.all_open()
    again = await box.rotation.rotate() if found.failed else found
    assert (again.homes, again.failed, box.shelf.facts().rotating) == (2, (), False)
    assert box.shelf.facts().name == new.name, "one rotation makes one key"
    box.come_up()
    assert await box.all_open()


async def test_a_kill_between_the_files(box: Box) -> None:
    """The former key is there and the new one is not: nothing has begun. The other way round cannot be."""
    key = box.folder / "master.key"
    (box.folder / "master.key.former").write_bytes(key.read_bytes())
    (box.folder / "master.key.former").chmod(0o600)
    (box.folder / "master.key.new").write_text("half a k")
    box.come_up()
    assert not box.shelf.facts().rotating
    assert await box.all_open()
    assert (await box.rotation.rotate()).failed == ()
    box.come_up()
    assert await box.all_open()


async def test_an_admins_own_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "own.key"
    path.write_text("ab" * 32)
    path.chmod(0o600)
    with pytest.raises(Refused, match="not nbd's to replace") as said:
        await KeyShelf(KeyFile(path, ours=False), used=True).begin()
    assert "own.key.former" in said.value.hint
    path.rename(tmp_path / "own.key.former")
    path.write_text("cd" * 32)
    path.chmod(0o600)
    shelf = KeyShelf(KeyFile(path, ours=False), used=True)
    assert shelf.facts().rotating
    await shelf.begin()
    await shelf.finish()
    assert sorted(os.listdir(tmp_path)) == ["own.key", "own.key.former"]  # noqa: PTH208


async def test_who_is_in_the_store_and_not_known_here_is_not_forgotten(tmp_path: Path) -> None:
    first = open_vault(HomeSettings(), tmp_path)
    await first.vault.open("ada")
    (tmp_path / "seen.json").unlink()
    again = open_vault(HomeSettings(), tmp_path)
    assert (await again.rotation.rotate()).homes == 1
    assert (await open_vault(HomeSettings(), tmp_path).vault.find("ada")) is not None
