"""The pages of a home over real sockets: what they tell, what they ask of core, what nobody can make them do."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from html import unescape

import pytest

from nbd.errors import NbdError, NotFound, Unreachable
from nbd.messages import HomeView, RestoreView, RoomView, Saving, SnapshotView, TextView, UnsavedView, WaitingView
from nbd.web.homepages import MOST_COMPARED, HomePages, compared
from nbd.web.visit import Policy
from tests.doors.home_world import EARLY, LATE, MIDDLE, NASTY, ODD_QUOTED, notebook, put_home
from tests.doors.test_pages import get, post
from tests.doors.world import ADA, World, until

SNAP = f"/home/snapshots/{LATE}"
PAGES = (
    "/home", "/home/now", "/home/room", "/home/confirm", f"{SNAP}?path=work", f"{SNAP}/file?path=notes.md", f"{SNAP}/changes",
    f"{SNAP}/restore?path=work", "/home/restores/abc",
)  # fmt: skip
NEVER = re.compile("<script>alert|\x1b|\u202e|>49<")
"""What a name or a text of the person's must not become."""


@pytest.fixture
def w(w: World) -> World:
    put_home(w)
    return w


async def begun(w: World, token: str, where: str = "new", path: str = "work") -> str:
    status, location, _ = await post(w, f"{SNAP}/restore", token, what=path, where=where)
    assert status == 303, location
    return location


async def status_of(w: World, token: str) -> int:
    async with w.ask("GET", w.pages + "/", token) as answer:
        return answer.status


# who


def test_every_page_needs_a_sign_in_and_every_change_a_form_of_ours() -> None:
    routes = HomePages(None, None, None).routes()  # type: ignore[arg-type]
    assert {route.policy for route in routes if route.method == "GET"} == {Policy.SIGNED_IN}
    assert {route.policy for route in routes if route.method == "POST"} == {Policy.FORM}


@pytest.mark.parametrize("path", PAGES)
async def test_who_is_not_signed_in_learns_nothing(w: World, path: str, token: str) -> None:
    for other in ("", token):
        page = await get(w, path, other, status=401)
        assert "work" not in page.replace("network", "")
    assert w.core.kept.asked == []


@pytest.mark.parametrize("path", ["/home/confirm", f"{SNAP}/restore", "/home/restores/abc/stop"])
async def test_no_other_page_can_have_it_done(w: World, pages_token: str, path: str) -> None:
    for forged in ({"Origin": "http://evil.example"}, {"Origin": w.origin()}, {"Origin": "null"}):
        assert (await post(w, path, pages_token, headers=forged, what="work", where="place"))[0] == 403
    assert (await post(w, path, pages_token, form_token="old", what="work", where="place"))[0] == 403
    assert w.core.kept.restored == []
    assert "confirm" not in [word for word, _ in w.core.kept.asked]


async def test_no_page_is_anything_but_a_page(w: World, pages_token: str) -> None:
    """Rule 10: what is the person's is text on a page of ours, and never a file of this origin."""
    for path in PAGES[:-1]:
        async with w.ask("GET", w.pages + path, pages_token) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            assert not NEVER.search(await answer.text())


# how it is kept


async def test_a_good_day(w: World, pages_token: str) -> None:
    page = await get(w, "/home", pages_token)
    assert "Protected" in page
    assert "does not survive the loss of its disk" in page
    assert f'href="/home/snapshots/{MIDDLE}"><b>' in page
    assert "stop main" in page
    assert "12 GiB left out of snapshots, most of it <bdi>.cache/huggingface</bdi>" in page
    assert "3 snapshots in 9.0 GiB, about 0.19 USD a month" in page
    assert 'data-look="/home/now"' in page
    now = await get(w, "/home/now", pages_token)
    assert re.search(r'data-age="[2-9]\.\d"', now)


async def test_a_bad_day_says_since_when_what_is_pending_and_what_next(w: World, pages_token: str) -> None:
    assert w.core.home
    w.core.home = replace(w.core.home, trouble="the store is <away>", since=1.0, pending=("stop main",), hint="it is tried again by itself", store="s3://b")
    page = await get(w, "/home", pages_token)
    for words in ("Not protected", "The store is &lt;away&gt;.", "It is tried again by itself.", "stop main", "1970-01-01"):
        assert words in page
    assert "survives the loss of its disk" in page


