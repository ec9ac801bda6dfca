"""nbctl why, keep, park and its kin, and idle: what they ask, print, and exit with."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbd.cli.moments import span_of
from nbd.errors import InvalidInput
from nbd.idlemessages import (
    EvidenceView,
    HappenedView,
    HistoryView,
    LaneView,
    NextView,
    NoticeKind,
    NoticeView,
    PolicyRow,
    ReplayView,
    SpanView,
    UnknownView,
    WhyView,
)
from nbd.messages import NotebookView, Problem, Progress, Waiting
from nbd.wire import dump
from tests.fakes.nbctl_core import FakeCore, notebook
from tests.fakes.nbctl_runner import Nbctl, me

NOON = time.time() // 86400 * 86400 + 12 * 3600
POLICY = (PolicyRow("park_after", "30min", "profile gpu-small", own=True), PolicyRow("max_session", "8h", "the admin's default"))
SENTENCE = "RUNNING · active: pid 4711 python used 63 % of GPU-1a2b 4 s ago · nothing will happen before 12:32"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        core.put(notebook("train", me(), state="RUNNING", sentence="JupyterLab runs"))
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def why(**values: Any) -> WhyView:
    evidence = (
        EvidenceView("gpu", "pid 4711 python used 63 % of GPU-1a2b", 4.0, 1.0),
        EvidenceView("kernel", "train.ipynb is busy", 7800.0, 0.25),
    )
    plain = WhyView("n1", "train", me(), "RUNNING", time.time(), SENTENCE, "active", evidence=evidence, policy=POLICY)
    return replace(plain, **values)


def test_why_says_all_of_it_in_one_sentence_and_then_each_piece(core: FakeCore, nbctl: Nbctl) -> None:
    core.idle = {"GET why": why(unknown=(UnknownView("editor", "it does not answer"),), cannot={"freeze": "CRIU is missing: apt install criu"})}
    said = nbctl("why", "train")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == SENTENCE
    assert lines[2].split() == ["EVIDENCE", "SEEN", "WEIGHT", "WHAT"]
    assert lines[3].split("  ")[0] == "gpu"
    assert "4 s ago" in lines[3]
    assert lines[3].endswith("pid 4711 python used 63 % of GPU-1a2b")
    assert "2 h 10 min ago" in lines[4]
    assert "unknown" in lines[5]
    assert "it does not answer" in lines[5]
    assert "cannot freeze" in said.out
    assert "CRIU is missing: apt install criu" in said.out
    assert nbctl("why", "train", "--json").json == dump(core.idle["GET why"])


def test_why_says_what_comes_when_and_by_whose_rule(core: FakeCore, nbctl: Nbctl) -> None:
    due = time.time() + 1500.5
    text = "idle for 25 min; its GPU is given back"
    core.idle = {"GET why": why(
        verdict="idle", since=NOON, idle_seconds=1500.0, evidence=(), sentence="RUNNING · idle", shadow=True,
        next=NextView("park", "its GPU is given back", due, due - 300, "profile gpu-small"), notice=NoticeView(NoticeKind.WARN, text, due),
    )}  # fmt: skip
    said = nbctl("why", "train").out
    at = time.strftime("%H:%M", time.gmtime(due))
    for words in ("its GPU is given back, at ", at, "(in 25 min)", "profile gpu-small", text, "Shadow: it is", "announced", "whose rule"):
        assert words in said
    assert "EVIDENCE" not in said


def test_ls_and_show_tell_the_next_step(core: FakeCore, nbctl: Nbctl) -> None:
    view = core.find("train")
    assert view
    due = time.time() + 600.5
    coming = NextView("park", "its GPU is given back", due, None, "profile gpu-small")
    core.put(view, verdict="idle", next=coming, notice=NoticeView(NoticeKind.WARN, "idle for 25 min", due))
    listed = nbctl("ls").out.splitlines()[1]
    assert "idle; its GPU is given back, at " in listed
    assert "(in 10 min)" in listed
    shown = nbctl("show", "train").out
    for words in ("idle; why: nbctl why train", "its GPU is given back, at ", "idle for 25 min"):
        assert words in shown
    core.put(view, verdict="active", next=replace(coming, due=None))
    assert "given back" not in nbctl("ls").out
    core.put(view, state="PARKED", sentence="parked: its GPU is given back, its kernel kept")
    assert "PARKED" in nbctl("ls").out
    assert "its kernel kept" in nbctl("ls").out


def test_keep_and_its_end(core: FakeCore, nbctl: Nbctl) -> None:
    until = time.time() + 7200
    core.idle = {"POST keep": why(kept_until=until), "DELETE keep": why()}
    said = nbctl("keep", "train", "2h")
    assert re.fullmatch(rf"train is kept until (?:\d{{4}}-\d\d-\d\d )?{time.strftime('%H:%M', time.gmtime(until))}\.", said.out.splitlines()[0])
    assert core.asked[-1].body == {"seconds": 7200.0}
    assert nbctl("keep", "train", "--end").out.splitlines()[0] == "train is kept no longer."
    assert core.asked[-1].method == "DELETE"
    for argv in (("train",), ("train", "2h", "--end"), ("train", "soon"), ("train", "2h", "3h")):
        assert nbctl("keep", *argv).code == 2
    core.problems["POST /v1/notebooks/train/keep"] = (403, Problem("refused", "profile gpu-small allows 4 h at most", "nbctl keep train 4h"))
    refused = nbctl("keep", "train", "9h")
    assert (refused.code, refused.err) == (3, "nbctl: profile gpu-small allows 4 h at most\nhint: nbctl keep train 4h\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30min", 1800), ("2h", 7200), ("1h30min", 5400), ("2 hours", 7200), ("1.5h", 5400), ("1 day", 86400)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert span_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2x", "soon", "-2h", "2h ago", "1e9s"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InvalidInput):
        span_of(text)


def later(core: FakeCore, *steps: dict[str, Any]) -> threading.Thread:
    """What becomes of the notebook, once nbctl watches."""

    def go() -> None:
        core.wait_for_stream()
        for step in steps:
            view = core.find("train")
            assert view
            core.put(view, **step)

    thread = threading.Thread(target=go)
    thread.start()
    return thread


def view_of(core: FakeCore, **values: Any) -> NotebookView:
    view = core.find("train")
    assert view
    return core.put(view, **values)


@pytest.mark.parametrize(
    ("verb", "before", "goal", "told"),
    [
        ("park", "RUNNING", "PARKED", "train is parked: its GPU is given back, its kernel kept; give it a GPU again: nbctl unpark train"),
        ("unpark", "PARKED", "RUNNING", "train runs again; open it: nbctl open train"),
        ("freeze", "RUNNING", "FROZEN", "train is frozen: it sleeps on the disk, with its memory; bring it back: nbctl thaw train"),
        ("thaw", "FROZEN", "RUNNING", "train runs again, as it was; open it: nbctl open train"),
    ],
)
def test_a_rest_is_waited_for(core: FakeCore, nbctl: Nbctl, verb: str, before: str, goal: str, told: str) -> None:
    core.idle = {f"POST {verb}": lambda: view_of(core, state=before, progress=Progress(verb, "it goes on"))}
    waiter = later(core, {"waiting": Waiting(1, "no card is free", 1.0)}, {"waiting": None, "state": goal, "progress": None})
    said = nbctl(verb, "train")
    waiter.join()
    assert (said.code, said.out.strip()) == (0, told)
    # What is so already stays so.
    core.idle = {f"POST {verb}": lambda: view_of(core)}
    assert nbctl(verb, "train", "--json").json["state"] == goal


def test_a_rest_that_fails_says_why(core: FakeCore, nbctl: Nbctl) -> None:
    core.idle = {"POST park": lambda: view_of(core, progress=Progress("park", "it is being parked"))}
    why_not = "the driver could not take its memory: out of host memory"
    waiter = later(core, {"progress": None, "trouble": why_not})
    said = nbctl("park", "train")
    waiter.join()
    assert (said.code, said.err) == (1, f"nbctl: train is RUNNING: {why_not}\nhint: nbctl why train\n")
    core.problems["POST /v1/notebooks/train/park"] = (503, Problem("host_unfit", "no driver here can park", "nbctl doctor"))
    assert nbctl("park", "train").err == "nbctl: no driver here can park\nhint: nbctl doctor\n"


def test_who_does_not_wait_is_told_what_is_begun(core: FakeCore, nbctl: Nbctl) -> None:
    core.idle = {"POST freeze": lambda: view_of(core, sentence="JupyterLab runs; its memory is being written")}
    said = nbctl("freeze", "train", "--detach")
    assert (said.code, said.out) == (0, "train: JupyterLab runs; its memory is being written\n")


def test_the_policy_and_ones_own_word(core: FakeCore, nbctl: Nbctl) -> None:
    core.idle = {"GET why": why(), "PATCH idle": why(policy=(replace(POLICY[0], value="10min", origin="you"),))}
    shown = nbctl("idle", "show", "train").out
    assert [line.split("  ")[0] for line in shown.splitlines()[:3]] == ["SETTING", "park_after", "max_session"]
    assert "Such as: nbctl idle set train park_after=10min" in shown
    said = nbctl("idle", "set", "train", "park_after=10min", "stop_after=")
    assert core.asked[-1].body == {"settings": {"park_after": "10min", "stop_after": ""}}
    assert "you" in said.out
    for argv in (("train",), ("train", "park_after"), ("train", "=10min")):
        assert nbctl("idle", "set", *argv).code == 2


def test_the_last_day(core: FakeCore, nbctl: Nbctl) -> None:
    moods = (SpanView(NOON, NOON + 3600, "active"), SpanView(NOON + 3600, NOON + 5400, "idle"))
    lanes = (LaneView("gpu", (SpanView(NOON, NOON + 60, "pid 4711 python used 63 % of GPU-1a2b"),)),)
    core.idle = {"GET idle/history": HistoryView(NOON, NOON + 9000, moods, lanes, (HappenedView(NOON + 5100, "warn", "its GPU is given back"),))}
    lines = nbctl("idle", "history", "train").out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["active", "idle"]
    assert "1 h" in lines[1]
    assert lines[3].endswith("its GPU is given back")
    assert lines[6].split()[:2] == ["gpu", "1"]
    core.idle = {"GET idle/history": HistoryView(NOON, NOON)}
    assert nbctl("idle", "history", "train").out == "nothing was seen yet\n"


def test_a_replay_of_another_policy(core: FakeCore, nbctl: Nbctl, tmp_path: Path) -> None:
    steps = (HappenedView(NOON + 600, "park", "idle for 10 min"),)
    core.idle = {"POST idle/replay": ReplayView(NOON, NOON + 86400, steps, (), 3600.0, 0.0, note="what it would have done then, nobody knows")}
    file = tmp_path / "policy.toml"
    file.write_text('[idle]\npark_after = "10min"\n')
    said = nbctl("idle", "replay", "train", "--policy", str(file))
    assert core.asked[-1].body == {"policy": file.read_text()}
    for words in ("Under this policy its GPU would have been free for 1 h.", "park", "idle for 10 min", "would never have been free",
                  "nothing would have been done", "nobody knows"):  # fmt: skip
        assert words in said.out
    assert nbctl("idle", "replay", "train").code == 2
    for bad in (str(tmp_path), str(tmp_path / "none"), "/dev/zero"):
        assert nbctl("idle", "replay", "train", "--policy", bad).code == 2


@pytest.mark.parametrize("argv", [("why",), ("keep", "x", "2h"), ("park",), ("thaw",), ("idle", "show"), ("idle", "history")])
def test_what_is_not_yours_is_not_there(core: FakeCore, nbctl: Nbctl, argv: tuple[str, ...]) -> None:
    name = () if "x" in argv else ("x",)
    said = nbctl(*argv, *name)
    assert (said.code, said.err) == (4, "nbctl: no notebook 'x'\nhint: nbctl ls\n")
