"""The folders of notebooks: exactly the right owner and mode, and gone whatever the person put inside."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.host.folders import SOCKET_PATH_LIMIT, RunFolders
from nbd.notebooks.model import Occupant

ID = "nabcdefghi"
ME = Occupant("me", os.getuid(), os.getgid(), "/home/me")


@pytest.fixture
def folders(short_path: Path) -> RunFolders:
    made = RunFolders(short_path / "run", os.getgid())
    made.set_up()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_nobody_can_list_whose_notebooks_there_are(folders: RunFolders, short_path: Path) -> None:
    assert (mode(short_path / "run/notebooks"), mode(short_path / "run/identities")) == (0o711, 0o711)
    (short_path / "run/notebooks").chmod(0o777)
    folders.set_up()
    assert mode(short_path / "run/notebooks") == 0o711


@pytest.mark.real
async def test_a_folder_is_its_persons_and_the_web_programs(short_path: Path) -> None:
    folders = RunFolders(short_path / "run", 990)
    folders.set_up()
    previous = os.umask(0)
    try:
        for _ in range(2):  # may be called twice
            folder = Path(await folders.make(ID, Occupant("ada", 65001, 65001, "/home/ada")))
            assert (folder.stat().st_uid, folder.stat().st_gid, mode(folder)) == (65001, 990, 0o2770)
    finally:
        os.umask(previous)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(folders.socket(ID))
        assert Path(folders.socket(ID)).stat().st_gid == 990, "what is made inside has the web program's group"


async def test_the_folder_is_what_the_socket_is_in(folders: RunFolders) -> None:
    assert folders.socket(ID) == await folders.make(ID, ME) + "/editor.sock"
    assert await folders.existing() == {ID}


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def a_full_folder(path: Path) -> None:
    (path / "sub").mkdir(parents=True)
    (path / "sub/file").write_text("x")


STALE: dict[str, Callable[[Path], object]] = {
    "a socket": a_socket,
    "a file": lambda path: path.write_text("x"),
    "a folder": lambda path: path.mkdir(),
    "a full folder": a_full_folder,
    "a pipe": lambda path: os.mkfifo(path),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("put", STALE.values(), ids=list(STALE))
async def test_what_is_where_the_socket_goes_is_removed(folders: RunFolders, put: Callable[[Path], object]) -> None:
    folder = Path(await folders.make(ID, ME))
    put(folder / "editor.sock")
    await folders.make(ID, ME)
    assert list(folder.iterdir()) == []


async def test_a_link_in_the_sockets_place_is_not_followed(folders: RunFolders, short_path: Path) -> None:
    precious = short_path / "precious"
    a_full_folder(precious)
    for remove in (lambda: folders.make(ID, ME), lambda: folders.remove(ID)):
        folder = Path(await folders.make(ID, ME))
        (folder / "editor.sock").symlink_to(precious)
        await remove()
        assert (precious / "sub/file").read_text() == "x"


async def test_all_that_a_person_may_put_there_is_removed_and_nothing_else(folders: RunFolders, short_path: Path) -> None:
    precious = short_path / "precious"
    a_full_folder(precious)
    folder = Path(await folders.make(ID, ME))
    (folder / "to precious").symlink_to(precious)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    a_socket(folder / "editor.sock")
    os.link(precious / "sub/file", folder / "hard link")
    (folder / "-rf").write_text("x")
    (folder / "a\nb\x1b[31m").write_text("x")
    Path(os.fsdecode(bytes(folder) + b"/\xff\xfe")).write_text("x")
    (folder / "closed").mkdir(mode=0)
    for number in range(300):
        (folder / f"{number}").write_text("x")
    await folders.remove(ID)
    assert not folder.exists()
    assert (precious / "sub/file").read_text() == "x"
    await folders.remove(ID)  # absent is done


async def test_a_tree_deeper_than_any_stack_is_removed(folders: RunFolders) -> None:
    folder = Path(await folders.make(ID, ME))
    at = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    await folders.remove(ID)
    assert not folder.exists()


async def test_only_folders_of_notebooks_count(folders: RunFolders, short_path: Path) -> None:
    for name in (ID, "Not-An-Id", "..x", "n" * 11):
        (short_path / "run/notebooks" / name).mkdir()
    assert await folders.existing() == {ID}


async def test_a_path_too_long_for_a_socket_is_said_at_the_start(tmp_path: Path) -> None:
    fits = SOCKET_PATH_LIMIT - len("/notebooks/nabcdefghi/editor.sock")
    RunFolders(tmp_path / "x", os.getgid())
    with pytest.raises(HostUnfit) as caught:
        RunFolders(Path("/tmp") / ("x" * (fits - len("/tmp/") + 1)), os.getgid()).set_up()
    assert "too long" in caught.value.message
    assert "--dir" in caught.value.hint


async def test_who_is_who_for_the_container_is_readable_and_never_half_written(folders: RunFolders) -> None:
    folder = Path(await folders.identity(ME, "old passwd", "old group"))
    mounted = (folder / "passwd").open()
    await folders.identity(ME, "new passwd", "new group")
    assert mounted.read() == "old passwd", "a running notebook goes on with its file"
    mounted.close()
    found = {file.name: (file.read_text(), mode(file)) for file in folder.iterdir()}
    assert found == {"passwd": ("new passwd", 0o644), "group": ("new group", 0o644)}


async def test_a_link_in_a_folders_place_gives_nothing_away(folders: RunFolders, short_path: Path) -> None:
    elsewhere = short_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (short_path / "run/notebooks" / ID).symlink_to(elsewhere)
    with pytest.raises(OSError, match="Not a directory"):
        await folders.make(ID, ME)
    assert mode(elsewhere) == 0o700
