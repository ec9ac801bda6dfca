"""What people, admins and images get wrong, on real parts: a clear sentence with the next step, and nothing is left of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .real_box import Person, RealBox, account, add_profile, real_box, short_folder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def box(odd_images: dict[str, str]) -> Iterator[RealBox]:
    """One for all, in which nothing ever runs for long."""
    with short_folder() as folder, account("nbdtest-bea") as bea:
        for name, image in {**odd_images, "absent": "nowhere", "foreign": "localhost/nbd-system-test/absent:latest"}.items():
            add_profile(folder / "d", name, f'title = "Odd"\nimage = "{image}"\nnetwork = "none"\n')
        with real_box(folder, who=bea, settings='[core]\nready_within = "2s"\n') as box:
            yield box


@pytest.mark.parametrize("name", ["../x", "x" * 300, "a\x01b", "A", "a b", "-x-", ".", "é"], ids=ascii)
def test_a_name_that_cannot_be(box: RealBox, name: str) -> None:
    code, machine, sentence, hint = box.refused("start", "--", name)
    assert (code, machine) == (2, "bad_name")
    assert sentence.startswith("a notebook cannot be called ")
    assert len(sentence) < 120
    assert hint == "1 to 40 of a-z 0-9 . _ - ; first and last a letter or digit"
    said = box.nbctl("start", "--", name)
    assert said.returncode == 2
    assert said.stderr.isprintable() or said.stderr.replace("\n", "").isprintable()
    assert box.traces().keys() == {"processes"}


def test_an_unknown_profile(box: RealBox) -> None:
    code, machine, sentence, hint = box.refused("start", "--profile", "gpu-9")
    assert (code, machine, sentence) == (2, "unknown_profile", "there is no profile 'gpu-9'")
    assert "cpu-small" in hint
    assert box.ask("ls") == []


@pytest.mark.parametrize(
    ("profile", "machine", "state", "words", "hint"),
    [
        ("absent", "image_missing", "ERROR", "localhost/nbd/nowhere:latest of profile absent is not on this box", "nbd cannot make"),
        ("foreign", "image_missing", "ERROR", "localhost/nbd-system-test/absent:latest", "nbd cannot make"),
        ("ends", "editor_exited", "FAILED", "the editor ended before it was ready with exit code 3", "nbctl start"),
        ("without", "editor_missing", "FAILED", "has no jupyterlab", "nbctl image check"),
        ("silent", "never_answered", "FAILED", "did not answer within 2 s", "its last lines"),
    ],
)
def test_an_image_that_is_no_notebook(box: RealBox, profile: str, machine: str, state: str, words: str, hint: str) -> None:
    said = box.refused("start", profile, "--profile", profile)
    assert said[:2] == (1, machine), said
    assert words in said[2]
    assert hint in said[3]
    shown = box.show(profile)
    assert (shown["state"], shown["stop_reason"], shown["container"]) == (state, machine, None)
    assert words in shown["sentence"]
    assert box.traces().keys() == {"processes"}
    log = {"ends": "no licence for this box", "silent": "warming up"}.get(profile)
    if log:
        assert shown["failure"]["log"][-1].endswith(log)
        assert log in box.nbctl("start", profile).stderr
        assert box.nbctl("logs", profile).stdout.rstrip().endswith(log)
    box.ask("rm", "--yes", profile)
    assert box.ask("ls") == []


def test_somebody_without_a_home(box: RealBox) -> None:
    nobody = Person("nobody", 65534, 65534, Path("/nonexistent"))
    code, machine, sentence, hint = box.refused("start", who=nobody)
    assert (code, machine) == (1, "home_unfit")
    assert "the home /nonexistent of nobody does not exist" in sentence
    assert hint.startswith("make it: install -d -m 0700 -o nobody /nonexistent; ")
    assert box.traces().keys() == {"processes"}
    box.ask("rm", "--yes", "main", who=nobody)


def test_gpus_where_there_are_none(box: RealBox) -> None:
    code, machine, sentence, _ = box.refused("start", "--profile", "gpu-1")
    assert (code, machine) == (3, "no_capacity")
    assert "no GPU" in sentence or "driver" in sentence
    offered = {profile["name"]: profile for profile in box.ask("profile", "ls")}
    assert offered["cpu-small"]["available"]
    assert not offered["gpu-1"]["available"]
    assert offered["gpu-1"]["reason"]
    assert box.refused("start", "--gpus", "2")[:2] == (2, "no_gpu_profile")


def test_what_is_not_there_or_not_yours(box: RealBox) -> None:
    box.refused("start", "mine", "--profile", "absent")
    stranger = Person("nobody", 65534, 65534, Path("/nonexistent"))
    for verb in (["show"], ["stop"], ["rm", "--yes"], ["open"], ["logs"]):
        theirs = box.refused(*verb, "nbdtest-bea/mine", who=stranger)
        none = box.refused(*verb, "nbdtest-bea/none", who=stranger)
        assert (theirs[0], none[0]) == (4, 4)
        assert theirs[2].replace("mine", "none") == none[2]
    box.ask("rm", "--yes", "mine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[core]\nready_within = 5\n", ":2: core.ready_within: must be a time such as"),
        ("[core]\nredy_within = '5s'\n", ":2: core.redy_within: unknown key\nhint: "),
        ("[wbe]\n", ":1: wbe: unknown section\nhint: "),
        ("[core\n", ":1: "),
    ],
)
def test_a_wrong_setting(short_path: Path, text: str, words: str) -> None:
    box = RealBox(short_path / "d")
    box.folder.mkdir()
    (box.folder / "nbd.toml").write_text(text)
    said = box.run()
    assert said.returncode == 2
    assert said.stderr.startswith(f"nbd: {box.folder}/nbd.toml{words}")
    assert box.traces() == {}


def test_a_state_from_a_newer_nbd(short_path: Path) -> None:
    """It is not touched, and `nbd dev` ends with the reason instead of trying for ever."""
    box = RealBox(short_path / "d")
    file = box.folder / "state/state.db"
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as state:
        state.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    said = box.run()
    assert said.returncode == 1, said.stderr
    assert f"the state in {file} was written by a newer nbd (schema 99, this one knows " in said.stderr
    assert "hint: install that nbd again, or move the file away: what runs is then rebuilt from its containers" in said.stderr
    assert file.read_bytes() == before
    assert not list(box.processes())
