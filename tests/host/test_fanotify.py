"""The one queue of events: core makes, marks and hands it over; sync reads it without any right but to read; whoever else is turned away."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.api.server import listening_socket
from nbd.errors import HostUnfit, Unreachable
from nbd.homes.keeping.dirt import DirtySet
from nbd.homes.keeping.lookout import Lookout
from nbd.homes.model import HomeRequest
from nbd.host import fanotify
from nbd.host.eventgroup import EventGroup, reason
from nbd.host.fanevents import FanotifySource
from nbd.host.groupdoor import GroupDoor
from tests.contracts.change_sources import World, fanotify_source
from tests.homes.test_events import sysctl
from tests.services.guarded import until

ME = os.geteuid()


def home_at(path: Path, person: str = "ada") -> HomeRequest:
    path.mkdir(parents=True, exist_ok=True)
    return HomeRequest(person, ME, str(path))


def test_events_are_read_as_the_kernel_writes_them() -> None:
    handle = fanotify.HANDLE.pack(8, 1) + bytes(range(8))
    info = fanotify.INFO.pack(3, 0, 12 + len(handle), 77, 8, 1) + bytes(range(8))
    one = fanotify.HEAD.pack(fanotify.HEAD.size + len(info), 3, 0, fanotify.HEAD.size, fanotify.MODIFY, -1, 1) + info
    overflow = fanotify.HEAD.pack(fanotify.HEAD.size, 3, 0, fanotify.HEAD.size, fanotify.OVERFLOW, -1, 0)
    assert list(fanotify.events(one + overflow + one)) == [
        (fanotify.MODIFY, 77, handle), (fanotify.OVERFLOW, 0, b""), (fanotify.MODIFY, 77, handle),
    ]  # fmt: skip
    with pytest.raises(OSError, match="another version"):
        list(fanotify.events(fanotify.HEAD.pack(fanotify.HEAD.size, 4, 0, fanotify.HEAD.size, 0, -1, 0)))


def test_why_not_is_said_in_words() -> None:
    assert "btrfs" in reason(OSError(errno.EXDEV, "Invalid cross-device link"))
    assert reason(OSError(errno.EIO, "Input/output error")) == "Input/output error"


async def test_without_a_group_sync_says_why(tmp_path: Path) -> None:
    home, source = home_at(tmp_path / "home"), FanotifySource()
    dirt = DirtySet(time.monotonic, lambda: None)
    for said, expected in ((("", {"ada": "it is btrfs"}), "it is btrfs"), (("", {}), "core offers none")):
        source.said(*said)
        with pytest.raises(HostUnfit) as refused:
            await source.watch(home, dirt, lambda _: False)
        assert (refused.value.code, refused.value.message) == ("no_events", expected)


@pytest.mark.real
async def test_a_group_of_another_core_is_for_nobody_new(tmp_path: Path, short_path: Path) -> None:
    """Which disks it was told to watch is not known."""
    home = home_at(tmp_path / "home")
    async with fanotify_source(short_path, home) as source:
        source.said("another", {})
        with pytest.raises(HostUnfit, match="has not handed over"):
            await source.watch(home, DirtySet(time.monotonic, lambda: None), lambda _: False)


async def test_switched_off_and_refused_homes_are_said(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    offer = await EventGroup(tmp_path / "none", wanted=False).offer([home])
    assert (offer.group, offer.refused) == ("", {"ada": "switched off by homes.events"})


@pytest.mark.real
async def test_a_home_that_is_not_there_is_refused_and_the_others_are_marked(tmp_path: Path) -> None:
    group = EventGroup(tmp_path / "none")
    try:
        offer = await group.offer([home_at(tmp_path / "home"), HomeRequest("eve", ME, str(tmp_path / "no"))])
        assert offer.group
        assert list(offer.refused) == ["eve"]
        with pytest.raises(Unreachable):
            await group.hand_over()
    finally:
        group.close()


OFFERING = """
import asyncio, os, sys
from pathlib import Path
from nbd.homes.model import HomeRequest
from nbd.host.eventgroup import EventGroup
offer = asyncio.run(EventGroup(Path("/none")).offer([HomeRequest("nobody", os.getuid(), sys.argv[1])]))
print(offer.refused["nobody"])
"""


@pytest.mark.real
def test_a_core_without_the_right_says_so(short_path: Path) -> None:
    """As in a container that may not: sync watches by inotify then, and the person is told why."""
    home = short_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    argv = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", OFFERING, str(home)]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=Path(__file__).resolve().parents[2], check=False)
    assert said.stdout == "it needs root's rights on the host (CAP_SYS_ADMIN)\n", said.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.real
async def test_only_disks_with_homes_in_use_are_marked(tmp_path: Path, short_path: Path, small_disk: Path) -> None:
    """And nothing keeps a disk from being unmounted (small_disk does, while all goes on)."""
    mine, other = home_at(tmp_path / "mine"), home_at(small_disk / "home", "eve")
    group = EventGroup(short_path / "none")
    try:
        await group.offer([mine, other])
        assert len(marks_of(group)) == 2
        await group.offer([other])
        assert len(marks_of(group)) == 1
        await group.offer([])
        assert marks_of(group) == []
    finally:
        group.close()


def marks_of(group: EventGroup) -> list[str]:
    text = Path(f"/proc/self/fdinfo/{group._group}").read_text()
    return [line for line in text.splitlines() if line.startswith("fanotify sdev")]


@pytest.mark.real
async def test_homes_of_one_disk_hear_of_their_own_changes(tmp_path: Path, short_path: Path) -> None:
    homes = [home_at(tmp_path / name, name) for name in ("ada", "adam", "eve")]
    async with fanotify_source(short_path, *homes) as source:
        worlds = [World(Path(home.path), source) for home in homes]
        for world, home in zip(worlds, homes, strict=True):
            world.lookout = Lookout(home, [source], world.dirt)
            await world.watched()
        (tmp_path / "adam/sub").mkdir()
        (tmp_path / "adam/sub/x").write_text("x")
        assert [await world.told() for world in worlds] == [frozenset(), {b"", b"sub"}, frozenset()]
        await worlds[1].lookout.down()
        (tmp_path / "adam/sub/x").write_text("y")
        (tmp_path / "eve/x").write_text("y")
        assert await worlds[2].told() == frozenset([b""])
        assert worlds[1].dirt.take() is None


@pytest.mark.real
async def test_another_group_is_taken_when_core_was_restarted(tmp_path: Path, short_path: Path) -> None:
    home = home_at(tmp_path / "home")
    async with fanotify_source(short_path, home) as source:
        world = World(tmp_path / "home", source)
        await world.watched()
        first = source.group
        again = EventGroup(short_path / "events.sock")
        try:
            offer = await again.offer([home])
            source.said(offer.group, offer.refused)
            await again.hand_over()
            assert source.group == offer.group != first
            assert not world.lookout.settled()
            assert await world.told() is None
            await world.watched()
            (tmp_path / "home/x").write_text("x")
            assert await world.told() == frozenset([b""])
            await world.lookout.down()
        finally:
            again.close()


@pytest.mark.real
async def test_the_queue_overflows_and_everything_is_marked(tmp_path: Path, short_path: Path) -> None:
    with sysctl("fs/fanotify/max_queued_events", 16):
        async with fanotify_source(short_path, home_at(tmp_path / "home")) as source:
            world = World(tmp_path / "home", source)
            await world.watched()
            for number in range(3000):
                (tmp_path / f"home/d{number}").mkdir()
                (tmp_path / f"home/d{number}/f").write_text("x")
            assert await world.told() is None
            (tmp_path / "home/d7/f").write_text("y")
            assert await world.told() == frozenset([b"d7"])


@pytest.mark.real
async def test_a_folder_too_deep_to_be_named_marks_everything(tmp_path: Path, short_path: Path) -> None:
    async with fanotify_source(short_path, home_at(tmp_path / "home")) as source:
        world = World(tmp_path / "home", source)
        here = os.open(tmp_path / "home", os.O_RDONLY)
        for _ in range(25):
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        await world.watched()
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        assert await world.told() is None


@pytest.mark.real
async def test_a_home_on_a_disk_that_others_may_change_is_not_watched_so(tmp_path: Path, short_path: Path) -> None:
    lower, upper, work, home = (tmp_path / name for name in ("lower", "upper", "work", "home"))
    for folder in (lower, upper, work, home):
        folder.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(home)], check=True)
    try:
        async with fanotify_source(short_path, home_at(home)) as source:
            with pytest.raises(HostUnfit) as refused:
                await source.watch(home_at(home), DirtySet(time.monotonic, lambda: None), lambda _: False)
            assert refused.value.code == "no_events"
    finally:
        subprocess.run(["umount", str(home)], check=True)


READER = """
import asyncio, os, sys, time
from pathlib import Path
from nbd.host import privileges
privileges.settle("nobody", [])
from nbd.api.server import listening_socket
from nbd.homes.keeping.dirt import DirtySet
from nbd.homes.model import HomeRequest
from nbd.host.fanevents import FanotifySource
from nbd.host.groupdoor import GroupDoor
async def main():
    source, dirt = FanotifySource(), DirtySet(time.monotonic, lambda: None)
    source.said("offered", {})
    door = GroupDoor(source.take)
    door.listen(listening_socket(Path(sys.argv[1]), None, 0o600))
    print("listening", os.geteuid(), flush=True)
    while not source.group:
        await asyncio.sleep(0.01)
    source.said(source.group, {})
    watch = await source.watch(HomeRequest("ada", int(sys.argv[3]), sys.argv[2]), dirt, lambda _: False)
    print("watching", flush=True)
    while not (found := dirt.take()) or b"secret/deep" not in found.folders:
        await asyncio.sleep(0.01)
    print("told", flush=True)
    await watch.close()
    await door.close()
    await source.close()
