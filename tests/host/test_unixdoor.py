"""Whatever a person puts in the place of their editor's socket, nobody is led to what is not theirs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nbd import unixdoor
from nbd.errors import Deadline, Unreachable
from nbd.host.editor import UnixEditor
from nbd.unixdoor import Place
from tests.fakes.editor import raw_editor, saying
from tests.fakes.squatter import squatting

ME, SOMEBODY_ELSE = os.getuid(), 65534
OK = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Box:
    """`mine` is the folder of a notebook of mine; `theirs` is where somebody else's sockets are. Both answer."""

    def __init__(self, folder: Path) -> None:
        self.mine, self.theirs = folder / "mine", folder / "theirs"
        self.mine.mkdir()
        self.theirs.mkdir()
        self.name, self.other = self.mine / "editor.sock", self.theirs / "editor.sock"
        self.place = Place(str(self.name), ME)


@pytest.fixture
async def box(short_path: Path) -> AsyncIterator[Box]:
    box = Box(short_path)
    async with raw_editor(box.other, OK), raw_editor(box.mine / "own.sock", OK):
        yield box


def link(box: Box) -> None:
    box.name.symlink_to(box.other)


def link_beside(box: Box) -> None:
    box.name.symlink_to("own.sock")


def pipe(box: Box) -> None:
    os.mkfifo(box.name)


def folder(box: Box) -> None:
    box.name.mkdir()


def file(box: Box) -> None:
    box.name.write_text("not a socket")


@pytest.mark.parametrize("put", [link, link_beside, pipe, folder, file])
async def test_what_is_no_socket_of_mine_is_not_entered(box: Box, put: Callable[[Box], None]) -> None:
    put(box)
    with pytest.raises(Unreachable) as refused:
        await unixdoor.connect(box.place)
    assert refused.value.code == "not_the_editor"
    with pytest.raises(Deadline):
        await UnixEditor().wait_ready(box.place, "/api", 0.1)


async def test_a_folder_that_is_a_link_is_not_entered(box: Box) -> None:
    elsewhere = box.mine.with_name("link")
    elsewhere.symlink_to(box.theirs)
    with pytest.raises(NotADirectoryError):
        await unixdoor.connect(Place(str(elsewhere / "editor.sock"), ME))


async def test_my_own_listener_is_mine_to_offer(box: Box) -> None:
    for name in ("own.sock", "again.sock"):
        with await unixdoor.connect(Place(str(box.mine / name), ME)) as connected:
            assert connected.getpeername() == str(box.mine / "own.sock")
        (box.mine / "again.sock").unlink(missing_ok=True)
        (box.mine / "again.sock").hardlink_to(box.mine / "own.sock")
    await UnixEditor().wait_ready(Place(str(box.mine / "own.sock"), ME), "/api", 5)


async def test_a_socket_that_is_anothers_is_not_entered_by_any_name(box: Box) -> None:
    """As a hard link leads to it: the file itself, in my folder."""
    box.name.hardlink_to(box.other)
    with pytest.raises(Unreachable) as refused:
        await unixdoor.connect(Place(str(box.name), SOMEBODY_ELSE))
    assert refused.value.code == "not_the_editor"


async def test_a_path_may_be_longer_than_a_sockets_name(box: Box) -> None:
    deep = box.mine / ("d" * 120)
    deep.mkdir()
    (box.mine / "own.sock").rename(deep / "editor.sock")
    with await unixdoor.connect(Place(str(deep / "editor.sock"), ME)) as connected:
        assert connected.getpeername()


async def test_what_was_looked_at_is_what_is_connected_to(box: Box) -> None:
    """The race: the name leads elsewhere by the time of the call. What is held does not change with its name."""
    (box.mine / "own.sock").rename(box.name)
    held = unixdoor.held(str(box.name))
    try:
        box.name.unlink()
        link(box)
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(f"/proc/self/fd/{held}")
            assert door.getpeername() == str(box.mine / "own.sock")
    finally:
        os.close(held)


async def test_nobody_there_is_said_as_by_the_system(box: Box) -> None:
    with pytest.raises(FileNotFoundError):
        await unixdoor.connect(box.place)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(box.name))
        with pytest.raises(ConnectionRefusedError):
            await unixdoor.connect(box.place)


async def test_a_full_listener_is_waited_for_without_holding_anybody_up(box: Box) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(box.name))
        busy.listen(0)
        first = await unixdoor.connect(box.place)
        waiting = asyncio.create_task(unixdoor.connect(box.place))
        done, _ = await asyncio.wait((waiting,), timeout=0.1)
        assert not done
        busy.accept()[0].close()
        async with asyncio.timeout(10):
            (await waiting).close()
        first.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_open_by_a_refusal(box: Box) -> None:
    link(box)
    before = descriptors()
    for _ in range(50):
        with pytest.raises(Unreachable):
            await unixdoor.connect(box.place)
        with pytest.raises(OSError, match="gone"):
            await unixdoor.connect(Place(str(box.mine / "gone"), ME))
    assert descriptors() == before


@pytest.mark.real
async def test_a_listener_of_another_uid_is_not_entered(box: Box) -> None:
    """Even where the file has come to be the owner's: whoever called listen() counts."""
    box.mine.chmod(0o777)
    async with squatting(box.name, SOMEBODY_ELSE):
        for owner in (SOMEBODY_ELSE, ME):
            os.chown(box.name, owner, -1)
            with pytest.raises(Unreachable) as refused:
                await unixdoor.connect(box.place)
            assert refused.value.code == "not_the_editor"
        os.chown(box.name, SOMEBODY_ELSE, -1)
        (await unixdoor.connect(Place(str(box.name), SOMEBODY_ELSE))).close()
