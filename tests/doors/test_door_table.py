"""Who may pass, as a table; and what the door believes while core talks, falls silent and comes back. No socket but the last one's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.messages import DoorEvent, DoorKind, SignIn
from nbd.unixdoor import Place
from nbd.web.access import Ask, Row, Why, asked_for, authorise, same_origin_post
from nbd.web.cookies import digest, may_set, tokens, without_mine
from nbd.web.origins import Origins
from nbd.web.settings import DoorSettings, loopback_aliases
from nbd.web.table import SILENCE_SECONDS, DoorTable
from nbd.webdoor import listen_on, require_c_parser
from tests.fakes.core_api import notebook, person

NOW = 1000.0
ADA, BOB = "nada000001", "nbob000001"
OWN, PAGES = f"http://{ADA}.localhost:8686", "http://localhost:8686"
NOTEBOOKS = {ADA: Row(notebook(ADA, "ada", "fold"), Place("/run/a", 1000)), BOB: Row(notebook(BOB, "bob", "train"))}
SIGN_INS = {
    digest(token): SignIn(digest(token), person(name), expires, at)
    for token, name, expires, at in (
        ("ada-notebook", "ada", NOW + 1, ADA),
        ("ada-pages", "ada", NOW + 1, None),
        ("ada-late", "ada", NOW, ADA),
        ("ada-at-bobs", "ada", NOW + 1, BOB),
        ("bob-at-adas", "bob", NOW + 1, ADA),
        ("bob-notebook", "bob", NOW + 1, BOB),
        ("ada-gone", "ada", NOW + 1, "ngone00000"),
    )
}
NOTEBOOK = Ask(OWN, ADA, ("ada-notebook",))
UPGRADE = NOTEBOOK._replace(upgrade=True, origin=OWN)


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        pytest.param(NOTEBOOK, Why.ALLOWED, id="her own notebook"),
        pytest.param(Ask(PAGES, "", ("ada-pages",)), Why.ALLOWED, id="the pages"),
        pytest.param(NOTEBOOK._replace(tokens=("junk", "ada-notebook")), Why.ALLOWED, id="beside a cookie that is nothing"),
        pytest.param(NOTEBOOK._replace(tokens=("ada-pages", "ada-notebook")), Why.ALLOWED, id="beside a cookie for elsewhere"),
        pytest.param(NOTEBOOK._replace(tokens=("ada-late", "ada-notebook")), Why.ALLOWED, id="beside an expired one"),
        pytest.param(NOTEBOOK._replace(tokens=()), Why.NOT_SIGNED_IN, id="no cookie"),
        pytest.param(NOTEBOOK._replace(tokens=("junk",)), Why.NOT_SIGNED_IN, id="forged"),
        pytest.param(NOTEBOOK._replace(tokens=(digest("ada-notebook"),)), Why.NOT_SIGNED_IN, id="the hash is not the token"),
        pytest.param(NOTEBOOK._replace(tokens=("ada-late",)), Why.EXPIRED, id="expired this very moment"),
        pytest.param(NOTEBOOK._replace(tokens=("ada-pages",)), Why.NOT_SIGNED_IN, id="the pages' cookie on a notebook"),
        pytest.param(Ask(PAGES, "", ("ada-notebook",)), Why.NOT_SIGNED_IN, id="a notebook's cookie on the pages"),
        pytest.param(NOTEBOOK._replace(tokens=("ada-at-bobs",)), Why.NOT_SIGNED_IN, id="another notebook's cookie"),
        pytest.param(NOTEBOOK._replace(tokens=("bob-at-adas",)), Why.NOT_YOURS, id="signed in there, but not the owner"),
        pytest.param(NOTEBOOK._replace(tokens=("ada-notebook", "bob-at-adas")), Why.TWO_PEOPLE, id="two people at once"),
        pytest.param(Ask("x", "ngone00000", ("ada-gone",)), Why.NOT_YOURS, id="a notebook that is gone"),
        pytest.param(UPGRADE, Why.ALLOWED, id="upgrade"),
        pytest.param(UPGRADE._replace(origin=None), Why.FOREIGN_ORIGIN, id="upgrade without an Origin"),
        pytest.param(UPGRADE._replace(origin=PAGES), Why.FOREIGN_ORIGIN, id="upgrade from the pages"),
        pytest.param(UPGRADE._replace(origin=OWN + "."), Why.FOREIGN_ORIGIN, id="upgrade from nearly there"),
        pytest.param(UPGRADE._replace(origin=OWN + ".evil.example"), Why.FOREIGN_ORIGIN, id="upgrade, own as prefix"),
        pytest.param(UPGRADE._replace(tokens=("bob-at-adas",)), Why.NOT_YOURS, id="upgrade, not the owner"),
        pytest.param(NOTEBOOK._replace(method="POST", origin=OWN, site="same-origin"), Why.ALLOWED, id="own post"),
        pytest.param(NOTEBOOK._replace(method="POST"), Why.ALLOWED, id="a program's post"),
        pytest.param(NOTEBOOK._replace(method="POST", origin="null"), Why.FOREIGN_ORIGIN, id="post from nowhere"),
        pytest.param(NOTEBOOK._replace(method="PUT", origin=PAGES, site="same-site"), Why.FOREIGN_ORIGIN, id="put from a sibling"),
        pytest.param(NOTEBOOK._replace(site="cross-site", mode="no-cors", dest="image"), Why.FOREIGN_ORIGIN, id="embedded elsewhere"),
        pytest.param(NOTEBOOK._replace(site="same-site", mode="navigate", dest="iframe"), Why.FOREIGN_ORIGIN, id="framed by a sibling"),
        pytest.param(NOTEBOOK._replace(site="cross-site", mode="navigate", dest="document"), Why.ALLOWED, id="a link followed"),
        pytest.param(NOTEBOOK._replace(site="none", mode="navigate", dest="document"), Why.ALLOWED, id="typed"),
    ],
)
def test_who_may_pass(ask: Ask, why: Why) -> None:
    decision = authorise(ask, SIGN_INS, NOTEBOOKS, NOW)
    assert decision.why is why
    assert (decision.row is not None) == (why is Why.ALLOWED and bool(ask.notebook))


@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize("token", ["ada-notebook", "ada-pages", "ada-late", "ada-at-bobs", "bob-at-adas", "bob-notebook", "ada-gone", "junk"])
@pytest.mark.parametrize("at", ["", ADA, BOB, "ngone00000", "nnever0000"])
def test_every_token_opens_its_one_place(upgrade: bool, token: str, at: str) -> None:  # noqa: FBT001
    origin = f"http://{at}.localhost:8686" if at else PAGES
    decision = authorise(Ask(origin, at, (token,), upgrade=upgrade, origin=origin), SIGN_INS, NOTEBOOKS, NOW)
    assert decision.allowed == ((token, at) in {("ada-notebook", ADA), ("bob-notebook", BOB), ("ada-pages", "")})


@pytest.mark.parametrize(
    ("origin", "site", "ours"),
    [
        (PAGES, "same-origin", True),
        (PAGES, None, True),
        (None, "same-origin", True),
        (None, None, False),
        (None, "none", False),
        ("null", "same-origin", False),
        (OWN, "same-site", False),
        (PAGES, "cross-site", False),
        (PAGES.upper(), "same-origin", False),
    ],
)
def test_which_forms_are_ours(origin: str | None, site: str | None, ours: bool) -> None:  # noqa: FBT001
    assert same_origin_post(Ask(PAGES, "", (), "POST", origin=origin, site=site)) == ours


@pytest.mark.parametrize(
    ("site", "referer", "asked"),
    [
        ("none", None, True),
        (None, None, True),
        ("same-origin", None, True),
        ("cross-site", PAGES + "/", True),
        ("same-site", PAGES, True),
        ("cross-site", None, False),
        ("same-site", None, False),
        ("none", "http://evil.example/", False),
        (None, "http://evil.example/", False),
        ("cross-site", PAGES + ".evil.example/", False),
        ("cross-site", "http://localhost:8686@evil.example/", False),
        ("cross-site", f"http://{BOB}.localhost:8686/", False),
        ("cross-site", "nonsense", False),
    ],
)
def test_which_links_the_person_asked_for(site: str | None, referer: str | None, asked: bool) -> None:  # noqa: FBT001
    assert asked_for(site, referer, frozenset({PAGES, OWN})) == asked


@pytest.mark.parametrize(
    ("host", "which"),
    [
        ("localhost:8686", ""),
        ("LOCALHOST:8686", ""),
        ("127.0.0.1:8686", ""),
        (f"{ADA}.localhost:8686", ADA),
        (f"{ADA.upper()}.localhost:8686", ADA),
        (f"{ADA}.127.0.0.1:8686", None),
        (f"{ADA}.localhost", None),
        ("localhost", None),
        ("evil.example:8686", None),
        ("nada00000.localhost:8686", None),
        ("", None),
    ],
)
def test_which_host_is_whose(host: str, which: str | None) -> None:
    assert Origins("http", "localhost", 8686, frozenset({"127.0.0.1"})).which(host) == which


def test_a_default_port_is_not_written() -> None:
    origins = DoorSettings(Path("/x"), "0.0.0.0:8686", "nbd.lab.example", "https").origins(8686)
    assert origins.notebook(ADA) == f"https://{ADA}.nbd.lab.example"
    assert origins.which(f"{ADA}.nbd.lab.example") == ADA
    assert origins.which("0.0.0.0") is None


@pytest.mark.parametrize(
    ("host", "aliases"), [("127.0.0.1", {"127.0.0.1"}), ("::1", {"[::1]"}), ("0.0.0.0", set()), ("box", set()), ("10.0.0.1", set())]
)
def test_only_loopback_addresses_are_names_of_the_pages(host: str, aliases: set[str]) -> None:
    assert loopback_aliases(host) == aliases


def test_cookies_of_the_door_are_told_from_others() -> None:
    assert tokens("a=1; nbd_session=" + "t" * 20 + "; xnbd_session=no; nbd_session=short", "nbd_session") == ("t" * 20,)
    assert without_mine(b"a=1; nbd_session=x; __Host-nbd_session=y; NBD_=z; xnbd_=kept") == b"a=1; xnbd_=kept"
    assert without_mine(b"nbd_session=x") == b""
    assert may_set(b"_xsrf=1; Path=/; HttpOnly")
    for bad in (
        b"nbd_session=1",
        b"__Secure-NBD_x=1",
        b"a=1; Domain=localhost",
        b"a=1;domain = .localhost",
        b"a=1; DOMAIN",
        b"nonsense",
        b" nbd_x=1",
    ):
        assert not may_set(bad)


class World:
    """A table with a clock in hand, and what its watchers were told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.table = DoorTable(lambda: self.now)
        self.told: list[DoorEvent] = []
        self.table.watch(self.tell)

    def tell(self, events: Collection[DoorEvent]) -> None:
        self.told += events

    def sync(self, *events: DoorEvent) -> None:
        self.table.begin()
        for event in (*events, DoorEvent(DoorKind.SYNCED)):
            self.table.apply(event)


