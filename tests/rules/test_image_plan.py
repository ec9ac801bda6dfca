"""Which commands make an image, and what is said when one fails."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import pytest

from nbd.errors import Deadline, HostUnfit, InvalidInput, NbdError, NotFound, Unreachable
from nbd.notebooks.image import Base, Stage, Step, StepFailed
from nbd.notebooks.image_plan import Box, Order, mirrors_in, packages_in, plan
from nbd.notebooks.image_trouble import absent, end_of_trial, explain, version_problems

IMAGES = Path(__file__).parents[2] / "images"
BARE = Box(tools=frozenset(), mounts=(), mirrors=(), root=True)
ABLE = Box(tools=frozenset({"mmdebstrap"}), mounts=("/etc/pip.conf",), mirrors=("deb http://mirror.example/debian bookworm main",), root=True)


def steps(name: str, base: Base, box: Box, *, have_base: bool = False) -> tuple[Step, ...]:
    order = Order(name, base, frozenset({"base", "jupyter"}), have_base, ("git", "gcc"))
    return plan(order, box, folder=PurePath("/images"), scratch=PurePath("/scratch"), prefix="localhost/nbd/")


def test_without_a_registry() -> None:
    tree, imported, base, jupyter = steps("jupyter", Base.AUTO, ABLE)
    assert [step.stage for step in (tree, imported, base, jupyter)] == [Stage.TREE, Stage.IMPORT, Stage.BUILD, Stage.BUILD]
    assert "--include=git,gcc" in tree.argv
    assert tree.argv[-1] == "deb http://mirror.example/debian bookworm main"
    assert "--build-arg DEBIAN=localhost/nbd/debian:12" in " ".join(base.argv)
    assert "--volume /etc/pip.conf:/etc/pip.conf:ro" in " ".join(jupyter.argv)
    assert "--volume" not in base.argv
    assert all("--pull=never" in step.argv for step in (base, jupyter))


def test_the_shares_of_the_steps_make_the_whole() -> None:
    all_steps = steps("jupyter", Base.AUTO, ABLE)
    assert [step.before for step in all_steps[1:]] == pytest.approx([step.before + step.share for step in all_steps[:-1]])
    assert all_steps[-1].before + all_steps[-1].share == pytest.approx(1.0)


def test_with_a_registry() -> None:
    base, _ = steps("jupyter", Base.AUTO, BARE)
    assert "DEBIAN=debian:12-slim" in base.argv
    assert "--pull=missing" in base.argv
    assert steps("base", Base.REGISTRY, ABLE)[0].stage is Stage.BUILD


def test_a_base_that_is_there_is_used() -> None:
    assert [step.image for step in steps("jupyter", Base.AUTO, ABLE, have_base=True)] == ["jupyter"]
    assert len(steps("base", Base.AUTO, ABLE, have_base=True)) == 3


@pytest.mark.parametrize("tools", [frozenset[str](), frozenset({"debootstrap"})])
def test_no_base_can_be_made(tools: frozenset[str]) -> None:
    with pytest.raises(HostUnfit) as caught:
        steps("base", Base.DEBOOTSTRAP, Box(tools, (), (), root=False))
    assert (caught.value.code, caught.value.hint) == ("no_base", "apt-get install mmdebstrap")


def test_debootstrap_makes_a_tree_and_packs_it() -> None:
    tree, packed, *_ = steps("base", Base.DEBOOTSTRAP, Box(frozenset({"debootstrap"}), (), (), root=True))
    assert tree.argv[0] == "debootstrap"
    assert packed.argv[:2] == ("tar", "--create")


@pytest.mark.parametrize("name", ["", "nothing", "../base", "--help", "x" * 300])
def test_an_unknown_image(name: str) -> None:
    with pytest.raises(InvalidInput, match="nbd builds no image called") as caught:
        steps(name, Base.AUTO, ABLE)
    assert caught.value.hint == "it builds: base, jupyter"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("deb http://m/debian bookworm main contrib # ours", ["deb http://m/debian bookworm main"]),
        ("deb [signed-by=/k.gpg arch=amd64] http://m/debian bookworm-updates main", ["deb http://m/debian bookworm-updates main"]),
        ("deb-src http://m/debian bookworm main\n#deb http://m/debian bookworm main\ndeb http://m trixie main\ndeb", []),
        ("Types: deb\nURIs: http://a http://b\nSuites: bookworm\nComponents: main", ["deb http://a bookworm main", "deb http://b bookworm main"]),
        ("Types: deb\n# why\nURIs: http://s\nSuites: bookworm-security\nComponents: main\n", ["deb http://s bookworm-security main"]),
        ("Types: deb\nURIs: http://vendor\nSuites: nodistro\nComponents: main", []),
        ("Types: deb\nEnabled: no\nURIs: http://a\nSuites: bookworm\nComponents: main", []),
    ],
)
def test_the_mirrors_of_the_box(text: str, lines: list[str]) -> None:
    assert list(mirrors_in([text, text])) == lines


@pytest.mark.parametrize(
    ("stage", "line", "kind", "code"),
    [
        (Stage.PULL, "Error: reading manifest 9 in example.org/x: manifest unknown", NotFound, "image_missing"),
        (Stage.PULL, "Error: dial tcp: lookup example.org: no such host", Unreachable, "unreachable"),
        (Stage.PULL, 'Error: short-name "x" did not resolve to an alias', InvalidInput, "bad_reference"),
        (Stage.PULL, "Error: unauthorized: authentication required", HostUnfit, "pull_refused"),
        (Stage.PULL, "Error: something else", HostUnfit, "pull_failed"),
        (Stage.BUILD, "write /x: no space left on device", HostUnfit, "disk_full"),
        (Stage.BUILD, "Error: pinging container registry: dial tcp: i/o timeout", Unreachable, "no_base"),
        (Stage.BUILD, "make: *** [all] Error 2", HostUnfit, "build_failed"),
        (Stage.TREE, "E: Unable to locate package", HostUnfit, "build_failed"),
    ],
)
def test_a_failure_is_explained(stage: Stage, line: str, kind: type[NbdError], code: str) -> None:
    error = explain(StepFailed(Step(stage, "example.org/x", ("podman", "x")), 125, ["before", line, ""]))
    assert (type(error), error.code) == (kind, code)
    assert error.hint


def test_a_step_that_never_ends() -> None:
    assert isinstance(explain(StepFailed(Step(Stage.BUILD, "x", ("podman", "build")), None, [])), Deadline)


@pytest.mark.parametrize(("code", "words"), [(127, "has no jupyterlab"), (125, "could not start"), (3, "ended at once with exit code 3: boom")])
def test_the_end_of_a_trial(code: int, words: str) -> None:
    assert words in end_of_trial("img", "jupyterlab", code, ["boom"])


def test_a_label_may_say_less_than_the_truth_but_nothing_else() -> None:
    stated = {"python": "3.11", "ipykernel": "7.4.0", "gone": "1", "other": "4.6"}
    real = {"python": "3.11.2", "ipykernel": "7.4.0", "gone": "", "other": "4.60"}
    assert version_problems(stated, real) == ["a label says gone 1, and there is none", "a label says other 4.6, and it is 4.60"]


def test_the_labels_of_the_recipe_are_those_of_its_lock() -> None:
    recipe, lock = (IMAGES / "jupyter/Containerfile").read_text(), (IMAGES / "jupyter/requirements.lock").read_text()
    for name in ("jupyterlab", "ipykernel"):
        label = re.search(rf'io\.nbd\.version\.{name}="([^"]+)"', recipe)
        pinned = re.search(rf"^{name}==(\S+)", lock, re.MULTILINE)
        assert label is not None
        assert pinned is not None
        assert label[1] == pinned[1], "run: make lock"


def test_the_packages_of_the_base() -> None:
    packages = packages_in((IMAGES / "base/packages.txt").read_text())
    assert {"git", "gcc", "make", "python3-venv", "curl", "ca-certificates"} <= set(packages)
    assert all(re.fullmatch(r"[a-z0-9.+-]+", package) for package in packages)


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("localhost/nbd/jupyter:latest", "an admin can make it: nbctl image build jupyter"),
        ("localhost/nbd/nowhere:latest", "nbd cannot make localhost/nbd/nowhere:latest"),
        ("localhost/nbd/jupyter:2", "nbd cannot make localhost/nbd/jupyter:2"),
        ("localhost/lab/torch:1", "nbd cannot make localhost/lab/torch:1"),
        ("registry.example/lab/torch:1", "an admin can fetch it: podman pull registry.example/lab/torch:1"),
    ],
)
def test_the_next_step_for_an_image_that_is_not_here(reference: str, hint: str) -> None:
    assert absent(reference, "localhost/nbd/", frozenset({"base", "jupyter"})).startswith(hint)
