"""The completion scripts: each shell that is here parses its own, and bash is asked what it would offer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.cli.completion import paths, script
from nbd.cli.nbctl import SHELLS, VERBS
from nbd.messages import ProfileView
from tests.fakes.nbctl_core import FakeCore, notebook
from tests.fakes.nbctl_runner import ROOT, Nbctl, me


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        core.profiles = (ProfileView("gpu-1", "One GPU", "", "jupyter", "jupyter", 8, 1, 1, "1 GPU", available=True, reason=""),)
        core.put(notebook("train", me()))
        core.put(notebook("toy", me()))
        yield core


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_parses_its_script(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(Nbctl(tmp_path / "no.sock")("completion", shell).out)
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_and_option_is_in_the_script(shell: str) -> None:
    made = script(shell, VERBS)
    for path, verb in paths(VERBS):
        assert path.split()[-1] in made
        for arg in verb.args:
            for flag in arg.flags:
                assert not flag.startswith("--") or flag.lstrip("-") in made


def test_every_verb_and_option_is_in_the_docs() -> None:
    told = (ROOT / "docs/nbctl.md").read_text(encoding="utf-8")
    for path, verb in paths(VERBS):
        assert verb.verbs or f"`{path}" in told, path
        for arg in verb.args:
            assert arg.positional or arg.flags[-1] in told, (path, arg.flags)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("nbctl st", {"start", "status", "stop"}),
        ("nbctl --json sh", {"show"}),
        ("nbctl show t", {"train", "toy"}),
        ("nbctl --timeout 9 open tr", {"train"}),
        ("nbctl start --pro", {"--profile"}),
        ("nbctl start x --profile g", {"gpu-1"}),
        ("nbctl start -p g", {"gpu-1"}),
        ("nbctl profile ", {"ls", "show", "check"}),
        ("nbctl profile show g", {"gpu-1"}),
        ("nbctl image build x --base ", {"auto", "registry", "debootstrap"}),
        ("nbctl completion z", {"zsh"}),
        ("nbctl start --gpus ", set()),
    ],
)
def test_what_bash_offers(core: FakeCore, tmp_path: Path, line: str, offered: set[str]) -> None:
    nbctl = Nbctl(core.path)
    program = tmp_path / "nbctl"
    program.write_text("#!/bin/sh\nexec " + " ".join(nbctl.command()) + ' "$@"\n')
    program.chmod(0o755)
    words = line.split(" ")
    ask = (
        script("bash", VERBS)
        + f'\nCOMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); COMP_CWORD={len(words) - 1}; _nbctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    env = {**nbctl.environment, "PATH": f"{tmp_path}:{nbctl.environment['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", ask], env=env, capture_output=True, timeout=20, check=False)
    assert done.stderr == b""
    assert set(done.stdout.decode().split()) == offered
