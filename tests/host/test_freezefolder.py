"""The folder of frozen notebooks: what is marked whole is on the disk, what is half says so, and nothing is left of what is forgotten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.host.freezefolder import IMAGE, LEFT_BY_PODMAN, Begun, FreezeFolder

NOTEBOOK = "nabcdefghi"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> FreezeFolder:
    return FreezeFolder(tmp_path / "frozen")


async def test_a_life(folder: FreezeFolder, bundle: Path) -> None:
    assert folder.all() == ()
    assert folder.room() > 0
    folder.begin(NOTEBOOK, Begun("c1", bundle))
    assert folder.begun(NOTEBOOK) == Begun("c1", bundle, folder.boot())
    assert (bundle / "checkpoint").resolve() == (folder.path(NOTEBOOK) / IMAGE).resolve()
    assert not folder.has_inventory(NOTEBOOK)
    (bundle / "checkpoint/pages-1.img").write_bytes(bytes(8192))
    (bundle / "checkpoint/inventory.img").write_bytes(b"x")
    (bundle / "devshm-checkpoint.tar").write_bytes(bytes(4096))
    assert folder.has_inventory(NOTEBOOK)
    assert folder.marked(NOTEBOOK) is None
    count = folder.mark(NOTEBOOK)
    assert count >= 8192 + 4096
    assert FreezeFolder(folder.path(NOTEBOOK).parent).marked(NOTEBOOK) == count
    assert folder.all() == (NOTEBOOK,)
    await folder.remove(NOTEBOOK)
    await folder.remove(NOTEBOOK)
    assert folder.all() == ()
    assert [entry.name for entry in bundle.iterdir()] == ["config.json"]


def test_what_an_earlier_freeze_left_does_not_count(folder: FreezeFolder, bundle: Path) -> None:
    for name in LEFT_BY_PODMAN:
        (bundle / name).write_text("old")
    (bundle / "checkpoint").symlink_to(bundle / "elsewhere")
    folder.begin(NOTEBOOK, Begun("c1", bundle))
    assert {entry.name for entry in bundle.iterdir()} == {"config.json", "checkpoint"}


async def test_a_container_that_is_gone_is_no_obstacle(folder: FreezeFolder, bundle: Path) -> None:
    folder.begin(NOTEBOOK, Begun("c1", bundle))
    for entry in bundle.iterdir():
        entry.unlink()
    bundle.rmdir()
    await folder.remove(NOTEBOOK)
    assert folder.all() == ()


def test_where_nothing_can_be_written(folder: FreezeFolder, bundle: Path) -> None:
    folder.path(NOTEBOOK).parent.write_text("a file")
    with pytest.raises(HostUnfit) as caught:
        folder.begin(NOTEBOOK, Begun("c1", bundle))
    assert caught.value.code == "disk_full"
    assert folder.all() == ()


@pytest.mark.parametrize("name", ["begun.json", "whole.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"bytes": "many"}', b"\xff"])
def test_a_mark_that_cannot_be_read_is_none(folder: FreezeFolder, bundle: Path, name: str, content: bytes) -> None:
    folder.begin(NOTEBOOK, Begun("c1", bundle))
    (folder.path(NOTEBOOK) / name).write_bytes(content)
    assert (folder.begun(NOTEBOOK) if name == "begun.json" else folder.marked(NOTEBOOK)) is None


def test_who_has_the_image_open_is_seen(folder: FreezeFolder, bundle: Path) -> None:
    folder.begin(NOTEBOOK, Begun("c1", bundle))
    assert folder.users(NOTEBOOK) == frozenset()
    with (bundle / "checkpoint/pages-1.img").open("wb"):
        assert folder.users(NOTEBOOK) == {os.getpid()}
    assert folder.users(NOTEBOOK) == frozenset()
    assert folder.users(NOTEBOOK[:-1]) == frozenset()


async def test_foreign_names_are_left_alone(folder: FreezeFolder) -> None:
    assert folder.room()
    (folder.path("lost+found")).mkdir()
    assert folder.all() == ()