async def test_what_is_on_its_way_and_what_else_there_is_to_know(w: World, pages_token: str) -> None:
    assert w.core.home
    w.core.home = replace(
        w.core.home, alarms=("two boxes worked in <this> home",), saving=Saving(1 << 20, 4 << 20), unsaved=UnsavedView(None, 1, 2, 2048),
        source="looks", source_why="the kernel does not allow it",
    )  # fmt: skip
    page = await get(w, "/home/now", pages_token)
    assert "Two boxes worked in &lt;this&gt; home." in page
    for words in ("1.0 MiB of 4.0 MiB", 'width="250"', "2 files (2.0 KiB)", "(the kernel does not allow it)"):
        assert words in page


async def test_what_waits_on_this_box_is_said_with_its_size(w: World, pages_token: str) -> None:
    assert w.core.home
    told = "not protected: in the spool on this box (3.0 MiB), not in the store yet"
    w.core.home = replace(w.core.home, waiting=WaitingView(3 << 20, 2, 1.0, "the store is away"), sentence=told)
    page = await get(w, "/home", pages_token)
    for words in ("Not in the store yet", "In the spool on this box (3.0 MiB), not in the store yet.", "3.0 MiB in 2 snapshots, the oldest of 1970"):
        assert words in page


@pytest.mark.parametrize("missing", ["snapshots", "usage"])
async def test_what_cannot_be_told_leaves_the_rest(w: World, pages_token: str, missing: str) -> None:
    w.core.kept.answers[missing] = Unreachable(f"the {missing} are <b>away</b>", hint="wait a little")
    page = await get(w, "/home", pages_token)
    assert f"The {missing} are &lt;b&gt;away&lt;/b&gt;." in page
    assert "Protected" in page
    w.core.home = None
    assert "cannot be said just now" in await get(w, "/home", pages_token)


async def test_a_home_above_its_quota_is_told_what_may_go(w: World, pages_token: str) -> None:
    room = RoomView("over", "quota", 41, 40, 5, "your home takes 41 GiB of the 40 GiB that it may take (102%)", "", refuses=True)
    w.core.kept.answers["usage"] = replace(w.core.kept.answers["usage"], room=room)
    page = await get(w, "/home", pages_token)
    assert "No notebook starts until there is room." in page
    assert 'href="/home/room#free"' in page


async def test_a_great_loss_is_shown_before_anybody_says_yes(w: World, pages_token: str) -> None:
    assert w.core.home
    w.core.home = replace(w.core.home, withheld="4 of 5 entries are gone at once")
    assert 'href="/home/confirm"' in await get(w, "/home", pages_token)
    page = await get(w, "/home/confirm", pages_token)
    assert "data&lt;/" in page
    assert "with 2 below it" in page
    assert "confirm" not in [word for word, _ in w.core.kept.asked]
    assert (await post(w, "/home/confirm", pages_token))[:2] == (303, "/home")
    assert [word for word, _ in w.core.kept.asked][-1] == "confirm"


# looking into it


async def test_names_that_nobody_should_have(w: World, pages_token: str) -> None:
    page = await get(w, f"{SNAP}?path=a/{ODD_QUOTED}", pages_token)
    assert dict(w.core.kept.asked)["ls"] == {"snapshot": LATE, "path": "a/\udcff\n\x1b[2J"}
    links = [unescape(link) for link in re.findall(rf'href="{SNAP}/file\?path=([^"]*)"', page)]
    assert f"a/{ODD_QUOTED}/{ODD_QUOTED}" in links
    assert len(links) == len(NASTY) + 2
    for link in links:
        await get(w, f"{SNAP}/restore?path={link}", pages_token)
    assert "\\xff\\n\\x1b[2J" in page
    assert "link: <bdi>/etc/&lt;passwd&gt;</bdi>" in page
    assert page.count("Restore…</a>") == len(links) + 2, "what was not kept cannot be restored"


async def test_a_long_folder_is_cut_and_says_so(w: World, pages_token: str) -> None:
    (first, *_) = w.core.kept.answers["ls"]
    w.core.kept.answers["ls"] = tuple(replace(first, name=f"f{number}") for number in range(1500))
    page = await get(w, SNAP, pages_token)
    assert page.count("<tr") == 1001
    assert "500 more" in page


