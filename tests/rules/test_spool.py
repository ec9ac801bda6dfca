"""What of a spool gets into the store's pointer: a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd.errors import Conflict, Damaged, HostUnfit, NbdError, NotFound, Refused, Unreachable
from nbd.homes.model import Listed, Root
from nbd.homes.offline import spool
from nbd.homes.offline.spool import Added


def listed(name: str, time: int) -> Listed:
    return Listed(name, time, name, "save")


ONE, TWO, THREE, FOUR = (listed(name, time) for time, name in enumerate(("one", "two", "three", "four")))
BASE = Root(1, 5, 2, ("a", "b"), (ONE,), "doomed")


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (BASE, Added((), ())),
        (Root(1, 6, 2, ("a", "b", "c"), (ONE, TWO)), Added(("c",), (TWO,))),
        (Root(1, 6, 2, ("a", "b"), (ONE, TWO)), Added((), (TWO,))),
        (Root(1, 9, 2, ("a", "b", "d"), (ONE,)), Added(("d",), ())),
        (Root(1, 9, 2, ("a", "b"), (replace(ONE, name="kept"),)), Added((), (), (replace(ONE, name="kept"),))),
        (Root(1, 9, 2, ("a", "b"), ()), Added((), ())),
    ],
)
def test_added(local: Root, expected: Added) -> None:
    assert spool.added(BASE, local) == expected


def test_merged_is_a_union_in_the_order_of_time_and_the_same_when_done_twice() -> None:
    store = Root(1, 8, 3, ("x",), (ONE, FOUR), "theirs")
    added = Added(("c",), (TWO, THREE))
    once = spool.merged(store, added)
    assert once == Root(1, 8, 3, ("x", "c"), (ONE, TWO, THREE, FOUR), "theirs")
    assert spool.merged(once, added) == once


def test_a_name_given_meanwhile_is_not_lost_and_takes_no_other_ones_place() -> None:
    plain, named = replace(ONE, name=""), replace(FOUR, name="theirs")
    added = Added((), (), (replace(ONE, name="ours"), replace(FOUR, name="ours")))
    assert spool.merged(Root(1, 8, 3, (), (plain, named)), added).snapshots == (replace(ONE, name="ours"), named)


def test_a_name_that_keeps_for_a_while_gives_way_to_one_that_keeps_for_ever() -> None:
    passing = replace(ONE, name="before a restore")
    added = Added((), (), (replace(ONE, name="of another"),))
    assert spool.merged(Root(1, 8, 3, (), (passing, FOUR)), added).snapshots == (replace(ONE, name="of another"), FOUR)


def test_a_prune_since_then_needs_proof() -> None:
    assert not spool.needs_proof(BASE, Root(1, 99, 2))
    assert spool.needs_proof(BASE, Root(1, 6, 3))


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (Unreachable("x", code="store_away"), True),
        (Unreachable("x", code="store_slow"), True),
        (HostUnfit("x", code="store_denied"), True),
        (HostUnfit("x", code="store_unfit"), True),
        (HostUnfit("x", code="spool_full"), False),
        (Unreachable("the home hangs"), False),
        (Conflict("x", code="store_changed"), False),
        (NotFound("x", code="store_missing"), False),
        (Damaged("x"), False),
        (Refused("x", code="home_missing"), False),
    ],
)
def test_which_trouble_is_the_stores(error: NbdError, away: bool) -> None:  # noqa: FBT001 - of the table
    assert spool.is_away(error) is away


def test_what_belongs_in_a_spool_and_in_which_order_it_goes_up() -> None:
    local = Root(1, 6, 2, ("a", "b", "c"), (ONE, TWO))
    keep = spool.named(local, BASE, [b"\xab"])
    assert keep == {"base", "config", "latest", "index/c", "snapshots/two", "data/ab"}
    assert spool.order([*keep, "data/cd"], {"data/cd"}) == [["data/ab"], ["index/c"], ["snapshots/two"]]
