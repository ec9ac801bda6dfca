"""Sync's shelf of attachments and keys, core's folders, and the child that writes them: nobody gets more than is theirs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nbd import wire
from nbd.api.attacheddesk import AttachedDesk
from nbd.api.server import Server, listening_socket
from nbd.attachments import BringView
from nbd.errors import HostUnfit, InvalidInput, NbdError, Refused, Unreachable
from nbd.homes.attached.carrier import Means
from nbd.homes.attached.model import Attachment, Known, id_of
from nbd.homes.attached.ports import Objects
from nbd.homes.attached.service import AttachedData
from nbd.homes.attached.url import Place, parsed
from nbd.homes.attached.wishes import BringWish
from nbd.host import restorestart
from nbd.host.attachedclient import SyncAttachments, made, owner
from nbd.host.attachedhall import AttachedHall
from nbd.host.attachedledger import LedgerFile
from nbd.host.attachedshelf import ShelfFolder
from nbd.host.homefolder import DescriptorFolders
from nbd.host.hometree import DescriptorHomes
from nbd.host.restoredoor import RestoreDoor
from nbd.host.syncclient import SyncHomes
from nbd.notebooks.attach import Ground
from nbd.notebooks.model import Occupant
from nbd.syncer import only_core
from tests.fakes.plain_objects import MemoryObjects
from tests.homes.attached_world import OneShelf

SOMEBODY = 65011 if os.geteuid() == 0 else os.geteuid()
URL = "s3://lab-data/x"
LINE = Known("a", "a", "v", 1, 2, 3, 4, "d")


def attachment(folder: Path, *, person: str = "nobody", uid: int = SOMEBODY, url: str = URL, secrets: str = "", own: bool = True) -> Attachment:
    found = id_of(person, uid, url, secrets, writable=True)
    return Attachment(found, person, uid, uid, str(folder / found), url, writable=True, own=own, secrets=secrets)


# The shelf


async def test_what_is_kept_is_there_again_and_what_is_dropped_is_gone(tmp_path: Path) -> None:
    shelf, one = ShelfFolder(tmp_path / "shelf"), attachment(tmp_path)
    await shelf.keep(one)
    await (await shelf.ledger(one.id)).note([LINE])
    again = ShelfFolder(tmp_path / "shelf")
    assert list(again.all()) == [one]
    assert (await again.ledger(one.id)).known == {"a": LINE}
    (tmp_path / "shelf/odd.json").write_text("{")
    assert list(ShelfFolder(tmp_path / "shelf").all()) == [one]
    await again.drop(one.id)
    assert list(ShelfFolder(tmp_path / "shelf").all()) == []
    with pytest.raises(InvalidInput):
        await again.ledger("../../etc/x")


async def test_keys_are_one_persons_for_one_bucket_and_closed_to_all_others(tmp_path: Path) -> None:
    shelf = ShelfFolder(tmp_path / "shelf", "http://127.0.0.1:9")
    await shelf.entrust("ada", URL, {"access_key_id": "AK", "secret_access_key": "very-secret"})
    (file,) = (tmp_path / "shelf/keys").iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), json.loads(file.read_text())["secret_access_key"]) == (0o600, "very-secret")
    mine = shelf._persons(attachment(tmp_path, person="ada"), _place())
    assert (mine.options["secret_access_key"], mine.options["endpoint"]) == ("very-secret", "http://127.0.0.1:9")
    assert "very-secret" not in repr(mine)
    for other in (attachment(tmp_path, person="eve"), attachment(tmp_path, person="ada", url=f"{URL}/deeper")):
        found = shelf._persons(other, _place())
        assert found.options["skip_signature"] == "true"
        assert "secret_access_key" not in found.options
    with pytest.raises(Refused):
        await shelf.entrust("ada", URL, {"endpoint": "http://169.254.169.254"})
    await shelf.entrust("ada", URL, {})
    assert not list((tmp_path / "shelf/keys").iterdir())


def _place() -> Place:
    return parsed(URL)


async def test_a_person_never_signs_with_what_the_box_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-boxs")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-boxs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = ShelfFolder(tmp_path / "shelf")._persons(attachment(tmp_path), _place())
    assert dict(found.options) == {"skip_signature": "true", "region": "us-east-1"}
    ShelfFolder(tmp_path / "shelf").objects(attachment(tmp_path))
    assert "AWS_ACCESS_KEY_ID" not in os.environ


async def test_an_admins_secrets_are_a_file_that_nobody_else_may_read(tmp_path: Path) -> None:
    secrets, shelf = tmp_path / "lab.toml", ShelfFolder(tmp_path / "shelf")
    one = attachment(tmp_path, own=False, secrets=str(secrets))
    with pytest.raises(HostUnfit, match=r"lab\.toml cannot be read"):
        shelf.objects(one)
    secrets.write_text('access_key_id = "AK"\nsecret_access_key = "very-secret"\nregion = "us-east-1"\n')
    secrets.chmod(0o644)
    with pytest.raises(HostUnfit, match="others may read") as said:
        shelf.objects(one)
    assert said.value.hint == f"chmod 0600 {secrets}"
    secrets.chmod(0o600)
    shelf.objects(one)
    secrets.write_text('access_key_id = "AK"\n')
    with pytest.raises(InvalidInput, match="lacks the credentials"):
        shelf.objects(one)
    with pytest.raises(InvalidInput, match="whose container"):
        shelf.objects(attachment(tmp_path, url="az://container/x"))


# The ledger


async def test_lines_add_up_and_are_written_anew_when_most_are_old(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    ledger = LedgerFile(path)
    for number in range(600):
        await ledger.note([LINE._replace(path=name, version=str(number)) for name in ("a", "b\n", "ü")])
    await ledger.note([], ["a"])
    assert path.read_bytes().count(b"\n") < 1200
    again = LedgerFile(path)
    assert again.known == ledger.known == {name: LINE._replace(path=name, version="599") for name in ("b\n", "ü")}


@pytest.mark.parametrize("junk", [b"\xff\x00", b'00000000 ["x"]\n', b"\n", b'deadbeef ["a",', b"[" * 9000 + b"\n"])
async def test_what_is_no_line_is_passed_over_and_nothing_is_joined_to_it(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "x.ledger"
    await LedgerFile(path).note([LINE])
    with path.open("ab") as file:
        file.write(junk)
    ledger = LedgerFile(path)
    await ledger.note([LINE._replace(path="b")])
    assert set(LedgerFile(path).known) == {"a", "b"}


async def test_a_ledger_that_cannot_be_written_is_said_and_goes_on_when_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    ledger = LedgerFile(folder / "x.ledger")
    await ledger.note([LINE])
    folder.rename(tmp_path / "away")
    with pytest.raises(HostUnfit):
        await ledger.note([LINE._replace(path="b")])
    assert set(ledger.known) == {"a"}
    (tmp_path / "away").rename(folder)
    await ledger.note([LINE._replace(path="b")])
    assert set(LedgerFile(folder / "x.ledger").known) == {"a", "b"}


# Core's folders, and the child


def test_a_folder_is_its_owners_and_the_way_to_it_closed(tmp_path: Path) -> None:
    one = attachment(tmp_path / "attached/people/nobody")
    os.close(made(one))
    os.close(made(one))
    status = Path(one.folder).stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (SOMEBODY, 0o700)
    assert [stat.S_IMODE((tmp_path / above).stat().st_mode) for above in ("attached", "attached/people", "attached/people/nobody")] == [0o711] * 3
    shared = attachment(tmp_path / "attached/shared/x", person="")
    os.close(made(shared))
    assert stat.S_IMODE(Path(shared.folder).stat().st_mode) == 0o755


def test_a_link_or_another_owners_folder_in_its_place_is_not_taken(tmp_path: Path) -> None:
    one = attachment(tmp_path / "a/people/nobody", uid=SOMEBODY)
    Path(one.folder).parent.mkdir(parents=True)
    Path(one.folder).symlink_to("/etc")
    with pytest.raises(HostUnfit):
        made(one)
    Path(one.folder).unlink()
    Path(one.folder).mkdir()
    os.close(made(one))  # Empty: a kill came between making it and giving it away.
    if os.geteuid() == 0:
        (Path(one.folder) / "a").touch()
        os.chown(one.folder, 0, 0)
        with pytest.raises(HostUnfit, match="not its owner's"):
            made(one)


class Box:
    """Sync's sockets, and core's line to them; the bucket is in memory."""

    def __init__(self, root: Path, bucket: Objects) -> None:
        self.root = root
        shelf = OneShelf(root / "sync", bucket)
        self.data = AttachedData(Means(shelf, DescriptorHomes(), DescriptorFolders(), time.time_ns, "box", 0.05, 1 << 30))
        steward: Any = None  # Nothing is restored here.
        self.door = RestoreDoor(steward, AttachedHall(self.data))
        self.server = Server(AttachedDesk(self.data).routes(), only_core)
        ground = Ground(str(root / "closed"), Occupant("nobody", SOMEBODY, SOMEBODY, "/"))
        self.client = SyncAttachments(SyncHomes(root / "sync.sock", root / "restore.sock", None), ground)

    async def listen(self) -> None:
        await self.door.listen(listening_socket(self.root / "restore.sock", None, 0o600))
        await self.server.listen(listening_socket(self.root / "sync.sock", None, 0o600))

    async def close(self) -> None:
        await self.server.close()
        await self.door.close()
        await self.data.close()

    async def bring(self, one: Attachment) -> list[BringView]:
        said: list[BringView] = []
        await self.client.bring(one, said.append)
        return said


@pytest.fixture
async def memory() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
async def box(short_path: Path, memory: MemoryObjects) -> AsyncIterator[Box]:
    box = Box(short_path, memory)
    await box.listen()
    yield box
    await box.close()


async def test_a_folder_comes_through_the_sockets_and_is_its_owners(box: Box, memory: MemoryObjects, short_path: Path) -> None:
    (short_path / "closed").mkdir(mode=0o700)
    one = attachment(short_path / "closed/people/nobody")
    memory.set("a", b"one")
    memory.set("d/large", b"x" * (9 << 20))
    said = await box.bring(one)
    assert said[-1].done
    assert (said[-1].files, said[-1].bytes) == (2, 3 + (9 << 20))
    files = [Path(one.folder), *Path(one.folder).rglob("*")]
    assert {path.stat().st_uid for path in files} == {SOMEBODY}
    assert (Path(one.folder) / "d/large").read_bytes() == memory.objects["d/large"]
    # Nothing to bring needs no child at all.
    assert await box.bring(one) == []
    (Path(one.folder) / "new").write_bytes(b"mine")
    os.chown(Path(one.folder) / "new", SOMEBODY, SOMEBODY)
    await box.client.use([one.id])
    await box.client.flush([one.id])
    assert memory.objects["new"] == b"mine"
    (view,) = await box.client.views("nobody", [])
    assert (view.used, view.files, view.sentence) == (True, 3, "in step")
    await box.client.use([])
    await box.client.forget("nobody", one.id)
    assert not Path(one.folder).exists()


async def test_trouble_comes_through_as_it_is(box: Box, memory: MemoryObjects, short_path: Path) -> None:
    one = attachment(short_path / "people/nobody")
    memory.trouble = HostUnfit("the store denies access", code="store_denied", hint="look at the keys")
    with pytest.raises(NbdError) as said:
        await box.bring(one)
    assert (said.value.code, said.value.hint, said.value.retryable) == ("store_denied", "look at the keys", False)
    memory.trouble = Unreachable("the store is away", code="store_away")
    with pytest.raises(Unreachable):
        await box.bring(one)
    await box.close()
    with pytest.raises(Unreachable):
        await box.bring(one)


@pytest.mark.real
async def test_the_child_has_no_right_but_its_owners(short_path: Path) -> None:
    one = attachment(short_path / "people/nobody")
    folder, (ours, theirs) = made(one), socket.socketpair()
    child = await restorestart.start_in(owner(one), folder, theirs)
    theirs.close()
    os.close(folder)
    try:
        await asyncio.to_thread(ours.recv, 8)  # It is up and has said so.
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(SOMEBODY)}
        assert {status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        held = {os.readlink(f"/proc/{child.pid}/fd/{number}").split(":")[0] for number in os.listdir(f"/proc/{child.pid}/fd")}  # noqa: PTH115, PTH208
        assert held <= {"socket", "pipe", "/dev/null", "anon_inode", one.folder}
    finally:
        ours.close()
    assert await child.wait() == 0


@pytest.mark.parametrize("said", [b"", b"\0" * 8, b"\xff" * 64, b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_who_holds_the_childs_end_can_say_nothing_else(box: Box, memory: MemoryObjects, short_path: Path, said: bytes) -> None:
    one = attachment(short_path / "people/nobody")
    os.close(made(one))
    memory.set("a", b"one")
    reader, writer = await asyncio.open_connection(sock=await box.client._sync.connected(BringWish(one)))
    writer.write(b"\0\0\0\2\0\0\0\0{}" + said * 9)
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    assert not list(Path(one.folder).iterdir())
    assert wire.decode(BringWish, wire.encode(BringWish(one))).attachment == one
    assert (await box.bring(one))[-1].done