@pytest.mark.parametrize("bad", ["/home/snapshots/LATEST", "/home/snapshots/..", "/home/snapshots/%2e%2e", f"{SNAP}/../x"])
async def test_what_is_no_snapshot_is_no_page(w: World, pages_token: str, bad: str) -> None:
    async with w.ask("GET", w.pages + bad, pages_token) as answer:
        assert answer.status == 404


async def test_what_core_refuses_is_said(w: World, pages_token: str) -> None:
    w.core.kept.answers["ls"] = NotFound("there is no snapshot 'zz'", hint="see: nbctl home snapshots")
    assert "There is no snapshot" in await get(w, f"{SNAP}?path=x", pages_token, status=404)
    for path in ("/home/snapshots/zz/restore?path=x", "/home/snapshots/zz/changes", f"{SNAP}/changes?since=../..", f"{SNAP}/file?path=a&against=a/b"):
        assert (await get(w, path, pages_token, status=404)).count("<h1>") == 1


async def test_an_old_text_is_text(w: World, pages_token: str) -> None:
    page = await get(w, f"{SNAP}/file?path=notes.md", pages_token)
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;\na\n" in page
    assert f'against={EARLY}">compare' in page
    page = await get(w, f"{SNAP}/file?path=notes.md&against={EARLY}", pages_token)
    assert '<span class="gone">− c\n</span><span class="added">+ a\n</span>' in page
    page = await get(w, f"{SNAP}/file?path=x/paper.ipynb", pages_token)
    assert "&lt;b&gt;x&lt;/b&gt; = 1\nprint(a)</pre>" in page
    assert "cell_type" not in page
    page = await get(w, f"{SNAP}/file?path=x/paper.ipynb&against={EARLY}", pages_token)
    assert '<span class="gone">− print(c)\n</span><span class="added">+ print(a)\n</span>' in page
    assert "It is not shown here: it is no text." in await get(w, f"{SNAP}/file?path=binary", pages_token)


def test_comparing_has_bounds() -> None:
    one = TextView("x", None, 1, 1.0, "a\n" * 5)  # type: ignore[arg-type]
    assert compared("x", one, one) == []
    assert compared("x", one, replace(one, text="y" * MOST_COMPARED)) is None
    assert compared("x", replace(one, cut=True), one) is None
    assert compared("x", one, replace(one, why_not="it is no text")) is None
    assert compared("x.ipynb", replace(one, text=notebook("1")), replace(one, text=notebook("1").replace("{", "{ "))) == []


async def test_what_changed_since_the_one_before_or_any_other(w: World, pages_token: str) -> None:
    page = await get(w, f"{SNAP}/changes", pages_token)
    assert w.core.kept.asked[-1] == ("diff", {"a": MIDDLE, "b": LATE})
    assert "was <bdi>old&lt;</bdi>" in page
    assert f"/home/snapshots/{MIDDLE}/restore?path={ODD_QUOTED}" in page, "what was deleted comes back from before"
    assert f"{SNAP}/file?path=paper.ipynb&amp;against={MIDDLE}" in page
    assert "only-its-time" not in page
    await get(w, f"{SNAP}/changes?since={EARLY}", pages_token)
    assert w.core.kept.asked[-1] == ("diff", {"a": EARLY, "b": LATE})
    assert "no earlier snapshot" in await get(w, f"/home/snapshots/{EARLY}/changes", pages_token)


# getting it back


async def test_a_restore_is_asked_about_begun_watched_and_told(w: World, pages_token: str) -> None:
    page = await get(w, f"{SNAP}/restore?path={ODD_QUOTED}", pages_token)
    (hidden,) = re.findall(r'name="what" value="([^"]*)"', page)
    assert w.core.kept.restored == []
    where = await begun(w, pages_token, path=hidden)
    await until(lambda: len(w.core.kept.restored) == 1)
    (asked,) = w.core.kept.restored
    assert (asked.path, asked.snapshot, asked.at, asked.to) == ("\udcff\n\x1b[2J", LATE, None, "")
    async with asyncio.timeout(10):
        while "3 of 10 names" not in (page := await get(w, where, pages_token)):
            await asyncio.sleep(0.01)
    assert 'width="300"' in page
    assert f'href="{where}"' in await get(w, "/home", pages_token)
    w.core.kept.go_on.set()
    async with asyncio.timeout(10):
        while "Back, but not all of it" not in (page := await get(w, where, pages_token)):
            await asyncio.sleep(0.01)
    for words in ("/home/ada/restored-x", "so&lt;ck", "9 names (2.0 GiB)", "1 were there just so"):
        assert words in page
    assert "http-equiv" not in page


