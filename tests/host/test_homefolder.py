"""What is said of a home: read by descriptor, whatever a person put in its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.homes.fitness import fit
from nbd.homes.model import HomeFacts, HomeRequest
from nbd.host.homefolder import DescriptorFolders

ME = os.getuid()


async def test_a_home_as_it_should_be(tmp_path: Path) -> None:
    found = await DescriptorFolders().look(str(tmp_path))
    assert (found.exists, found.is_folder, found.owner_uid) == (True, True, ME)
    assert 0 < found.free_bytes <= found.total_bytes == shutil.disk_usage(tmp_path).total
    assert fit(HomeRequest("me", ME, str(tmp_path)), found).path == str(tmp_path)


ODD: dict[str, Callable[[Path], object]] = {
    "a link to a home": lambda path: path.symlink_to(path.parent),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a file": lambda path: path.write_text("x"),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("put", ODD.values(), ids=list(ODD))
async def test_what_is_no_folder_is_no_home(tmp_path: Path, put: Callable[[Path], object]) -> None:
    home = tmp_path / "home"
    put(home)
    found = await DescriptorFolders().look(str(home))
    assert (found.exists, found.is_folder) == (True, False)
    with pytest.raises(HostUnfit) as caught:
        fit(HomeRequest("me", ME, str(home)), found)
    assert caught.value.code == "home_unfit"


@pytest.mark.parametrize("name", ["none", "none/home", "file/home", "x" * 300])
async def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    assert await DescriptorFolders().look(str(tmp_path / name)) == HomeFacts(exists=False)


async def test_the_root_and_no_path_at_all_are_answered() -> None:
    assert (await DescriptorFolders().look("/")).is_folder
    assert not (await DescriptorFolders().look("/nonexistent")).exists


async def test_looking_leaves_no_descriptor(tmp_path: Path) -> None:
    folders = DescriptorFolders()
    await folders.look(str(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path, tmp_path / "none", tmp_path / "none/none"):
        for _ in range(20):
            await folders.look(str(path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
