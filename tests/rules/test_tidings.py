"""What people are told of their homes as these change, and what the figures say: tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd.homemessages import HomeBrief, HomeEventKind
from nbd.messages import HomeView, Saving
from nbd.notebooks.figures import of_all, of_homes, of_store
from nbd.notebooks.homecoming import name, occasion, saving, waits
from nbd.notebooks.model import Notebook
from nbd.notebooks.tidings import tidings, well
from nbd.storemessages import TrafficView

Kind = HomeEventKind
WELL = HomeBrief("ada", watched=True, protected=90.0, brought="aa", dropped=3)
ROW = Notebook("nada000001", "main", "ada", "cpu", "jupyterlab", 1.0, run=7)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (None, WELL, []),
        (WELL, WELL, []),
        (WELL, replace(WELL, protected=95.0, unsaved_bytes=5), []),
        (WELL, replace(WELL, trouble="the store is away"), [Kind.TROUBLE]),
        (None, replace(WELL, trouble="the store is away"), [Kind.TROUBLE]),
        (replace(WELL, trouble="x"), replace(WELL, trouble="y"), [Kind.TROUBLE]),
        (replace(WELL, trouble="x"), replace(WELL, trouble="x"), []),
        (replace(WELL, trouble="x"), WELL, [Kind.PROTECTED]),
        (WELL, replace(WELL, spooled_bytes=5), [Kind.WAITING]),
        (replace(WELL, spooled_bytes=5), replace(WELL, spooled_bytes=9), []),
        (replace(WELL, spooled_bytes=5), WELL, [Kind.PROTECTED]),
        (WELL, replace(WELL, withheld="60 of 100 are gone"), [Kind.WITHHELD]),
        (WELL, replace(WELL, half=True), [Kind.HALF]),
        (WELL, replace(WELL, brought="bb"), [Kind.RESTORED]),
        (replace(WELL, half=True), replace(WELL, brought="bb"), [Kind.RESTORED]),
        (WELL, replace(WELL, alarms=("both are kept",)), [Kind.ALARM]),
        (WELL, replace(WELL, alarms=("damaged",), damages=("pack",)), [Kind.DAMAGED]),
        (replace(WELL, alarms=("damaged",), damages=("pack",)), WELL, [Kind.WHOLE]),
        (WELL, replace(WELL, dropped=5), [Kind.PRUNED]),
        (WELL, replace(WELL, trouble="x", withheld="y", half=True), [Kind.TROUBLE, Kind.WITHHELD, Kind.HALF]),
    ],
)
def test_what_is_told(before: HomeBrief | None, after: HomeBrief, kinds: list[Kind]) -> None:
    found = tidings(before, after, 5.0)
    assert [event.kind for event in found] == kinds
    assert all(event.text and event.person == "ada" and event.time == 5.0 for event in found)


def test_what_a_stopped_notebook_waits_for() -> None:
    assert waits(ROW, None) == waits(ROW, WELL) == ""
    assert waits(ROW, replace(WELL, pending=("stop other run 7",))) == ""
    pending = replace(WELL, pending=("save", "stop main run 7"))
    assert waits(ROW, pending) == "its home is not in the store yet"
    assert waits(ROW, replace(pending, trouble="it is away")) == "its home is not in the store yet: it is away"
    assert waits(ROW, replace(WELL, spooled_bytes=3 << 20)) == "its home waits on this box for a store that is away (3.0 MiB)"


REASONS = [("user", "stop"), ("admin", "stop"), ("editor_shutdown", "stop"), ("deleted", "delete"), (None, "stop")]


@pytest.mark.parametrize(("reason", "event"), REASONS)
def test_what_a_snapshot_is_tied_to(reason: str | None, event: str) -> None:
    assert occasion(reason) == event
    assert name(ROW) == "main run 7"


def test_how_far_a_snapshot_is() -> None:
    view = HomeView("/home/ada", watched=True, protected=1.0, store="/store", sentence="", hint="")
    assert saving("saving", None).text == saving("saving", view).text == "saving the home"
    told = saving("saving", replace(view, saving=Saving(3 << 20, 12 << 20)))
    assert (told.phase, told.text, told.fraction) == ("saving", "saving the home: 3.0 MiB of 12.0 MiB", 0.25)
    assert saving("saving", replace(view, saving=Saving(5, 0))).fraction == 1.0
    assert saving("saving", replace(view, saving=Saving(0, 0))).fraction is None


def test_figures_are_of_each_home_and_of_all_without_a_name() -> None:
    bad = HomeBrief("eve", trouble="away", withheld="x", half=True, damages=("a", "b"), spooled_bytes=7, unsaved_bytes=9, verified=40.0)
    found = {figure.name: dict(figure.values) for figure in of_homes([WELL, bad], 100.0)}
    assert found["nbd_home_protected_age_seconds"] == {("ada",): 10.0}
    assert found["nbd_home_verified_age_seconds"] == {("eve",): 60.0}
    for what, value in (("trouble", 1), ("withheld", 1), ("half", 1), ("damages", 2), ("spooled_bytes", 7), ("unsaved_bytes", 9)):
        assert found[f"nbd_home_{what}"] == {("ada",): 0, ("eve",): value}
    assert found["nbd_home_dropped_snapshots"] == {("ada",): 3, ("eve",): 0}
    (all_of_them,) = of_all([WELL, bad])
    assert dict(all_of_them.values) == {("in use",): 1, ("in trouble",): 1, ("waiting for the store",): 1, ("damaged",): 1}
    (requests, *_) = of_store([TrafficView("create", 5, 1, 100, 0, 0.5)])
    assert (requests.name, requests.values, requests.counts) == ("nbd_store_requests", ((("create",), 5),), True)


def test_one_is_one() -> None:
    for dropped, words in ((4, "1 snapshot was dropped"), (5, "2 snapshots were dropped")):
        assert [text for _, text in well(WELL, replace(WELL, dropped=dropped)) if text.startswith(words)]