SIGN_IN = DoorEvent(DoorKind.SIGN_IN, "k", sign_in=SignIn("k", person("ada"), NOW, None))
RUNS = DoorEvent(DoorKind.NOTEBOOK, ADA, notebook=NOTEBOOKS[ADA].view, socket="/run/a", owner_uid=1000)


async def test_nothing_is_believed_before_the_whole_table_is_there() -> None:
    w = World()
    assert not w.table.fresh()
    w.table.begin()
    w.table.apply(SIGN_IN)
    assert not w.table.fresh()
    assert not w.table.sign_ins
    w.table.apply(DoorEvent(DoorKind.SYNCED))
    assert w.table.fresh()
    assert list(w.table.sign_ins) == ["k"]


async def test_silence_ends_trust_and_a_word_restores_it() -> None:
    w = World()
    w.sync(SIGN_IN)
    w.now += SILENCE_SECONDS
    assert w.table.fresh()
    w.now += 0.1
    assert not w.table.fresh()
    waiting = asyncio.create_task(w.table.wait_fresh(5))
    await asyncio.sleep(0)
    w.table.heard()
    assert await waiting


async def test_a_lost_subscription_is_not_believed_for_a_moment() -> None:
    w = World()
    w.sync(SIGN_IN)
    w.table.lost()
    assert not w.table.fresh()
    assert not await w.table.wait_fresh(0.01)


