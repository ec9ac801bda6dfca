"""How a home is told on its pages: tables."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.messages import EntryView, FolderUseView, HomeView, RoomView, SnapshotView, UnsavedView, UsageView, WaitingView
from nbd.web.homewords import (
    MOST_MARKS,
    UNSAFE,
    At,
    as_lines,
    bars,
    cells,
    mood,
    neighbours,
    on_this_box,
    parts,
    plain,
    since,
    timeline,
    titled,
    unsaved,
    when,
)

GIB = 1 << 30
NOON = 1_795_176_000.0
"""Friday, 20 November 2026, 12:00 UTC."""
KEPT = HomeView("/home/ada", watched=True, protected=NOON, store="/srv", sentence="protected", hint="")


@pytest.mark.parametrize(
    ("view", "kind", "title"),
    [
        (KEPT, "good", "Protected"),
        (replace(KEPT, protected=None), "wait", "Being looked at for the first time"),
        (replace(KEPT, watched=False), "rest", "Protected"),
        (replace(KEPT, watched=False, pending=("stop main",)), "wait", "On its way"),
        (replace(KEPT, watched=False, protected=None, sentence="no notebook runs; the last snapshot is of 2026-11-20 14:05 UTC"), "rest", "At rest"),
        (replace(KEPT, watched=False, protected=None, sentence="there are no snapshots yet"), "none", "Nothing is kept yet"),
        (replace(KEPT, trouble="the store is away"), "bad", "Not protected"),
        (replace(KEPT, waiting=WaitingView(5, 1, None, ""), sentence="not protected: in the spool"), "look", "Not in the store yet"),
        (replace(KEPT, sentence="not protected: the admin of this box switched it off"), "bad", "Not protected"),
        (replace(KEPT, trouble="the home is empty", withheld="the home is empty"), "look", "Waiting for your word"),
    ],
)
def test_moods(view: HomeView, kind: str, title: str) -> None:
    found = mood(view)
    assert (found.kind, found.title, found.live) == (kind, title, kind == "good")


@pytest.mark.parametrize(("seconds", "said"), [(-3, "1 s"), (59.4, "59 s"), (60, "1 min"), (7199, "1 h"), (86400, "1 d"), (864000, "10 d")])
def test_since(seconds: float, said: str) -> None:
    assert since(seconds) == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, ""),
        (UnsavedView(NOON - 4, 1, 1, 5 << 10), "1 file (5.0 KiB), for 4 s"),
        (UnsavedView(None, 2, 3, 900), "3 files (900 B)"),
        (UnsavedView(NOON - 90, 2, None), "changes in 2 folders, for 1 min"),
        (UnsavedView(None, 0, None), "all of it is looked at"),
    ],
)
def test_what_is_not_saved_yet(found: UnsavedView | None, said: str) -> None:
    assert unsaved(replace(KEPT, unsaved=found), NOON) == said


def test_where_the_store_is() -> None:
    assert [on_this_box(store) for store in ("/srv/store", "s3://b/p", "az://c", "gs://b")] == [True, False, False, False]


# paths


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, 47}), max_size=5))
def test_a_path_survives_its_way_through_an_address(names: list[bytes]) -> None:
    at = At(b"/".join(names).decode("utf-8", "surrogateescape"))
    assert At.of(at.quoted) == at
    assert at.quoted.isascii()
    assert not UNSAFE.search(at.shown)
    at.shown.encode()
    assert [crumb.path for crumb in at.crumbs][-1:] == [at.path][: len(names)]
    assert len(at.crumbs) == len(names)


def test_what_is_below() -> None:
    odd = EntryView("caf\\xe9", "file", 0o600, 1, 1.0, quoted="caf%E9")
    assert At("a").below(odd).path == "a/caf\udce9"
    assert At("a").below(odd).shown == "a/caf\\xe9"
    assert At().below(EntryView("100%25", "file", 0o600, 1, 1.0)).quoted == "100%2525"
    assert At("a/b").parent == At("a")
    assert At("a").parent == At()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(("plain", "plain"), ("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\u202egpj.exe", "\\u202egpj.exe")),
        ("مرحبا", "مرحبا"), ("\udcff", "\\xff"), ("می‌روم", "می‌روم"),
    ],
)
def test_names_are_harmless(name: str, said: str) -> None:
    assert plain(name) == said


# the timeline


def snap(at: float, name: str = "", event: str = "save") -> SnapshotView:
    return SnapshotView(f"{at:.0f}", at, "stop" if name else event, name)


def test_days_are_told_newest_first_with_their_names() -> None:
    line = timeline([snap(NOON - 60), snap(NOON - 120, "main"), snap(NOON - 86400), snap(NOON - 40 * 86400, "old")], NOON, time.gmtime)
    assert [(day.title, day.count, [one.words for one in day.named]) for day in line.days] == [
        ("Today", 2, ["stop main"]), ("Yesterday", 1, []), ("Sun 11 Oct", 1, ["stop old"]),
    ]  # fmt: skip
    assert line.count == 4
    assert line.days[0].hours == (("11", (line.days[0].hours[0][1][0],)),)
    assert line.days[0].hours[0][1][0].clock == "11:59:00"
    assert (line.days[0].ticks, line.days[1].ticks) == (((710, True),), ((720, False),))


def test_a_busy_day_stays_readable() -> None:
    many = [snap(NOON - 3 * number) for number in range(10_000)]
    (day,) = timeline(many, NOON, time.gmtime).days
    listed = [one for _, some in day.hours for one in some]
    assert len(listed) <= MOST_MARKS
    assert day.left_out == 10_000 - len(listed)
    assert listed[0].id == many[0].id, "the newest is always there"
    assert sum(len(some) for _, some in day.hours) == len({one.id for one in listed})


def test_old_days_are_put_away_by_month() -> None:
    line = timeline([snap(NOON - 86400 * number) for number in range(60)], NOON, time.gmtime)
    assert len(line.days) == 14
    assert [(title, len(days)) for title, days in line.older] == [("November 2026", 6), ("October 2026", 31), ("September 2026", 9)]


@pytest.mark.parametrize(("hour", "title"), [(0, "Yesterday"), (23, "Yesterday")])
def test_yesterday_whatever_the_hour_is(hour: int, title: str) -> None:
    now = NOON - 12 * 3600 + hour * 3600 + 1800
    line = timeline([snap(NOON - 36 * 3600 + 1)], now, time.gmtime)
    assert line.days[0].title == title


def test_one_snapshot_in_words() -> None:
    assert titled(snap(NOON - 5, "main"), NOON, time.gmtime) == "Today 11:59:55, stop main"
    assert when(snap(NOON - 5, "main"), NOON, time.gmtime) == "today 11:59:55, stop main"
    assert when(snap(NOON - 9 * 86400), NOON, time.gmtime) == "on Wed 11 Nov 12:00:00"
    assert titled(snap(NOON - 400 * 86400), NOON, time.gmtime) == "Thu 16 Oct 2025 12:00:00"


def test_neighbours() -> None:
    three = [snap(3), snap(2), snap(1)]
    assert neighbours(three, "2") == (three[2], three[0])
    assert neighbours(three, "3") == (three[1], None)
    assert neighbours(three, "1") == (None, three[1])
    assert neighbours(three, "9") == (None, None)


# sizes


def test_folders_are_bars_in_bars() -> None:
    some = [FolderUseView("a", 10, 1, 4), FolderUseView("a/x", 3, 1, 0), FolderUseView("a/y", 7, 1, 4), FolderUseView("b", 20, 1, 0)]
    found = bars(some)
    assert [(bar.name, bar.kept, bar.excluded, [one.name for one in bar.below]) for bar in found] == [("b", 1000, 0, []), ("a", 300, 200, ["y", "x"])]
    assert bars([]) == []


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (None, (750, 250)),
        (RoomView("fine", "quota", 40, 80, 5, ""), (375, 125)),
        (RoomView("over", "quota", 40, 20, 5, ""), (750, 250)),
        (RoomView("fine", "disk", 40, 500, 60, ""), (300, 100)),
    ],
)
def test_one_bar_for_all(room: RoomView | None, widths: tuple[int, int]) -> None:
    usage = UsageView("/home/ada", 1.0, measuring=False, bytes=40, excluded_bytes=10, room=room)
    found = parts(usage)
    assert tuple(one.width for one in found) == widths
    assert found[1].x == widths[0]


# notebooks


def test_a_notebook_is_its_cells() -> None:
    text = json.dumps({"cells": [{"cell_type": "code", "execution_count": 2, "source": ["a\n", "b"]}, {"cell_type": "markdown", "source": "c"}]})
    assert [(one.kind, one.number, one.source) for one in cells(text)] == [("code", 2, "a\nb"), ("markdown", None, "c")]
    assert as_lines("x.ipynb", text) == ["# --- code", "a", "b", "# --- markdown", "c"]
    assert as_lines("x.txt", "a\nb") == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"cells": 5}', '{"cells": [5]}', "[" * 100_000, '{"cells": [{"source": 5, "cell_type": {}}]}', "\0"]
)
def test_what_is_no_notebook_breaks_nothing(text: str) -> None:
    assert len(cells(text)) <= 1
    as_lines("x.ipynb", text)