async def test_who_waits_for_others_restores_is_told(w: World, pages_token: str) -> None:
    w.core.kept.steps.insert(0, RestoreView(done=False, to="/r", snapshot=SnapshotView("", 0.0, ""), waiting=1))
    del w.core.kept.steps[1]
    where = await begun(w, pages_token, path="work")
    async with asyncio.timeout(10):
        while "It waits for 1 other restore to end." not in await get(w, where, pages_token):
            await asyncio.sleep(0.01)
    w.core.kept.go_on.set()


async def test_back_to_its_place_is_the_persons_home(w: World, pages_token: str) -> None:
    await begun(w, pages_token, where="place")
    await until(lambda: len(w.core.kept.restored) == 1)
    assert (w.core.kept.restored[0].path, w.core.kept.restored[0].to) == ("work", "/home/ada")


async def test_one_at_a_time_and_it_can_be_stopped(w: World, pages_token: str) -> None:
    where = await begun(w, pages_token)
    status, _, page = await post(w, f"{SNAP}/restore", pages_token, what="other", where="new")
    assert status == 409
    assert f'href="{where}"' in page
    assert (await post(w, where + "/stop", pages_token))[:2] == (303, where)
    await until(lambda: w.core.kept.left == 1)
    assert "The restore was stopped." in await get(w, where, pages_token)
    await begun(w, pages_token, path="other")


async def test_anothers_restore_is_nobodys_business(w: World, pages_token: str) -> None:
    where, bob = await begun(w, pages_token), w.core.sign_in("bob")
    async with asyncio.timeout(10):
        while await status_of(w, bob) == 401:  # the door hears of a sign-in a moment later
            await asyncio.sleep(0.01)
    for path in (where, "/home/restores/unknown"):
        assert "not known here any more" in await get(w, path, bob, status=404)
    assert (await post(w, where + "/stop", bob))[0] == 404
    assert "Restoring" in await get(w, where, pages_token)


@pytest.mark.parametrize("trouble", [NbdError("there is no space left to restore into", hint="make room", code="no_space")])
async def test_what_goes_wrong_is_told(w: World, pages_token: str, trouble: NbdError) -> None:
    w.core.kept.steps = [w.core.kept.steps[0], trouble]
    w.core.kept.go_on.set()
    where = await begun(w, pages_token)
    async with asyncio.timeout(10):
        while "There is no space left to restore into." not in (page := await get(w, where, pages_token)):
            await asyncio.sleep(0.01)
    assert "Make room." in page
    w.core.kept.steps = [w.core.kept.steps[0]]
    where = await begun(w, pages_token)
    async with asyncio.timeout(10):
        while "The restore was broken off." not in await get(w, where, pages_token):
            await asyncio.sleep(0.01)


async def test_where_to_must_be_said(w: World, pages_token: str) -> None:
    status, _, page = await post(w, f"{SNAP}/restore", pages_token, what="work", where="/etc")
    assert status == 400
    assert "Say where to restore to." in page
    assert w.core.kept.restored == []


async def test_the_overview_leads_here(w: World, pages_token: str) -> None:
    page = await get(w, "/", pages_token)
    assert '<a href="/home"' in page
    assert 'class="dot good"' in page
    assert "/home/room" not in page
    assert w.core.home
    w.core.home = replace(w.core.home, room=RoomView("loud", "disk", 41, 40, 5, "the disk of your home has 1.0 GiB of 1.0 TiB left"))
    page = await get(w, "/", pages_token)
    assert "The disk of your home has 1.0 GiB of 1.0 TiB left." in page
    assert 'href="/home/room"' in page
    w.core.home = HomeView("/home/ada", True, None, "/srv", "x", "", "the store is away")  # noqa: FBT003
    assert 'class="dot bad"' in await get(w, "/", pages_token)


async def test_a_notebooks_origin_has_no_home(w: World, token: str) -> None:
    async with w.ask("GET", w.origin(ADA) + "/.nbd/home", token) as answer:
        assert answer.status == 404
