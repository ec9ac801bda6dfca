"""The page that says why, what the pages of notebooks say of idleness, and the forms of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nbd.errors import Conflict, NbdError, Refused, Unreachable
from nbd.idlemessages import (
    EvidenceView,
    HappenedView,
    HistoryView,
    LaneView,
    NextView,
    NoticeKind,
    NoticeView,
    PolicyRow,
    SpanView,
    UnknownView,
    WhyView,
)
from nbd.messages import LeaseView, NotebookView, Progress, Waiting
from nbd.web import idlewords
from nbd.web.cookies import form_token
from tests.doors.world import ADA, BOB, World
from tests.fakes.core_api import notebook

NOW = 1_795_168_800.0
DUE = NextView("park", "its GPU is given back after 30 min of idleness", NOW + 600, NOW + 300, "profile gpu-small")
WARN = NoticeView(NoticeKind.WARN, "idle for 25 min; its GPU is given back", NOW + 600, "profile gpu-small", 7200.0)
POLICY = (PolicyRow("park_after", "30min", "profile gpu-small", own=True), PolicyRow("max_session", "8h", "the admin's default"))


def view(state: str = "RUNNING", **values: Any) -> NotebookView:
    return replace(notebook(ADA, "ada", "fold", state), **values)


def why(**values: Any) -> WhyView:
    return replace(WhyView(ADA, "fold", "ada", "RUNNING", NOW, "RUNNING · active", "active", policy=POLICY, own={"park_after": "20min"}), **values)


async def page(w: World, token: str, path: str, status: int = 200) -> str:
    async with w.ask("GET", w.pages + path, token, {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}) as answer:
        assert answer.status == status
        return re.sub(r"\s+", " ", await answer.text())


async def post(w: World, token: str, path: str, form: Mapping[str, str], *, signed: bool = True) -> tuple[int, str, str]:
    data = {"form_token": form_token(token), **form} if signed else dict(form)
    headers = {"Origin": w.pages, "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
    async with w.ask("POST", w.pages + path, token, headers, data=data) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


async def test_the_page_says_all_of_it(w: World, pages_token: str) -> None:
    w.core.idle.why = why(
        sentence="RUNNING · idle for 25 min", verdict="idle", idle_seconds=1500.0, next=DUE,
        evidence=(EvidenceView("typing", "12 messages to <a terminal>", 1560.0, 0.42),), unknown=(UnknownView("gpu", "MIG says nothing"),),
        cannot={"freeze": "CRIU is not installed"}, shadow=True,
    )  # fmt: skip
    text = await page(w, pages_token, f"/notebooks/{ADA}/why")
    for words in ("RUNNING · idle for 25 min", "25 min", "Its GPU is given back after 30 min of idleness.", "(profile gpu-small)", "Cannot freeze",
                  "CRIU is not installed.", "Typing", "12 messages to &lt;a terminal&gt;", "26 min ago", "0.42, where 1 is enough by itself",
                  "MIG says nothing.", "Shadow: it is only said", "the admin&#39;s default", 'name="own.park_after"',
                  'value="20min"', 'placeholder="30min"', "Nothing was seen yet."):  # fmt: skip
        assert words in text, words
    assert 'name="own.max_session"' not in text
    assert "freeze-" not in text, "a button for what cannot be done"


@pytest.mark.parametrize("trouble", [Unreachable("the records cannot be read", hint="look at the disk"), Conflict("not now")])
async def test_a_day_that_cannot_be_had_takes_nothing_else_away(w: World, pages_token: str, trouble: NbdError) -> None:
    w.core.idle.history = trouble
    text = await page(w, pages_token, f"/notebooks/{ADA}/why")
    assert trouble.message.capitalize() in text
    assert "The rules" in text


async def test_anothers_is_not_there(w: World, pages_token: str) -> None:
    await page(w, pages_token, f"/notebooks/{BOB}/why", 404)
    for verb in ("keep", "park", "unpark", "freeze", "thaw", "idle"):
        status, _, _ = await post(w, pages_token, f"/notebooks/{BOB}/{verb}", {"seconds": "7200", "own.park_after": "1min"})
        assert status == 404
    assert [*w.core.idle.kept, *w.core.idle.verbs, *w.core.idle.settings] == []


async def test_no_form_without_its_token(w: World, pages_token: str) -> None:
    for verb in ("keep", "park", "unpark", "freeze", "thaw", "idle"):
        status, _, _ = await post(w, pages_token, f"/notebooks/{ADA}/{verb}", {"seconds": "7200", "own.park_after": "1min"}, signed=False)
        assert status == 403
    assert [*w.core.idle.kept, *w.core.idle.verbs, *w.core.idle.settings] == []


async def test_keep_and_its_end(w: World, pages_token: str) -> None:
    assert (await post(w, pages_token, f"/notebooks/{ADA}/keep", {"seconds": "7200"}))[:2] == (303, f"/notebooks/{ADA}")
    assert (await post(w, pages_token, f"/notebooks/{ADA}/keep", {"end": "1", "from": "why"}))[:2] == (303, f"/notebooks/{ADA}/why")
    assert w.core.idle.kept == [("fold", 7200.0), ("fold", 0.0)]
    w.core.idle.trouble = Refused("profile gpu-small allows 4 h at most")
    status, _, text = await post(w, pages_token, f"/notebooks/{ADA}/keep", {"seconds": "72000"})
    assert status == 403
    assert "Profile gpu-small allows 4 h at most." in text


@pytest.mark.parametrize("verb", ["park", "unpark", "freeze", "thaw"])
async def test_what_rests_and_wakes(w: World, pages_token: str, verb: str) -> None:
    assert (await post(w, pages_token, f"/notebooks/{ADA}/{verb}", {}))[:2] == (303, f"/notebooks/{ADA}")
    assert w.core.idle.verbs == [f"{verb} fold"]
    w.core.idle.trouble = Conflict("it cannot be parked: it uses MIG")
    status, _, text = await post(w, pages_token, f"/notebooks/{ADA}/{verb}", {})
    assert status == 409
    assert "It cannot be parked: it uses MIG." in text


async def test_ones_own_word(w: World, pages_token: str) -> None:
    form = {"own.park_after": " 10min ", "own.stop_after": ""}
    assert (await post(w, pages_token, f"/notebooks/{ADA}/idle", form))[:2] == (303, f"/notebooks/{ADA}/why")
    assert w.core.idle.settings[-1].settings == {"park_after": "10min", "stop_after": ""}
    w.core.idle.trouble = Refused("2h is looser than profile gpu-small allows", hint="30min at most")
    w.core.idle.why = why()
    status, _, text = await post(w, pages_token, f"/notebooks/{ADA}/idle", {"own.park_after": "2h"})
    assert status == 403
    assert "2h is looser than profile gpu-small allows." in text
    assert 'name="own.park_after" value="2h"' in text, "what was typed is gone"
    assert (await post(w, pages_token, f"/notebooks/{ADA}/idle", {"other": "2h"}))[0] == 400


LEASE = LeaseView(("GPU-1",), "exclusive", 0, 1.0)


@pytest.mark.parametrize(
    ("seen", "buttons"),
    [
        (view(verdict="active", gpus=("A",), lease=LEASE), {"open", "stop", "park", "freeze"}),
        (view(verdict="active"), {"open", "stop", "freeze"}),
        (view(verdict="idle", next=DUE, gpus=("A",)), {"open", "stop", "keep-120", "park", "freeze"}),
        (view(verdict="idle", next=DUE, notice=replace(WARN, keep_seconds=None)), {"open", "stop", "freeze"}),
        (view(gpus=("A",), progress=Progress("park", "its GPU is being given back")), {"open", "stop"}),
        (view("PARKED"), {"open", "stop", "unpark", "freeze"}),
        (view("PARKED", waiting=Waiting(1, "no card is free", 1.0)), {"open", "stop", "freeze"}),
        (view("FROZEN"), {"open", "stop", "thaw"}),
        (view("FROZEN", progress=Progress("thaw", "it wakes", 0.5)), {"open", "stop"}),
        (view("STARTING"), {"stop"}),
        (view("STOPPED"), {"start"}),
    ],
)
async def test_a_button_for_each_legal_act_and_for_no_other(w: World, pages_token: str, seen: NotebookView, buttons: set[str]) -> None:
    w.core.put(seen, w.folder / "editor.sock")
    text = await page(w, pages_token, f"/notebooks/{ADA}")
    assert set(re.findall(rf'<button class="[^"]*" id="([a-z0-9-]+)-{ADA}"', text)) == buttons


async def test_the_list_says_what_comes_and_keeps_with_one_click(w: World, pages_token: str) -> None:
    w.core.put(view(verdict="idle", next=DUE, notice=WARN), w.folder / "editor.sock")
    text = await page(w, pages_token, "/")
    assert f"Idle for 25 min; its GPU is given back, at {idlewords.hour(NOW + 600)} (profile gpu-small)." in text
    assert f'id="keep-120-{ADA}"' in text
    assert f'href="/notebooks/{ADA}/why"' in text


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (view(verdict="idle", next=DUE), f"Idle. Its GPU is given back after 30 min of idleness, at {idlewords.hour(NOW + 600)}."),
        (view(verdict="active", next=DUE), "Active."),
        (view(verdict="unknown", next=DUE), "Unknown."),
        (view("PARKED", verdict="idle"), ""),
        (view(), ""),
    ],
)
async def test_what_is_said_without_a_notice(w: World, pages_token: str, seen: NotebookView, told: str) -> None:
    assert idlewords.standing(seen) == told
    w.core.put(seen, w.folder / "editor.sock")
    text = await page(w, pages_token, "/")
    assert f'<p class="quiet small">{told}' in text if told else "given back" not in text


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        (view(), None),
        (view(verdict="active", next=DUE), None),
        (view(verdict="idle"), None),
        (view(verdict="idle", next=DUE), 7200.0),
        (view(verdict="idle", next=DUE, notice=replace(WARN, keep_seconds=3600.0)), 3600.0),
        (view(verdict="idle", next=DUE, notice=replace(WARN, keep_seconds=None)), None),
    ],
)
def test_what_one_click_would_keep_it_for(seen: NotebookView, seconds: float | None) -> None:
    assert idlewords.keeps(seen) == seconds


def test_the_form_is_of_what_may_be_set() -> None:
    assert idlewords.forms(why()) == [("park_after", "Its GPU is given back after", "20min", "30min")]


# the picture


def day(moods: tuple[SpanView, ...] = (), *lanes: LaneView, happened: tuple[HappenedView, ...] = ()) -> HistoryView:
    return HistoryView(NOW, NOW + 86400, moods, lanes, happened)


def span(begin: float, end: float, what: str = "active", weight: float = 1.0) -> SpanView:
    return SpanView(NOW + 3600 * begin, NOW + 3600 * end, what, weight)


def test_an_empty_day_is_no_picture() -> None:
    assert idlewords.timeline(day()) is None


def test_spans_are_where_they_were() -> None:
    made = idlewords.timeline(day((span(0, 6), span(6, 12, "idle"), span(18, 24, "parked"))))
    assert made
    assert [(mark.x, mark.width, mark.kind) for mark in made.moods.marks] == [
        ("0.00%", "25.00%", "active"), ("25.00%", "25.00%", "idle"), ("75.00%", "25.00%", "parked"),
    ]  # fmt: skip
    assert made.moods.told == "active for 6 h, idle for 6 h, parked for 6 h"
    assert len(made.hours) == 8
    assert sum(mark.kind == "wide" for mark in made.hours) == 4


@pytest.mark.parametrize(("hours", "begin", "marks"), [(0.2, 0.8, 6), (1, 0, 6), (3, 0, 6), (7, 0, 7), (24, 0, 8)])
def test_a_young_notebook_is_no_dot_at_the_end_of_a_day(hours: float, begin: float, marks: int) -> None:
    made = idlewords.timeline(day((span(24 - hours, 24),)))
    assert made
    (mark,) = made.moods.marks
    assert float(mark.x.rstrip("%")) == pytest.approx(100 * begin, abs=0.3)
    assert float(mark.width.rstrip("%")) == pytest.approx(100 - 100 * begin, abs=0.3)
    assert marks - 1 <= len(made.hours) <= marks + 1


def test_a_day_of_moments_is_a_picture_of_bounded_size() -> None:
    """One keystroke each ten seconds, and one each half hour: both can be seen, and neither makes a page of megabytes."""
    busy = tuple(SpanView(NOW + at, NOW + at + 1, "typed") for at in range(0, 86400, 10))
    rare = tuple(SpanView(NOW + at, NOW + at + 1, "typed", 0.2) for at in range(0, 86400, 1800))
    made = idlewords.timeline(day((), LaneView("typing", busy), LaneView("cpu", rare)))
    assert made
    cpu, typing = made.lanes
    assert (cpu.label, typing.label) == ("CPU", "Typing")
    assert len(typing.marks) == 1
    assert len(cpu.marks) == 48
    assert {mark.kind for mark in cpu.marks} == {"weak"}
    assert all(float(mark.width.rstrip("%")) > 0 for mark in cpu.marks)
    assert typing.told.startswith("Typing: seen 8640 times, 2 h 24 min in all, last at ")


def test_marks_stay_in_the_picture_and_apart() -> None:
    made = idlewords.timeline(day((span(-5, 1), span(0.8, 3, "idle"), span(23, 40))))
    assert made
    ends = [(float(mark.x.rstrip("%")), float(mark.x.rstrip("%")) + float(mark.width.rstrip("%"))) for mark in made.moods.marks]
    assert all(0 <= begin <= end <= 100.01 for begin, end in ends)
    assert all(one[1] <= other[0] + 0.01 for one, other in pairwise(ends))


async def test_the_picture_is_told_in_words_too(w: World, pages_token: str) -> None:
    now = time.time()
    lane = LaneView("gpu", (SpanView(now - 7200, now - 3600, 'pid 4711 "python" used <63 %>'),))
    w.core.idle.history = HistoryView(now - 86400, now, (SpanView(now - 7200, now, "active"),), (lane,), (HappenedView(now - 60, "warn", "soon"),))
    text = await page(w, pages_token, f"/notebooks/{ADA}/why")
    assert 'aria-label="GPU: seen 1 times, 1 h in all' in text
    assert "&lt;63 %&gt;" in text
    assert "<63" not in text
    assert "What was announced and done" in text
    assert "Soon." in text
