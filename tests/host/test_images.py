"""The command line of Podman, played by a script: what it prints, how it ends, and that nothing of it outlives who asked."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from nbd.editors import EDITORS
from nbd.errors import Conflict, HostUnfit, NotFound, Unreachable
from nbd.host.images import PodmanImages
from nbd.notebooks.image import Base, ImageFacts
from nbd.notebooks.images import Images

LABELS = {"io.nbd.version.jupyterlab": "4.6.6", "io.nbd.editor": "jupyterlab"}
ROW = {
    "Id": "abc",
    "Names": ["localhost/nbd/jupyter:latest"],
    "Size": 660,
    "Created": 1795181343,
    "Labels": LABELS,
}
NAMELESS = {"Id": "def", "Names": None, "Size": 1, "Created": 1, "Labels": None}
Play = Callable[[str], Images]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Put a Podman in the way that runs `script`, and have no other program but the shell's own."""
    recipes, programs = tmp_path / "images", tmp_path / "bin"
    for name in ("base", "jupyter"):
        (recipes / name).mkdir(parents=True)
        (recipes / name / "Containerfile").touch()
    (recipes / "base/packages.txt").write_text("git\n")
    programs.mkdir()

    def with_script(script: str) -> Images:
        program = programs / "podman"
        program.write_text(f"#!/bin/bash\necho $$ >> {tmp_path}/pids\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        return Images(PodmanImages(recipes, "localhost/nbd/", EDITORS))

    return with_script


def answers(rows: Sequence[object], rest: str = "exit 0") -> str:
    return f"case $1 in images) echo '{json.dumps(rows)}'; exit;; ps) echo '[]'; exit;; esac\n{rest}"


async def texts(images: Images, reference: str = "example.org/x:1") -> list[str]:
    return [progress.text async for progress in images.pull(reference)]


async def test_list(play: Play) -> None:
    facts = await play(answers([ROW, NAMELESS])).list()
    assert facts == (ImageFacts("localhost/nbd/jupyter:latest", "abc", 660, 1795181343.0, LABELS),)
    assert facts[0].versions == {"jupyterlab": "4.6.6"}


@pytest.mark.parametrize("script", ["echo '[]'; echo 'Error: broken' >&2; exit 125", "kill -9 $$"])
async def test_a_podman_that_fails(play: Play, script: str) -> None:
    with pytest.raises(Unreachable, match="podman images failed"):
        await play(script).list()


async def test_no_podman(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = play("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostUnfit, match="podman is not installed") as caught:
        await texts(images)
    assert caught.value.hint == "apt-get install podman"


async def test_pull(play: Play) -> None:
    script = r"""[ "$1 $2 $3" = "pull -- example.org/x:1" ] || exit 9
    echo 'Trying to pull x' >&2; printf 'Copying blob 0123456789ab 1MiB / 2MiB\rCopying blob 0123456789ab done\n'
    head -c 3000000 /dev/zero | tr '\0' x"""
    assert await texts(play(script)) == ["Trying to pull x", "1 of 1 layers", "example.org/x:1: fetched"]


async def test_a_pull_that_fails(play: Play) -> None:
    with pytest.raises(NotFound, match="its registry has no image"):
        await texts(play("echo 'Error: manifest unknown'; exit 125"))


async def test_one_pull_of_the_same_at_a_time(play: Play) -> None:
    images = play("echo Trying to pull; exec sleep 1000")
    async with aclosing(images.pull("x")) as first:
        await anext(first)
        with pytest.raises(Conflict, match="somebody else does this already"):
            await texts(images, "x")
    images = play("echo Trying to pull")
    assert await texts(images, "x")


async def test_given_up_it_leaves_no_process(play: Play, tmp_path: Path) -> None:
    images = play("sleep 1000 & echo $! >> " + str(tmp_path / "pids") + "; trap '' TERM; echo Trying to pull; while :; do sleep 1000; done")
    async with aclosing(images.pull("x")) as pull:
        await anext(pull)
    async with asyncio.timeout(10):
        while any(alive(int(pid)) for pid in (tmp_path / "pids").read_text().split()):
            await asyncio.sleep(0.01)


async def test_build_on_the_base_that_is_there(play: Play) -> None:
    base = {**ROW, "Names": ["localhost/nbd/base:latest"]}
    images = play(answers([base], "echo 'STEP 1/2: FROM x'; echo 'STEP 2/2: RUN y'"))
    assert [progress.fraction async for progress in images.build("jupyter")] == [0.0, 0.5, 1.0]


async def test_a_build_on_a_full_disk(play: Play) -> None:
    with pytest.raises(HostUnfit) as caught:
        async for _ in play(answers([], "echo 'write: no space left on device'; exit 1")).build("base", Base.REGISTRY):
            pass
    assert caught.value.code == "disk_full"


async def test_check_of_what_is_not_there(play: Play) -> None:
    with pytest.raises(NotFound, match="no image nothing:1 here"):
        await play(answers([ROW])).check("nothing:1")


async def test_check_of_an_image_without_an_editor(play: Play) -> None:
    report = await play(answers([{**ROW, "Names": ["x:1"], "Labels": None}])).check("x:1")
    assert report.problems == ("x:1 names no editor that nbd knows: it has no label io.nbd.editor",)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
