"""A restore through sync's socket and a real child: everything comes back, as the person, and whoever holds the child's end gains nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nbd import wire
from nbd.api.server import listening_socket
from nbd.errors import Damaged, NbdError, NotFound, Unreachable
from nbd.homes.attached.carrier import Means as AttachedMeans
from nbd.homes.attached.service import AttachedData
from nbd.homes.keeper import Keeper
from nbd.homes.keeping.guardian import Means
from nbd.homes.model import HomeRequest
from nbd.homes.snapshots.snapshotter import Request
from nbd.homes.steward import Steward
from nbd.homes.vault import Vault
from nbd.homes.wishes import RestoreWish
from nbd.host import frames, restorestart
from nbd.host.attachedhall import AttachedHall
from nbd.host.attachedshelf import ShelfFolder
from nbd.host.folderstore import FolderStore
from nbd.host.homefolder import DescriptorFolders
from nbd.host.homenotes import NoteFiles
from nbd.host.hometree import DescriptorHomes
from nbd.host.ignores import IgnoreRules
from nbd.host.remotetarget import RemoteTarget
from nbd.host.restore_child import worked_out
from nbd.host.restoredoor import RestoreDoor
from nbd.host.sequences import SequenceFile
from nbd.host.syncclient import SyncHomes
from nbd.messages import RestoreRequest, RestoreView
from nbd.notebooks.model import Occupant
from tests.homes.test_repository import fill
from tests.homes.world import KEYS, look

SOMEBODY = 65011


class House:
    def __init__(self, folder: Path, uid: int) -> None:
        self.home, self.folder = folder / "home", folder
        self.home.mkdir()
        self.who = Occupant("root" if uid == os.geteuid() else "nobody", uid, uid, str(self.home))
        self.request = HomeRequest(self.who.name, uid, str(self.home))
        vault = Vault("store", lambda _: FolderStore(folder / "store"), KEYS, SequenceFile(folder / "seen.json"))
        means = Means(vault, DescriptorHomes(), IgnoreRules, time.time_ns, 60.0)
        self.steward = Steward(means, Keeper(means, NoteFiles(folder / "notes"), DescriptorFolders()))
        data = AttachedData(AttachedMeans(ShelfFolder(folder / "attached"), means.homes, DescriptorFolders(), time.time_ns, "box", 60.0, 1 << 30))
        self.door = RestoreDoor(self.steward, AttachedHall(data))
        self.socket = folder / "restore.sock"
        self.sync = SyncHomes(folder / "none.sock", self.socket)

    async def kept(self) -> None:
        for path in (self.home, *self.home.rglob("*")):
            os.lchown(path, self.who.uid, self.who.uid)
        await self.steward.flush(self.request, Request("stop", "main"))

    async def restore(self, path: str, to: Path) -> RestoreView:
        return [step async for step in self.sync.restore(self.who, RestoreRequest(path), str(to))][-1]


@pytest.fixture
async def house(short_path: Path) -> AsyncIterator[House]:
    house = House(short_path, SOMEBODY if os.geteuid() == 0 else os.geteuid())
    short_path.chmod(0o755)
    await house.door.listen(listening_socket(house.socket, None, 0o600))
    yield house
    await house.door.close()
    await house.steward.close()


async def test_everything_comes_back_as_theirs(house: House) -> None:
    fill(house.home)
    (house.home / "many").mkdir()
    for number in range(1200):
        (house.home / f"many/f{number}").write_text(str(number))
    await house.kept()
    before = look(house.home)
    done = await house.restore("", house.home / "back")
    assert (done.done, done.skipped, done.damaged, done.to) == (True, (), (), str(house.home / "back"))
    assert look(house.home / "back") == before
    again = await house.restore("", house.home / "back")
    assert again.already > 1200
    assert again.bytes == 0
    part = await house.restore("a/b", house.home / "part")
    assert set(look(house.home / "part")) == {b".", b"a", b"a/b", b"a/b/c", b"a/b/c/deep"}
    assert (done.snapshot.event, part.snapshot.event) == ("stop", "restore"), "what stood in the way of the second was kept first"


@pytest.mark.real
async def test_it_writes_only_what_the_person_may(house: House) -> None:
    (house.home / "paper").write_text("hers")
    await house.kept()
    with pytest.raises(NbdError) as said:
        await house.restore("paper", Path("/etc/nbd-test"))
    assert said.value.code == "no_target"
    closed = house.folder / "closed"
    closed.mkdir(mode=0o755)
    done = await house.restore("paper", closed)
    assert [one.reason for one in done.skipped] == ["Permission denied"]
    assert list(closed.iterdir()) == []


@pytest.mark.real
async def test_the_child_has_no_right_but_theirs(house: House) -> None:
    await house.kept()
    ours, theirs = socket.socketpair()
    child = await restorestart.start(house.who, str(house.home / "x"), theirs)
    theirs.close()
    try:
        await asyncio.to_thread(ours.recv, 8)  # It is up and has said so.
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(SOMEBODY)}
        assert {status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Umask"]) == ("1", "0077")
        held = {os.readlink(f"/proc/{child.pid}/fd/{number}").split(":")[0] for number in os.listdir(f"/proc/{child.pid}/fd")}  # noqa: PTH115, PTH208
        assert held <= {"socket", "pipe", "/dev/null", "anon_inode", str(house.home / "x")}
    finally:
        ours.close()
    assert await child.wait() == 0


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0" * 8, b"\xff" * 64, struct.pack(">II", 9, 0) + b"not json!", struct.pack(">II", 2, 0) + b"[]", struct.pack(">II", 2, 0) + b"{}",
     struct.pack(">II", 16, 0) + b'{"troubles": 12}', b"POST /v1/homes/status HTTP/1.1\r\n\r\n"],
)  # fmt: skip
async def test_who_holds_the_childs_end_can_say_nothing_else(house: House, answer: bytes) -> None:
    (house.home / "paper").write_text("hers")
    await house.kept()
    connection = await house.sync.connected(RestoreWish(house.request, RestoreRequest("paper"), "/x"))
    reader, writer = await asyncio.open_connection(sock=connection)
    ready = b"{}"
    writer.write(struct.pack(">II", len(ready), 0) + ready + answer * 5)
    writer.write_eof()
    async with asyncio.timeout(5):
        said = await reader.read()
    writer.close()
    assert b"HTTP" not in said
    assert house.steward is not None


async def test_what_a_link_leads_to_in_the_home_is_saved_first(house: House) -> None:
    (house.home / "work").mkdir()
    paper = house.home / "work/paper"
    paper.write_text("hers")
    await house.kept()
    outside = house.folder / "outside"
    outside.mkdir()
    os.chown(outside, house.who.uid, house.who.uid)
    (house.folder / "link").symlink_to(house.home)

    async def befores() -> int:
        return sum(one.event == "restore" for one in await house.steward.snapshots(house.request))

    await house.restore("work/paper", house.home / "restored-now")
    await house.restore("work/paper", outside)
    await house.restore("work/paper", house.folder / "link" / "new")
    assert await befores() == 0, "nothing of the home was replaced"
    paper.write_text("newer")
    await house.restore("work/paper", house.folder / "link" / "work")
    assert await befores() == 1
    paper.write_text("newest")
    (house.folder / "above").symlink_to(house.folder)
    await house.restore("work/paper", house.folder / "above/home")
    assert (paper.read_text(), await befores()) == ("newer", 2)


async def test_what_came_to_nothing_leaves_no_folder(house: House) -> None:
    (house.home / "paper").write_text("hers")
    (house.home / "mine").mkdir()
    await house.kept()
    for to in ("restored-now", "deep/er/still", "mine", "mine/below"):
        with pytest.raises(NbdError, match="no snapshot has other"):
            await house.restore("other", house.home / to)
    assert {path.name for path in house.home.rglob("*")} == {"paper", "mine"}
    assert (await house.restore("paper", house.home / "deep/er")).entries == 1
    assert [path.name for path in (house.home / "deep").rglob("*")] == ["er", "paper"]


async def test_a_sync_that_goes_away_before_anything_came_leaves_no_folder(house: House) -> None:
    await house.kept()
    to, (ours, theirs) = house.home / "restored-now", socket.socketpair()
    child = await restorestart.start(house.who, str(to), theirs)
    theirs.close()
    await asyncio.to_thread(ours.recv, 8)
    assert to.is_dir()
    ours.close()
    await child.wait()
    assert not to.exists()


async def test_a_child_that_ends_and_a_sync_that_is_not_there_are_said(house: House) -> None:
    (house.home / "paper").write_text("hers")
    await house.kept()
    with pytest.raises(NotFound, match="no snapshot has other"):
        await house.restore("other", house.home / "x")
    await house.door.close()
    house.socket.unlink()
    with pytest.raises(Unreachable):
        await house.restore("paper", house.home / "x")
    assert wire.decode(RestoreWish, wire.encode(RestoreWish(house.request, RestoreRequest("a"), "/b"))).to == "/b"


class Talk:
    """Two ends of a stream: sync's, and what plays the child."""

    async def begin(self) -> Talk:
        ours, theirs = socket.socketpair()
        self.target_streams = await asyncio.open_connection(sock=ours)
        self.reader, self.writer = await asyncio.open_connection(sock=theirs)
        return self

    async def close(self) -> None:
        for writer in (self.target_streams[1], self.writer):
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    made = await Talk().begin()
    yield made
    await made.close()


