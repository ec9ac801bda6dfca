"""Has anybody worked in a home, and what follows before a notebook starts in it; and what people are told on the way."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from nbd.errors import HostUnfit, NbdError, Unreachable
from nbd.homes.fitness import Top, fit, worked_in
from nbd.homes.model import FORMAT, HomeFacts, HomeRequest, Kind, Listed, Root
from nbd.homes.standing import Circumstances, Move, head_of, stranger, verdict
from nbd.messages import RestoreView, SnapshotView
from nbd.notebooks import homecoming

ADA = HomeRequest("ada", 1000, "/home/ada")
MINE, OTHER = Listed("aa", 1, "", "save", "here"), Listed("bb", 2, "", "stop", "there")
SKELETON = [Top(name, Kind.FILE, skeleton=True) for name in (b".bashrc", b".profile", b".bash_logout")]


@pytest.mark.parametrize(
    ("tops", "sign"),
    [
        ([], ""),
        (SKELETON, ""),
        ([*SKELETON, Top(b".bash_history", Kind.FILE), Top(b".ssh", Kind.FOLDER), Top(b"lost+found", Kind.FOLDER, own=False)], ""),
        ([Top(b".cache", Kind.FOLDER, ignored=True), Top(b"Desktop", Kind.FOLDER, empty=True), Top(b"motd", Kind.FILE, own=False)], ""),
        ([Top(b".bashrc", Kind.FILE)], ".bashrc is in it"),
        ([*SKELETON, Top(b"work", Kind.FOLDER)], "work is in it"),
        ([Top(b".jupyter", Kind.FOLDER)], ".jupyter is in it"),
        ([Top(b"caf\xe9", Kind.FILE)], "caf\\xe9 is in it"),
    ],
)
def test_a_sign_of_work(tops: list[Top], sign: str) -> None:
    assert worked_in(tops) == sign


@pytest.mark.parametrize(
    ("facts", "was_mounted", "words"),
    [
        (HomeFacts(exists=False), False, "does not exist"),
        (HomeFacts(exists=True), False, "is not a folder"),
        (HomeFacts(exists=True, is_folder=True, owner_uid=0), False, "belongs to uid 0"),
        (HomeFacts(exists=True, is_folder=True, owner_uid=1000), True, "was a mount of its own"),
    ],
)
def test_a_home_that_is_not_fit(facts: HomeFacts, *, was_mounted: bool, words: str) -> None:
    with pytest.raises(HostUnfit, match=words) as said:
        fit(ADA, facts, was_mounted=was_mounted)
    assert said.value.hint


def test_a_home_that_is_fit() -> None:
    for was_mounted, mounted in ((False, False), (False, True), (True, True)):
        facts = HomeFacts(exists=True, is_folder=True, owner_uid=1000, free_bytes=5, mounted=mounted)
        assert fit(ADA, facts, was_mounted=was_mounted).free_bytes == 5


WORKED = "work is in it"


@pytest.mark.parametrize(
    ("now", "move"),
    [
        (Circumstances(""), Move.NONE),
        (Circumstances("", None, OTHER), Move.FILL),
        (Circumstances("", MINE, MINE), Move.FILL),
        (Circumstances("", MINE, OTHER), Move.FILL),
        (Circumstances("", MINE, MINE, covered=True), Move.NONE),
        (Circumstances(WORKED, MINE, MINE), Move.NONE),
        (Circumstances(WORKED, None, OTHER), Move.PARTED),
        (Circumstances(WORKED, MINE, OTHER), Move.PROVE),
        (Circumstances(WORKED, MINE, OTHER, unchanged=True), Move.FORWARD),
        (Circumstances(WORKED, MINE, OTHER, unchanged=False), Move.PARTED),
        (Circumstances(WORKED, MINE, OTHER, told=True), Move.NONE),
        (Circumstances("", MINE, OTHER, told=True), Move.FILL),
    ],
)
def test_what_follows(now: Circumstances, move: Move) -> None:
    found = verdict(now)
    assert (found.move, bool(found.reason)) == (move, True)


def test_nothing_is_brought_over_work_that_was_not_proven_to_be_kept() -> None:
    for head, covered, unchanged in itertools.product((None, MINE, OTHER), (False, True), (None, False, True)):
        found = verdict(Circumstances(WORKED, head, OTHER, covered=covered, unchanged=unchanged))
        assert found.move is not Move.FILL
        assert found.move is not Move.FORWARD or (head is MINE and unchanged)


def test_whose_snapshots_are_whose() -> None:
    later = Listed("cc", 3, "", "save", "here")
    root = Root(FORMAT, 1, 0, snapshots=(MINE, OTHER))
    assert head_of(root, "here", "") == MINE
    assert head_of(root, "here", "bb") == OTHER
    assert head_of(root, "third", "") is None
    assert stranger(root, "here", {""}) == OTHER
    assert stranger(root, "here", {"bb"}) is None
    assert stranger(root, "there", {""}) == MINE
    assert head_of(Root(FORMAT, 1, 0, snapshots=(MINE, OTHER, later)), "here", "bb") == later
    unnamed = Root(FORMAT, 1, 0, snapshots=(Listed("dd", 1, "", "save"),))
    assert head_of(unnamed, "here", "") == unnamed.snapshots[0]


def view(**values: Any) -> RestoreView:
    return RestoreView(done=False, to="/home/ada", snapshot=SnapshotView("", 0.0, ""), **values)


def test_how_far_it_is() -> None:
    assert homecoming.progress(view()).fraction is None
    half = homecoming.progress(view(entries=900, already=300, total=2000, bytes=1 << 30, already_bytes=1 << 30, total_bytes=8 << 30))
    assert half.text == "bringing the home back: 1,200 of 2,000 files, 2.0 GiB of 8.0 GiB"
    assert half.fraction == pytest.approx((0.6 + 0.25) / 2)
    assert homecoming.progress(view(entries=5, total=4)).fraction == 1.0
    assert "3 of 4 files, 0 B of 0 B" in homecoming.progress(view(entries=3, total=4)).text


def test_a_failure_names_the_ways_out() -> None:
    away = homecoming.failed(Unreachable("the store is away", hint="look at it", code="home_not_back"), "train")
    assert (away.code, away.retryable) == ("home_not_back", True)
    assert away.hint == "look at it; wait for it: nbctl start train --wait; start on the home as it is: nbctl start train --empty-home"
    full = homecoming.failed(HostUnfit("the disk is full", code="home_not_back"), "train")
    assert "--wait" not in full.hint
    other: NbdError = HostUnfit("there is no such home", code="home_unfit")
    assert homecoming.failed(other, "train") is other
