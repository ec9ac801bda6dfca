"""Real Podman: images are built, tried, and given up without a trace."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from nbd.editors import EDITORS
from nbd.host.images import PodmanImages
from nbd.notebooks.images import Images

pytestmark = pytest.mark.real
PREFIX = "localhost/nbd-image-test/"
JUPYTER = "localhost/nbd/jupyter:latest"
RECIPES = {
    "quick": "RUN echo hello > /hello",
    "slow": "RUN echo Collecting dust; sleep 1000",
    "broken": "RUN echo it cannot work; exit 7",
    "editorless": "LABEL io.nbd.editor=jupyterlab",
    "crashing": "LABEL io.nbd.editor=jupyterlab\n"
    "RUN printf '#!/bin/sh\\necho no licence\\nexit 3\\n' > /usr/bin/jupyter-lab && chmod 755 /usr/bin/jupyter-lab",
    "lying": "LABEL io.nbd.version.python=2.7",
}


def podman(*argv: str) -> str:
    return subprocess.run(["podman", *argv], check=True, capture_output=True, text=True, timeout=60).stdout


def traces() -> tuple[set[str], set[str], set[str]]:
    """Containers, builds' working containers among them; images; scratch folders."""
    containers = podman("ps", "--all", "--external", "--no-trunc", "--format", "{{.ID}} {{.Names}}").splitlines()
    builds = {line for line in containers if "working-container" in line or "nbd-trial" in line}
    return builds, set(podman("images", "--all", "--quiet", "--no-trunc").split()), {str(path) for path in Path("/var/tmp").glob("nbd-image-*")}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("images")
    for name, body in {"base": "", **RECIPES}.items():
        (folder / name).mkdir()
        bottom = JUPYTER if name == "lying" else "localhost/nbd/base:latest"
        (folder / name / "Containerfile").write_text(f"ARG BASE\nFROM {bottom}\n{body}\n")
    (folder / "base/packages.txt").touch()
    podman("tag", "localhost/nbd/base:latest", f"{PREFIX}base:latest")
    yield folder
    podman("untag", f"{PREFIX}base:latest", f"{PREFIX}base:latest")


@pytest.fixture
async def images(recipes: Path) -> AsyncIterator[Images]:
    images = Images(PodmanImages(recipes, PREFIX, EDITORS))
    yield images
    for fact in await images.list():
        if fact.reference.startswith(PREFIX) and not fact.reference.startswith(f"{PREFIX}base"):
            podman("rmi", "--force", fact.reference)


async def built(images: Images, name: str) -> str:
    last = [progress async for progress in images.build(name)][-1]
    assert (last.fraction, last.text) == (1.0, f"{name}: built")
    return f"{PREFIX}{name}:latest"


async def test_build(images: Images) -> None:
    reference = await built(images, "quick")
    assert reference in {fact.reference for fact in await images.list()}


async def test_a_build_again_leaves_one_image(images: Images) -> None:
    before = traces()
    for _ in range(2):
        await built(images, "quick")
    after = traces()
    assert len(after[1] - before[1]) == 1
    assert (after[0], after[2]) == (before[0], before[2])


async def test_a_build_given_up_leaves_nothing(images: Images) -> None:
    before = traces()
    async with aclosing(images.build("slow")) as progress, asyncio.timeout(60):
        async for now in progress:
            if now.text == "Collecting dust":
                break
    assert traces() == before


async def test_a_build_that_fails_leaves_nothing(images: Images) -> None:
    before = traces()
    with pytest.raises(Exception, match="building broken failed"):
        await built(images, "broken")
    assert traces() == before


async def test_the_notebook_image_is_fit(images: Images) -> None:
    before = traces()
    report = await images.check(JUPYTER)
    assert report.problems == ()
    assert report.ready_seconds is not None
    assert report.versions["python"].startswith("3.11")
    assert traces() == before


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("editorless", "has no jupyterlab: the container could not run it"),
        ("crashing", "ended at once with exit code 3: no licence"),
        ("lying", "a label says python 2.7, and it is 3.11"),
    ],
)
async def test_an_unfit_image_is_named_as_such(images: Images, name: str, problem: str) -> None:
    reference = await built(images, name)
    before = traces()
    report = await images.check(reference)
    assert problem in report.problems[0]
    assert report.log
    assert traces() == before