async def test_a_child_at_work_may_take_long_and_one_that_says_nothing_is_given_up(talk: Talk) -> None:
    target = RemoteTarget(*talk.target_streams, silence=2.0)
    asked = asyncio.create_task(target.standing([(b"", b"a")]))
    assert await frames.receive(talk.reader) is not None
    for _ in range(12):
        await asyncio.sleep(0.2)
        await frames.send(talk.writer, {"busy": True})
    await frames.send(talk.writer, {"standing": [None]})
    assert await asked == [None]
    with pytest.raises(Unreachable):
        await target.flush()
    await frames.send(talk.writer, {})  # Too late: it would be taken for the answer to what is asked next.
    with pytest.raises(Unreachable):
        await target.standing([(b"", b"a")])


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"[]"])
async def test_what_is_no_message_is_damage(talk: Talk, text: bytes) -> None:
    talk.writer.write(struct.pack(">II", len(text), 0) + text)
    with pytest.raises(Damaged):
        await frames.receive(talk.target_streams[0])


async def test_who_is_at_work_says_so(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    done = asyncio.Event()

    async def answer() -> dict[str, Any]:
        await done.wait()
        return {"standing": []}

    reader, writer = talk.target_streams
    working = asyncio.create_task(worked_out(talk.writer, answer(), beat=0.01))
    for _ in range(3):
        assert await frames.receive(reader) == ({"busy": True}, b"")
    done.set()
    assert await working == {"standing": []}
    assert capsys.readouterr().out.startswith("\n\n")
    assert not writer.is_closing()


async def test_a_child_that_is_stopped_is_given_up(house: House) -> None:
    await house.kept()
    ours, theirs = socket.socketpair()
    child = await restorestart.start(house.who, str(house.home / "x"), theirs)
    theirs.close()
    try:
        await asyncio.to_thread(ours.recv, 8)
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(Unreachable, match="says nothing any more"):
            await restorestart.next_line(child, silence=0.2)
    finally:
        child.kill()
        ours.close()
        await child.wait()
