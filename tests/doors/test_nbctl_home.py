"""nbctl home: what it asks, prints, and exits with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.cli.homes import below
from nbd.cli.moments import moment_of
from nbd.errors import InvalidInput
from nbd.messages import (
    CulpritView,
    DifferenceView,
    EntryView,
    ExcludedView,
    FolderUseView,
    GoneView,
    HomeView,
    LossView,
    Problem,
    ProblemAnswer,
    RestoreRequest,
    RestoreView,
    RoomView,
    SnapshotView,
    Unkept,
    UsageView,
    VerifyView,
    VersionView,
)
from nbd.wire import dump
from tests.fakes.nbctl_core import FakeCore
from tests.fakes.nbctl_runner import Nbctl, me

ID = "0123456789abcdef" * 4
NOW = time.mktime((2026, 11, 20, 15, 0, 0, 0, 0, -1))
TAKEN = SnapshotView(ID, 1_795_168_800.0, "stop", "main")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def test_status_says_up_to_when_or_why_not(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"": HomeView("/home/ada", watched=True, protected=time.time() - 41, store="/srv/store", sentence="protected", hint="")}
    said = nbctl("home", "status")
    assert said.code == 0
    assert "/home/ada  protected 4" in said.out.splitlines()[0]
    assert "/srv/store  (on this box: does not survive the loss of its disk)" in said.out
    unkept = (Unkept("run/sock", "belongs to uid 0"),)
    sentence = "not protected: the store is away"
    core.home = {"": HomeView("/home/ada", True, None, "s3://b", sentence, "wait", "the store is away", time.time() - 90, ("stop main",), unkept, 1)}  # noqa: FBT003
    said = nbctl("home", "status")
    for word in ("not protected: the store is away", "hint: wait", "stop main", "run/sock: belongs to uid 0", "1 min ago"):
        assert word in said.out
    assert nbctl("home", "status", "--json").json == dump(core.home[""])


def test_status_says_how_full_the_home_is(core: FakeCore, nbctl: Nbctl) -> None:
    room = RoomView("over", "quota", 41, 40, 5, "your home takes 41 GiB of the 40 GiB that it may take (102%)", "this frees room: pip cache purge")
    core.home = {"": HomeView("/home/ada", watched=True, protected=time.time(), store="s3://b", sentence="protected", hint="", room=room)}
    said = nbctl("home", "status")
    assert "room               your home takes 41 GiB of the 40 GiB" in said.out
    assert "hint: this frees room: pip cache purge" in said.out
    assert "does not survive" not in said.out


def test_snapshots_entries_and_differences_are_tables(core: FakeCore, nbctl: Nbctl) -> None:
    entries = (
        EntryView("a\x1b[2J", "file", 0o640, 3500, 1.0),
        EntryView("work", "folder", 0o700, 12, 1.0),
        EntryView("to", "link", 0o777, 0, 1.0, "work"),
    )
    core.home = {"snapshots": (TAKEN,), "ls": entries, "diff": (DifferenceView("renamed", "new", "old"), DifferenceView("added", "x"))}
    assert nbctl("home", "snapshots").out.splitlines()[1].split()[0] == ID[:12]
    said = nbctl("home", "ls", ID[:6], "a b/ü")
    assert core.asked[-1].query == {"snapshot": ID[:6], "path": "a b/ü"}
    assert "-rw-r-----" in said.out
    assert "3.4 KiB" in said.out
    assert "12 in it" in said.out
    assert "\x1b[2J" not in said.out
    said = nbctl("home", "diff", ID[:6])
    assert core.asked[-1].query == {"a": ID[:6], "b": "latest"}
    assert "was old" in said.out
    core.home = {"snapshots": (), "diff": ()}
    assert nbctl("home", "snapshots").err.startswith("no snapshots")
    assert (nbctl("home", "diff", "a", "b").err, nbctl("home", "diff", "a", "--json").json) == ("no difference\n", [])


def test_a_restore_asks_for_what_was_said_and_tells_what_came_back(core: FakeCore, nbctl: Nbctl) -> None:
    step, last = RestoreView(False, "/home/ada/r", TAKEN, 1), RestoreView(True, "/home/ada/r", TAKEN, 3, 2048, 1)  # noqa: FBT003
    core.home = {"restore": [step, last]}
    said = nbctl("home", "restore", "work", "--at", "90min", "--to", "rel")
    assert said.code == 0
    assert "3 names (2.0 KiB) are back in /home/ada/r, from snapshot 0123456789ab" in said.out
    body = core.asked[-1].body
    assert (body["path"], body["to"], body["snapshot"]) == ("work", str(Path("rel").absolute()), "")
    assert abs(body["at"] - (time.time() - 5400)) < 60
    assert nbctl("home", "restore", ".", "--json").json == dump(last)
    assert core.asked[-1].body == dump(RestoreRequest("."))


def test_what_did_not_come_back_is_said_and_is_exit_code_1(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"restore": [RestoreView(True, "/r", TAKEN, 1, skipped=(Unkept("s", "a socket"),), damaged=(Unkept("d", "is not what was stored"),))]}  # noqa: FBT003
    said = nbctl("home", "restore", ".")
    assert said.code == 1
    assert "damaged: d: is not what was stored" in said.err
    assert "not restored: s: a socket" in said.err
    core.home = {"restore": [ProblemAnswer(Problem("not_found", "no snapshot has work", "see: nbctl home snapshots"))]}
    assert (nbctl("home", "restore", "work").code, nbctl("home", "restore", "work", "--at", "noon").code) == (4, 2)
    core.home = {"restore": [RestoreView(False, "/r", TAKEN)]}  # noqa: FBT003
    assert nbctl("home", "restore", "work").code == 5


def test_verify(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"verify": VerifyView(True, 3, 4, 5 << 20)}  # noqa: FBT003
    said = nbctl("home", "verify")
    assert (said.code, said.out) == (0, "all is as it was stored: 3 snapshots, 4 packs, 5.0 MiB\n")
    core.home = {"verify": VerifyView(False, 3, 4, 5, ("pack ab is not in the store",), ("work/paper",))}  # noqa: FBT003
    said = nbctl("home", "verify")
    assert said.code == 1
    assert "cannot be restored: work/paper" in said.out


def test_many_snapshots_are_shown_as_many_as_one_can_read(core: FakeCore, nbctl: Nbctl) -> None:
    many = (*(SnapshotView(f"{number:064x}", NOW - 60 * number, "save") for number in range(999)), SnapshotView("f" * 64, 1.0, "stop", "old"))
    core.home = {"snapshots": many}
    said = nbctl("home", "snapshots")
    assert len(said.out.splitlines()) == 1 + 40 + 1
    assert "old" in said.out.splitlines()[-1]
    assert "959 older ones without a name: --all" in said.err
    assert len(nbctl("home", "snapshots", "--all").out.splitlines()) == 1001
    assert len(nbctl("home", "snapshots", "--json").json) == 1000
    assert nbctl("home", "snapshots", "--ids").out.splitlines()[1] == many[1].id[:12]


def test_what_differs_is_told_without_the_noise_of_folders(core: FakeCore, nbctl: Nbctl) -> None:
    folder = DifferenceView("changed", "work", "", "folder", 3, 4)
    file, gone = DifferenceView("changed", "work/a", "", "file", 1024, 3 << 20), DifferenceView("deleted", "work/b", "", "file", 5, None)
    core.home = {"diff": (folder, file, gone)}
    said = nbctl("home", "diff", "a")
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["~", "changed", "work/a", "1.0", "KiB", "->", "3.0", "MiB"], ["-", "deleted", "work/b", "5", "B"],
    ]  # fmt: skip
    assert "and of 1 folder the times or rights" in said.err
    core.home = {"diff": (folder,)}
    assert nbctl("home", "diff", "a").err == "only of 1 folder the times or rights\n"
    assert len(nbctl("home", "diff", "a", "--json").json) == 1


def test_the_states_of_a_file(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"versions": (VersionView(TAKEN, TAKEN, "file", 2048, 1.0), VersionView(TAKEN, TAKEN, ""))}
    said = nbctl("home", "versions", "a\udcff")
    assert core.asked[-1].query == {"path": "a\ufffd"}, "the fake reads UTF-8; what was sent is %FF"
    assert "2.0 KiB" in said.out
    assert "was not there" in said.out
    core.home = {"versions": ()}
    assert nbctl("home", "versions", "never").err.startswith("no snapshot has it")


USAGE = UsageView(
    "/home/ada", NOW, measuring=False, bytes=40 << 30, files=108_000, excluded_bytes=12 << 30, unseen=2, snapshots=3, stored=9 << 30,
    cost="about 0.19 USD a month", room=RoomView("warn", "quota", 40 << 30, 48 << 30, 5, "your home takes 40 GiB of the 48 GiB"),
    folders=(
        FolderUseView(".cache", 12 << 30, 9, 12 << 30), FolderUseView(".cache/huggingface", 11 << 30, 5, 11 << 30),
        FolderUseView("data", 20 << 30, 9, 0),
    ),
    excluded=(ExcludedView(".cache/huggingface", "/.cache/", 11 << 30, 5),),
    culprits=(CulpritView("Hugging Face cache", ".cache/huggingface", 11 << 30, "fetched again", "rm -rf -- /home/ada/.cache/huggingface"),),
)  # fmt: skip


def test_usage_says_what_takes_the_room(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"usage": USAGE}
    said = nbctl("home", "usage")
    assert said.code == 0
    assert "/home/ada  40 GiB in 108,000 files" in said.out
    told = ("your home takes 40 GiB", "9.0 GiB in 3 snapshots, about 0.19 USD a month", "2 folders of others", "12 GiB excluded from snapshots")
    for words in told:
        assert words in said.out
    assert [line.split()[-1] for line in said.out.splitlines() if line.endswith("/")][:3] == ["data/", ".cache/", "huggingface/"]
    assert "rm -rf -- /home/ada/.cache/huggingface" in said.out
    assert nbctl("home", "usage", "--json").json == dump(USAGE)


def test_a_home_that_is_being_weighed_is_waited_for(core: FakeCore, nbctl: Nbctl) -> None:
    answers = iter([UsageView("/home/ada", None, measuring=True), UsageView("/home/ada", None, measuring=True), USAGE])
    core.home = {"usage": lambda: next(answers)}
    assert nbctl("home", "usage", "--json").json["bytes"] == 40 << 30
    core.home = {"usage": UsageView("/home/ada", None, measuring=False, trouble="the home cannot be opened")}
    said = nbctl("home", "usage")
    assert (said.code, said.err.splitlines()[0]) == (1, "nbctl: the home cannot be opened")


def test_a_confirmation_shows_what_goes_and_asks(core: FakeCore, nbctl: Nbctl) -> None:
    view = HomeView("/home/ada", watched=True, protected=time.time(), store="/s", sentence="protected", hint="")
    core.home = {"losses": LossView(12, (GoneView("data", "folder", 11), GoneView("a\x1b", "file", 1))), "confirm": view}
    said = nbctl("home", "confirm")
    assert (said.code, "--yes" in said.err) == (2, True)
    for answer, code in (("n", 1), ("y", 0)):
        with nbctl.on_terminal("home", "confirm") as terminal:
            seen = terminal.until("Is it meant? [y/N]")
            for words in ("12 names are in the newest snapshot", "with 10 below it", "a\\x1b"):
                assert words in seen
            terminal.type(answer + "\n")
            assert terminal.ended()[0] == code
        assert [one.path for one in core.asked].count("/v1/home/confirm") == (code == 0)
    assert nbctl("home", "confirm", "--yes").code == 0


def test_back_to_its_place_is_asked_about(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"restore": [RestoreView(True, "/r", TAKEN, 1)]}  # noqa: FBT003
    assert nbctl("home", "restore", "work", "--in-place").code == 2
    assert nbctl("home", "restore", "work", "--in-place", "--to", "x", "--yes").code == 2
    assert core.asked == []
    with nbctl.on_terminal("home", "restore", "work", "--in-place") as terminal:
        terminal.until("is replaced.")
        terminal.type("\n")
        assert terminal.ended()[0] == 1
    assert core.asked == []
    assert nbctl("home", "restore", "work", "--in-place", "--yes").code == 0
    assert core.asked[-1].body["to"] == str(Path(f"~{me()}").expanduser())


def test_how_far_a_restore_is_is_seen_on_a_terminal_alone(core: FakeCore, nbctl: Nbctl) -> None:
    steps = [RestoreView(False, "/r", TAKEN, 30, 1 << 20, total=100), RestoreView(True, "/r", TAKEN, 100, 3 << 20, total=100)]  # noqa: FBT003
    core.home = {"restore": [RestoreView(False, "/r", TAKEN, waiting=2), *steps]}  # noqa: FBT003
    with nbctl.on_terminal("home", "restore", "work") as terminal:
        terminal.until("waiting for 2 other restores to end")
        seen = terminal.until("30 of 100 names, 1.0 MiB")
        assert " 30%" in seen
        assert terminal.ended()[0] == 0
    assert "restoring" not in nbctl("home", "restore", "work").err


# paths and moments


def test_a_path_is_meant_from_where_one_stands(tmp_path: Path) -> None:
    home, real = str(tmp_path / "ada"), tmp_path / "ada"
    (real / "work").mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    for path, here, meant in (
        ("paper", f"{home}/work", "work/paper"), ("../paper", f"{home}/work", "paper"), (".", home, ""), (".", f"{home}/work", "work"),
        (".config", home, ".config"), ("paper", "/tmp", "paper"), ("paper", f"{home}x", "paper"), ("~/paper", f"{home}/work", "~/paper"),
        (f"{home}/gone/paper", "/", "gone/paper"), (f"{tmp_path}/link/paper", "/", "paper"), (home, "/", ""), ("/etc/passwd", home, "/etc/passwd"),
        ("../../x", f"{home}/work", "../../x"), ("a\udcff", f"{home}/work", "work/a\udcff"), ("gone/deep", f"{home}/work", "work/gone/deep"),
    ):  # fmt: skip
        assert below(path, home, here) == meant, (path, here)


def test_a_link_is_restored_and_not_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "to").symlink_to("work")
    assert below("to", str(tmp_path), str(tmp_path)) == "to"
    assert below("to/paper", str(tmp_path), str(tmp_path)) == "work/paper"


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("14:05", (20, 14, 5, 0)), ("14:05:09", (20, 14, 5, 9)), ("15:30", (19, 15, 30, 0)), ("today 15:30", (20, 15, 30, 0)),
        ("yesterday 14:05", (19, 14, 5, 0)), ("Yesterday 9:07", (19, 9, 7, 0)), ("wednesday 08:00", (18, 8, 0, 0)), ("fri 14:05", (13, 14, 5, 0)),
        ("2026-11-20 14:00", (20, 14, 0, 0)), ("2026-11-19T14:00:01", (19, 14, 0, 1)), ("90min", (20, 13, 30, 0)), ("2 d", (18, 15, 0, 0)),
        ("1 hour ago", (20, 14, 0, 0)), ("30s", (20, 14, 59, 30)), ("90 seconds ago", (20, 14, 58, 30)), ("1 week ago", (13, 15, 0, 0)),
    ],
)  # fmt: skip
def test_moments(text: str, then: tuple[int, int, int, int]) -> None:
    assert moment_of(text, NOW) == time.mktime((2026, 11, then[0], *then[1:], 0, 0, -1))


@pytest.mark.parametrize(("text", "day"), [("2026-11-19", 19), ("yesterday", 19), ("monday", 16), ("mon", 16)])
def test_a_day_is_meant_to_its_end(text: str, day: int) -> None:
    assert moment_of(text, NOW) == time.mktime((2026, 11, day + 1, 0, 0, 0, 0, 0, -1)) - 0.000001
    assert moment_of("today", NOW) == NOW


@pytest.mark.parametrize(("text", "seconds"), [("2026-11-20T14:05:00Z", 1_795_183_500), ("2026-11-20T14:05:00+02:00", 1_795_176_300)])
def test_moments_with_a_zone_of_their_own(text: str, seconds: int) -> None:
    assert moment_of(text, NOW) == seconds


def test_a_moment_is_of_the_persons_clock(core: FakeCore, nbctl: Nbctl) -> None:
    core.home = {"restore": [RestoreView(True, "/r", TAKEN, 1)]}  # noqa: FBT003
    nbctl("home", "restore", "x", "--at", "2026-11-20 14:05", TZ="Asia/Tokyo")
    assert core.asked[-1].body["at"] == 1_795_183_500 - 9 * 3600


@pytest.mark.parametrize("text", ["", "noon", "25:00", "-1h", "2026-13-01", "yesterday noon", "tomorrow", "5 fortnights", "monday x"])
def test_no_moments(text: str) -> None:
    with pytest.raises(InvalidInput):
        moment_of(text, NOW)
