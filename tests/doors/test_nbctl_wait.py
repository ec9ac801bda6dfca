"""start, stop, rm and logs -f: the verbs that last, watched while the test moves the notebook in core."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.messages import FailureView, NotebookView, Progress, StartRequest, Waiting
from nbd.wire import dump
from tests.fakes.nbctl_core import FakeCore, notebook
from tests.fakes.nbctl_runner import Nbctl, finished, me

LOST = FailureView("editor_exited", "the editor ended with exit code 1", "its last lines are below", ("Traceback:", "\x1b[31mno module\x1b[0m"))


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def only(core: FakeCore) -> NotebookView:
    (view,) = core.notebooks.values()
    return view


def run(core: FakeCore) -> None:
    phases = {"image": 0.1, "ready": 0.9}
    core.put(only(core), state="RUNNING", sentence="It runs.", progress=None, waiting=None, phases=phases, gpus=("NVIDIA RTX A4000",))


def test_start_waits_until_it_runs_and_says_how_to_open_it(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train", "--profile", "gpu-1", "--gpus", "1") as process:
        core.wait_for_stream()
        core.put(only(core), progress=Progress("ready", "waiting for JupyterLab"))
        run(core)
        ran = finished(process)
    assert ran.code == 0
    assert ran.out == "train is running on NVIDIA RTX A4000; it took 1.0 s.\nopen it: nbctl open train\n"
    assert ran.err == ""
    assert core.asked[0].body == dump(StartRequest("train", "gpu-1", gpus=1))


def test_start_of_what_runs_says_so_at_once(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("main", me(), state="RUNNING"))
    ran = nbctl("start")
    assert (ran.code, ran.out) == (0, "main is already running.\nopen it: nbctl open main\n")


def test_start_of_what_runs_with_something_else_says_what_and_how_to_change_it(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("main", me(), state="RUNNING"))
    ran = nbctl("start", "main", "--profile", "cpu-large", "--gpus", "2", "--editor", "code")
    has = core.notebooks["main"] if "main" in core.notebooks else next(iter(core.notebooks.values()))
    assert ran.code == 0
    assert ran.out.splitlines()[1] == (
        f"It goes on with profile {has.profile}, editor {has.editor}, gpus {len(has.gpus)}; "
        "to change that: nbctl stop main, then nbctl start main --profile cpu-large --editor code --gpus 2"
    )
    same = nbctl("start", "main", "--profile", has.profile, "--gpus", str(len(has.gpus)), "--editor", has.editor)
    assert same.out == "main is already running.\nopen it: nbctl open main\n"


def test_json_of_a_start_is_the_notebook_and_nothing_else(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train", "--json") as process:
        core.wait_for_stream()
        core.put(only(core), waiting=Waiting(2, "1 of 4 cards fits", 0.0))
        run(core)
        ran = finished(process)
    assert (ran.json["state"], ran.err) == ("RUNNING", "")


def test_detach_does_not_wait(core: FakeCore, nbctl: Nbctl) -> None:
    ran = nbctl("start", "train", "--detach")
    assert (ran.code, ran.out) == (0, "train is starting; see: nbctl show train\n")
    assert nbctl("start", "other", "--detach", "--json").json["state"] == "STARTING"


def test_a_start_that_fails_ends_with_the_cause_and_the_last_lines(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train") as process:
        core.wait_for_stream()
        core.put(only(core), state="FAILED", failure=LOST)
        ran = finished(process)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "nbctl: train did not start: the editor ended with exit code 1",
        "hint: its last lines are below",
        "  | Traceback:",
        "  | no module",
    ]


@pytest.mark.parametrize("code", [("no_capacity", 3), ("host_unfit", 1)])
def test_json_of_a_start_that_fails_is_the_error(core: FakeCore, nbctl: Nbctl, code: tuple[str, int]) -> None:
    with nbctl.begun("start", "train", "--json") as process:
        core.wait_for_stream()
        core.put(only(core), state="STOPPED", failure=FailureView(code[0], "nothing fits", "wait for it"))
        ran = finished(process)
    assert ran.code == code[1]
    assert ran.json == {"error": {"code": code[0], "message": "train did not start: nothing fits", "hint": "wait for it"}}


def test_a_start_that_somebody_stops_or_removes_is_no_success(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train") as process:
        core.wait_for_stream()
        core.put(only(core), state="STOPPING", sentence="bob stops it")
        core.put(only(core), state="STOPPED", sentence="bob stopped it")
        assert finished(process).err == "nbctl: train is STOPPED: bob stopped it\nhint: nbctl show train\n"
    with nbctl.begun("start", "train") as process:
        core.wait_for_stream(2)
        core.drop(only(core))
        ran = finished(process)
    assert (ran.code, ran.err.splitlines()[0]) == (1, "nbctl: train was removed while it started")


def test_the_place_in_the_queue_is_told_each_time_it_changes(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train", "--wait") as process:
        core.wait_for_stream()
        for place in (2, 2, 1):
            core.put(only(core), waiting=Waiting(place, "1 of 4 cards fits", 0.0))
        run(core)
        ran = finished(process)
    assert ran.err == "waiting: 2nd in line: 1 of 4 cards fits\nwaiting: 1st in line: 1 of 4 cards fits\n"
    assert core.asked[0].body["wait"] is True


def test_a_start_asked_for_during_a_stop_waits_for_both(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="STOPPING", run=1))
    with nbctl.begun("start", "train") as process:
        core.wait_for_stream()
        core.put(only(core), state="STOPPED")
        core.put(only(core), state="STARTING")
        run(core)
        assert finished(process).code == 0


def test_a_restart_of_core_in_the_middle_goes_unnoticed(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train") as process:
        core.wait_for_stream()
        core.cut()
        core.wait_for_stream(2)
        run(core)
        assert finished(process).code == 0


def test_an_admin_waits_for_a_notebook_that_the_events_do_not_tell_of(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("xl", "bob", state="RUNNING", run=1))
    with nbctl.begun("stop", "bob/xl") as process:
        core.wait(lambda: any(asked.path == f"/v1/notebooks/{only(core).id}" for asked in core.asked))
        core.put(only(core), state="STOPPED")
        ran = finished(process)
    assert (ran.code, ran.out.split(";")[0]) == (0, "bob/xl is stopped")


def test_an_interrupted_start_goes_on_and_says_so(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.begun("start", "train") as process:
        core.wait_for_stream()
        process.send_signal(signal.SIGINT)
        ran = finished(process)
    assert (ran.code, ran.err) == (130, "nbctl: nbd goes on starting train without you; see: nbctl show train\n")
    assert only(core).state == "STARTING"


def test_stop_waits_until_it_is_stopped(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="RUNNING", run=1))
    with nbctl.begun("stop", "train") as process:
        core.wait_for_stream()
        core.put(only(core), state="STOPPED")
        ran = finished(process)
    assert (ran.code, ran.out) == (0, "train is stopped; its home is kept. Start it again: nbctl start train\n")
    assert nbctl("stop", "train", "--detach").out.startswith("train is stopping;")


def test_a_stop_that_ends_in_error_says_why(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="RUNNING", run=1))
    with nbctl.begun("stop", "train") as process:
        core.wait_for_stream()
        core.put(only(core), state="ERROR", sentence="Podman does not answer", hint="systemctl status podman")
        ran = finished(process)
    assert (ran.code, ran.err) == (1, "nbctl: Podman does not answer\nhint: systemctl status podman\n")


def test_a_stop_is_done_when_somebody_has_already_started_it_again(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="RUNNING", run=1))
    with nbctl.begun("stop", "train") as process:
        core.wait_for_stream()
        core.put(only(core), state="STARTING", run=2)
        assert finished(process).code == 0


def test_rm_without_a_terminal_wants_yes(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me()))
    ran = nbctl("rm", "train")
    assert (ran.code, ran.err.splitlines()[1]) == (2, "hint: --yes removes it without asking")
    with nbctl.begun("rm", "train", "--yes") as process:
        core.wait_for_stream()
        core.drop(only(core))
        ran = finished(process)
    assert (ran.code, ran.out) == (0, f"train is removed; the home directory of {me()} is untouched.\n")


@pytest.mark.parametrize("typed", ["train", "something else"])
def test_rm_on_a_terminal_wants_the_name(core: FakeCore, nbctl: Nbctl, typed: str) -> None:
    core.put(notebook("train", me()))
    with nbctl.on_terminal("rm", "train") as terminal:
        terminal.until("Type train to remove it: ")
        terminal.type(f"{typed}\n")
        if typed == "train":
            core.wait_for_stream()
            core.drop(only(core))
        code, seen = terminal.ended()
    assert code == (0 if typed == "train" else 1)
    assert ("is removed" if typed == "train" else "nothing was removed") in seen


def test_a_terminal_shows_the_phases_and_is_left_tidy(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.on_terminal("start", "train", columns=60) as terminal:
        core.wait_for_stream()
        core.put(only(core), phases={"image": 0.1}, progress=Progress("home", "a long way to go " * 9, 0.5))
        assert "██████████░░░░░░░░░░" in terminal.until(" 50 %")
        core.put(only(core), progress=None, waiting=Waiting(3, "1 of 4 cards fits", 0.0))
        terminal.until("3rd in line")
        run(core)
        code, seen = terminal.ended()
    assert code == 0
    assert "✓\x1b[0m image" in seen
    assert "train is running on NVIDIA RTX A4000" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    assert "…" in seen


def test_a_stop_shows_how_far_the_home_is_saved_and_what_is_not(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="RUNNING"))
    with nbctl.on_terminal("stop", "train", columns=90) as terminal:
        core.wait_for_stream()
        core.put(only(core), state="STOPPING", phases={"image": 0.1}, progress=Progress("saving", "saving the home: 3.0 MiB of 12.0 MiB", 0.25))
        seen = terminal.until("3.0 MiB of 12.0 MiB")
        assert "25 %" in seen
        assert "image" not in seen
        core.put(only(core), state="STOPPED", progress=None, unsaved="its home is not in the store yet: it is away")
        code, seen = terminal.ended()
    assert code == 0
    assert "its home is not in the store yet: it is away; it goes on by itself: nbctl home status" in seen


def test_an_interrupted_terminal_has_its_cursor_back(core: FakeCore, nbctl: Nbctl) -> None:
    with nbctl.on_terminal("start", "train") as terminal:
        core.wait_for_stream()
        terminal.interrupt()
        code, seen = terminal.ended()
    assert code == 130
    assert seen.endswith("see: nbctl show train\r\n")
    assert "\x1b[?25h" in seen


def test_top_is_left_by_q(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="RUNNING"))
    with nbctl.on_terminal("top") as terminal:
        terminal.until("train")
        terminal.type("q")
        code, seen = terminal.ended()
    assert code == 0
    assert seen.endswith("\x1b[?1049l\x1b[?25h")


def test_logs_follow_until_interrupted(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("train", me(), state="RUNNING"))
    core.log = ["one"]
    with nbctl.begun("logs", "train", "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        core.write_log("two")
        assert process.stdout.readline() == "two\n"
        process.send_signal(signal.SIGINT)
        assert finished(process).code == 0
    with nbctl.begun("logs", "train", "-f", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"line": "one"}
