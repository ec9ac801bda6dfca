"""nbctl and attached data: what it asks, prints, and exits with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nbd.attachments import AttachedView
from nbd.cli.attached import parsed
from nbd.errors import InvalidInput
from nbd.messages import AttachRequest, NotebookView, Unkept
from nbd.wire import dump
from tests.fakes.nbctl_core import FakeCore
from tests.fakes.nbctl_runner import Nbctl, me

ID, OTHER = "0123456789abcdef0123", "0199456789abcdef0123"
RW = AttachedView(ID, "s3://lab/x", True, False, True, "in step", "", ("main:/data",), 1.0, 3, 2048)  # noqa: FBT003
RO = AttachedView(OTHER, "s3://lab/y", False, True, False, "as it was at the last start", "")  # noqa: FBT003
MAIN = NotebookView("abcdefghij", "main", me(), "RUNNING", "cpu", "jupyterlab", "http://x/", "runs", "", 1.0)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("s3://lab/x:/data", AttachRequest("s3://lab/x", "/data")),
        ("s3://lab/x:/data:ro", AttachRequest("s3://lab/x", "/data")),
        ("s3://lab/x/:/data/in:rw", AttachRequest("s3://lab/x/", "/data/in", writable=True)),
        ("gs://lab/a:b:/data:rw", AttachRequest("gs://lab/a:b", "/data", writable=True)),
        ("az://lab:/d:e", AttachRequest("az://lab", "/d:e")),
    ],
)
def test_what_attach_says(text: str, wanted: AttachRequest) -> None:
    assert parsed(text) == wanted


@pytest.mark.parametrize("text", ["", "s3://lab/x", "s3://lab/x:data", "/data", "lab:/data", ":/data", "s3://lab/x:rw"])
def test_what_attach_cannot_say(text: str) -> None:
    with pytest.raises(InvalidInput):
        parsed(text)


def test_a_start_says_what_is_attached(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(MAIN)
    assert nbctl("start", "main").code == 0
    assert core.asked[-1].body["attach"] is None
    assert nbctl("start", "main", "--attach", "s3://lab/x:/data:rw", "--attach", "s3://lab/y:/more").code == 0
    assert core.asked[-1].body["attach"] == dump((AttachRequest("s3://lab/x", "/data", writable=True), AttachRequest("s3://lab/y", "/more")))
    assert nbctl("start", "main", "--attach", "none").code == 0
    assert core.asked[-1].body["attach"] == []


def test_keys_go_over_the_socket_before_the_start_and_nowhere_else(core: FakeCore, nbctl: Nbctl, tmp_path: Path) -> None:
    core.put(MAIN)
    core.home = {"bucket-keys": {}}
    keys = tmp_path / "keys.toml"
    keys.write_text('access_key_id = "AK"\nsecret_access_key = "very-secret"\n')
    said = nbctl("start", "main", "--attach", "s3://lab/x:/data", "--attach", "s3://lab/x:/again", "--attach-keys", str(keys))
    assert said.code == 0
    assert [(asked.path, asked.body["url"]) for asked in core.asked if "keys" in asked.path] == [("/v1/home/bucket-keys", "s3://lab/x")]
    assert core.asked[0].body["options"] == {"access_key_id": "AK", "secret_access_key": "very-secret"}
    assert "very-secret" not in str(core.asked[-1].body)
    keys.write_text('secret_access_key = "very-secret')
    said = nbctl("start", "main", "--attach", "s3://lab/x:/data", "--attach-keys", str(keys))
    assert (said.code, "very-secret" in said.err) == (2, False)
    assert nbctl("start", "main", "--attach-keys", str(keys)).code == 2
    assert nbctl("start", "main", "--attach", "s3://lab/x:/data", "--attach-keys", str(tmp_path / "none")).code == 2


def test_attached_is_a_table_with_what_a_person_has_to_know(core: FakeCore, nbctl: Nbctl) -> None:
    now = replace(RW, synced=time.time() - 41)
    core.home = {"attached": (now, RO)}
    said = nbctl("home", "attached")
    assert said.code == 0
    for word in ("s3://lab/x", "read-write", "main:/data", "3 (2.0 KiB)", "in step (4", "not in use", "read-only"):
        assert word in said.out
    assert nbctl("home", "attached", "--json").json == dump((now, RO))
    trouble = AttachedView(
        ID, "s3://lab/x", True, False, True, "not in step: the store is away", "wait", conflicts=("a.conflict-box-20261120T140500Z",),  # noqa: FBT003
        trouble="the store is away", left=(Unkept("l\x1b[2Jnk", "it is a symbolic link"),), left_count=1,
    )  # fmt: skip
    core.home = {"attached": (trouble,)}
    said = nbctl("home", "attached")
    for word in ("not in step: the store is away", "s3://lab/x: wait", "both versions kept: a.conflict-box", "nk: it is a symbolic link"):
        assert word in said.out
    assert "\x1b[2J" not in said.out
    core.home = {"attached": ()}
    assert nbctl("home", "attached").err.startswith("nothing is attached")


def test_one_is_named_by_the_beginning_of_its_id(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"attached": (RW, RO), f"attached/{ID}/confirm": (RW, RO), f"attached/{ID}": (RO,)}
    assert nbctl("home", "attached", "--confirm", "012").code == 0
    assert (core.asked[-1].method, core.asked[-1].path) == ("POST", f"/v1/home/attached/{ID}/confirm")
    assert nbctl("home", "attached", "--forget", ID, "--json").json == dump((RO,))
    assert core.asked[-1].method == "DELETE"
    assert (nbctl("home", "attached", "--forget", "01").code, nbctl("home", "attached", "--confirm", "ff").code) == (2, 4)