async def test_what_ended_unheard_is_told_after_the_next_table() -> None:
    w = World()
    w.sync(SIGN_IN, RUNS)
    w.told.clear()
    w.table.lost()
    w.sync(replace(RUNS, socket=None, owner_uid=None))
    assert [(event.kind, event.key, event.socket) for event in w.told] == [(DoorKind.SIGN_OUT, "k", None), (DoorKind.NOTEBOOK, ADA, None)]
    assert not w.table.sign_ins


async def test_each_change_is_told_after_it_is_true() -> None:
    w = World()
    w.sync()
    seen: list[Place | None] = []
    stop = w.table.watch(lambda events: seen.extend(w.table.notebooks[event.key].place for event in events))
    w.table.apply(RUNS)
    stop()
    w.table.apply(DoorEvent(DoorKind.NOTEBOOK_GONE, ADA))
    assert seen == [Place("/run/a", 1000)]
    assert not w.table.notebooks


def test_the_door_does_not_open_on_the_python_parser() -> None:
    require_c_parser()
    command = [sys.executable, "-c", "from nbd.webdoor import require_c_parser; require_c_parser()"]
    ended = subprocess.run(command, env={"AIOHTTP_NO_EXTENSIONS": "1"}, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "C parser" in ended.stderr


def test_an_address_that_is_taken_is_said() -> None:
    with listen_on(DoorSettings(Path("/x"), "127.0.0.1:0")) as taken:
        taken.listen()
        with pytest.raises(HostUnfit, match="cannot listen on"):
            listen_on(DoorSettings(Path("/x"), f"127.0.0.1:{taken.getsockname()[1]}"))
