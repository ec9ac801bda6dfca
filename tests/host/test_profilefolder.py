"""Profiles as their folder has them now: a change counts at once, a wrong file keeps the last right set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd.host.profilefolder import ProfileFolder
from nbd.profiles import Profile

RIGHT = 'title = "T"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cpu.toml").write_text(RIGHT)
    return tmp_path


async def test_changes_count_at_once(folder: Path) -> None:
    shelf = ProfileFolder(folder)
    assert list(shelf.profiles()) == ["cpu"]
    (folder / "gpu.toml").write_text(RIGHT)
    assert list(shelf.profiles()) == ["cpu", "gpu"]
    (folder / "cpu.toml").write_text('title = "Other"\n')
    assert shelf.profiles()["cpu"].title == "Other"
    (folder / "cpu.toml").unlink()
    assert list(shelf.profiles()) == ["gpu"]
    assert await shelf.health() == "ok"


def test_nothing_is_read_twice(folder: Path) -> None:
    shelf = ProfileFolder(folder)
    assert shelf.profiles() is shelf.profiles()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a typo": (lambda file: file.write_text('titel = "T"\n'), "bad.toml:1: titel: unknown key"),
    "not TOML": (lambda file: file.write_text('title = "T\n'), "bad.toml:1:"),
    "not UTF-8": (lambda file: file.write_bytes(b'title = "\xff"\n'), "utf-8"),
    "a link to nowhere": (lambda file: file.symlink_to("nowhere"), "No such file"),
    "a folder": (lambda file: file.mkdir(), "directory"),
    "mounts that are no tables": (lambda file: file.write_text('title = "T"\nmounts = ["/etc"]\n'), "must be written as [[mounts]]"),
    "a loop": (lambda file: file.symlink_to(file), "symbolic links"),
}


@pytest.mark.parametrize(("put", "words"), WRONG.values(), ids=list(WRONG))
async def test_a_wrong_file_keeps_the_last_right_set_and_is_said(folder: Path, put: Callable[[Path], object], words: str) -> None:
    shelf = ProfileFolder(folder)
    shelf.profiles()
    put(folder / "bad.toml")
    for _ in range(2):
        assert list(shelf.profiles()) == ["cpu"]
        assert words in await shelf.health()
    os.rename(folder / "bad.toml", folder / "bad.toml.off")  # noqa: PTH104 - whatever it is
    (folder / "cpu.toml").write_text('title = "Mended"\n')
    assert shelf.profiles()["cpu"].title == "Mended"
    assert await shelf.health() == "ok"


async def test_an_editor_at_work_changes_nothing(folder: Path) -> None:
    (folder / ".#cpu.toml").symlink_to("ada@box.1234")
    (folder / ".cpu.toml.swp").write_bytes(b"\xff")
    (folder / "cpu.toml~").write_text("half")
    (folder / ".hidden.toml").write_text("half")
    shelf = ProfileFolder(folder)
    assert list(shelf.profiles()) == ["cpu"]
    assert await shelf.health() == "ok"


async def test_no_folder_is_no_profile_and_no_error(tmp_path: Path) -> None:
    shelf = ProfileFolder(tmp_path / "none")
    assert shelf.profiles() == {}
    assert await shelf.health() == "ok"
    (tmp_path / "none").mkdir()
    (tmp_path / "none/cpu.toml").write_text(RIGHT)
    assert list(shelf.profiles()) == ["cpu"]


async def test_a_defect_of_the_reader_is_trouble_and_not_an_end(folder: Path) -> None:
    def fails(folder: Path) -> dict[str, Profile]:
        raise KeyError("odd")

    shelf = ProfileFolder(folder, fails)
    for _ in range(2):
        assert shelf.profiles() == {}
        assert "odd" in await shelf.health()