asyncio.run(main())
"""


@pytest.mark.real
async def test_sync_as_an_account_of_its_own_reads_it(short_path: Path) -> None:
    """nobody, with the right to read and no other, is told of changes in folders that are closed to it."""
    run = short_path / "run"
    run.mkdir()
    os.chown(run, 65534, 65534)
    home = home_at(short_path / "home")
    (short_path / "home/secret/deep").mkdir(parents=True)
    for folder in ("home/secret/deep", "home/secret", "home"):
        (short_path / folder).chmod(0o700)
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, str(run / "events.sock"), home.path, str(ME),
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert reader.stdout
    group = EventGroup(run / "events.sock")
    try:
        async with asyncio.timeout(30):
            assert await reader.stdout.readline() == b"listening 65534\n"
            await group.offer([home])
            await group.hand_over()
            assert await reader.stdout.readline() == b"watching\n"
            (short_path / "home/secret/deep/x").write_text("x")
            assert await reader.stdout.readline() == b"told\n"
            assert await reader.wait() == 0
    finally:
        group.close()
        if reader.returncode is None:
            reader.kill()
            await reader.wait()


async def test_only_core_may_hand_something_over(short_path: Path) -> None:
    """Whoever else connects is turned away, whatever comes instead of a group harms nobody, and the next is served."""
    taken: list[str] = []

    async def take(name: str, descriptor: int) -> None:
        os.close(descriptor)
        taken.append(name)

    door = GroupDoor(take)
    path = short_path / "events.sock"
    door.listen(listening_socket(path, None, 0o666))
    try:
        if ME == 0:
            argv = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", OFFER, str(path)]
            stranger = await asyncio.create_subprocess_exec(*argv)
            assert await stranger.wait() == 0
        for message in (b"", b"words without anything\n"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.send(message)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            socket.send_fds(connection, [b"mine"], [0])
            await until(lambda: has(taken))
        assert taken == ["mine"]
    finally:
        await door.close()


OFFER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    try:
        socket.send_fds(connection, [b"stranger"], [0])
        assert connection.recv(1) == b""
    except (BrokenPipeError, ConnectionResetError):
        pass
"""


async def has(taken: list[str]) -> bool:
    return bool(taken)
