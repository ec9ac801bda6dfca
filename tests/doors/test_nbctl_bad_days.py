"""nbctl against a core that is absent, silent or broken, names that attack the terminal, and readers that leave."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.messages import FailureView
from tests.fakes.nbctl_core import FakeCore, Sin, notebook
from tests.fakes.nbctl_runner import Nbctl, finished, me

EVIL = "a\x1b[2J\x1b]0;pwn\x07\u202egnp\r\nnbctl: all is well"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def test_a_daemon_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "no.sock"
    ran = Nbctl(path)("ls")
    assert ran.code == 5
    assert ran.err.splitlines()[0] == f"nbctl: there is no nbd at {path}"
    assert ran.err.splitlines()[1].startswith("hint: systemctl start nbd")
    told = Nbctl(path)("ls", "--json")
    assert (told.code, told.json["error"]["code"], told.err) == (5, "unreachable", "")


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    ran = Nbctl(path)("status")
    assert (ran.code, ran.err.splitlines()[0]) == (5, f"nbctl: nobody answers at {path}: nbd is not running")


def test_a_path_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert Nbctl(tmp_path / "file")("ls").code == 5
    assert Nbctl(tmp_path / ("x" * 200))("ls").code == 5


@pytest.mark.parametrize(
    ("sin", "told"),
    [
        (Sin.HANG, (5, "did not answer within 0.4 s")),
        (Sin.DRIP, (5, "did not answer within 0.4 s")),
        (Sin.CLOSE, (5, "broke off")),
        (Sin.HALF, (5, "broke off")),
        (Sin.GARBAGE, (5, "does not speak as nbd does")),
        (Sin.WRONG, (1, "makes no sense to this nbctl")),
        (Sin.SPEECHLESS, (1, "nbd answered 500 and gave no reason")),
    ],
)
@pytest.mark.parametrize("verb", ["ls", "status"])
def test_each_sin_of_the_daemon_is_told_plainly(core: FakeCore, nbctl: Nbctl, verb: str, sin: Sin, told: tuple[int, str]) -> None:
    core.sins["/v1/notebooks" if verb == "ls" else "/v1/status"] = sin
    ran = nbctl(verb, NBD_TIMEOUT="0.4")
    assert ran.code == told[0]
    assert told[1] in ran.err.splitlines()[0]
    assert ran.err.splitlines()[1].startswith("hint: ")
    assert "Traceback" not in ran.err


def test_the_deadline_is_an_option_too(core: FakeCore, nbctl: Nbctl) -> None:
    core.sins["/v1/gpus"] = Sin.HANG
    assert "within 0.3 s" in nbctl("gpus", "--timeout", "0.3", NBD_TIMEOUT="9").err
    assert nbctl("gpus", NBD_TIMEOUT="soon").code == 2


def test_a_listener_that_never_accepts(tmp_path: Path) -> None:
    path = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as waiting:
        deaf.bind(str(path))
        deaf.listen(0)
        waiting.connect(str(path))
        ran = Nbctl(path)("ls", "--timeout", "0.4")
    assert (ran.code, "did not answer within 0.4 s" in ran.err) == (5, True)


def test_a_wait_ends_when_core_falls_silent(core: FakeCore, nbctl: Nbctl) -> None:
    core.sins["/v1/status"] = Sin.HANG
    ran = nbctl("start", "train", "--timeout", "0.4")
    assert (ran.code, "did not answer" in ran.err) == (5, True)


def test_a_silent_stream_is_fine_while_core_answers(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train", "--timeout", "0.3") as process:
        core.wait(lambda: sum(asked.path == "/v1/status" for asked in core.asked) >= 2)
        (view,) = core.notebooks.values()
        core.put(view, state="RUNNING")
        assert finished(process).code == 0


def test_a_wait_ends_when_core_does_not_come_back(core: FakeCore, nbctl: Nbctl) -> None:
    core.sins["/v1/events"] = Sin.CLOSE
    ran = nbctl("start", "train", "--timeout", "0.5")
    assert (ran.code, "broke off" in ran.err) == (5, True)


@pytest.mark.parametrize("verb", [("ls",), ("show", "nevil0"), ("top",), ("ls", "--names")])
@pytest.mark.parametrize("lang", ["C.UTF-8", "C"])
def test_nothing_from_a_stranger_reaches_the_terminal_as_a_command(core: FakeCore, nbctl: Nbctl, verb: tuple[str, ...], lang: str) -> None:
    failure = FailureView("editor_exited", EVIL, EVIL, (EVIL,))
    core.put(notebook("evil", me(), id="nevil0", state="FAILED", sentence=EVIL, hint=EVIL, profile=EVIL, failure=failure))
    ran = nbctl(*verb, LANG=lang)
    assert ran.code == 0
    for char in "\x1b\x07\r\u202e":
        assert char not in ran.out
    assert "\nnbctl: all is well" not in ran.out


def test_an_error_from_a_stranger_stays_one_line(nbctl: Nbctl) -> None:
    ran = nbctl("show", EVIL)
    assert (ran.code, len(ran.err.splitlines())) == (4, 2)
    assert "\x1b" not in ran.err


def test_json_is_ascii_whatever_the_name(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("文档", me(), sentence=EVIL))
    ran = nbctl("ls", "--json")
    assert ran.out.isascii()
    assert json.loads(ran.out)[0]["name"] == "文档"


def test_a_name_that_the_encoding_cannot_say_is_escaped(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("文档", me()))
    ran = nbctl("ls", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert ran.code == 0
    assert "\\u6587\\u6863" in ran.out


def test_a_terminal_without_colour_gets_none(core: FakeCore, tmp_path: Path) -> None:
    core.put(notebook("train", me(), state="RUNNING"))
    with Nbctl(core.path, {"NO_COLOR": "1"}).on_terminal("ls") as terminal:
        assert "\x1b[" not in terminal.ended()[1]
    with Nbctl(core.path).on_terminal("ls") as terminal:
        assert "\x1b[32m● RUNNING\x1b[0m" in terminal.ended()[1]


def test_a_table_fits_the_terminal(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("文" * 12, me(), state="FAILED", sentence="a long story " * 20))
    with Nbctl(core.path, {"NO_COLOR": "1"}).on_terminal("ls", columns=60) as terminal:
        lines = terminal.ended()[1].split("\r\n")
    assert all(len(line) + line.count("文") <= 60 for line in lines)
    assert lines[1].endswith("…")


def test_a_reader_that_leaves_is_no_failure(core: FakeCore, nbctl: Nbctl) -> None:
    for number in range(300):
        core.put(notebook(f"n{number}", me(), id=f"n{number}", sentence="x" * 300))
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(nbctl.command("ls"), env=nbctl.environment, stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")


def test_a_full_disk_is_told(nbctl: Nbctl) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(nbctl.command("status"), env=nbctl.environment, stdout=full, stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr == b"nbctl: the output cannot be written: No space left on device\n"
