"""What is due next, what stands in the way, which cards lead back: tables and properties, no driver."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nbd.gpus.model import GIB, Card, Lease, Sharing
from nbd.gpus.ports import CardProcess, Reading
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.park_plan import (
    CARD_MARGIN_BYTES,
    LONGEST_RETRY,
    MARGIN_BYTES,
    Aim,
    Do,
    Facts,
    Load,
    Turn,
    load_of,
    lost,
    moves_of,
    newcomers,
    next_turn,
    no_room,
    obstacle,
    retry_after,
    too_big,
    way_back,
)
from nbd.notebooks.rest.ports import CudaState, Headroom

S = CudaState
R, L, C, F, W = S.RUNNING, S.LOCKED, S.CHECKPOINTED, S.FAILED, S.BUSY
A, B = Card("GPU-aaaaaaaaaa", "A4000", 16 * GIB), Card("GPU-bbbbbbbbbb", "A4000", 16 * GIB)
ADA = Card("GPU-dddddddddd", "RTX 6000 Ada", 48 * GIB)
LEASE = Lease(A.uuid, "nb", "ada/nb", 1.0)
AFTER: Mapping[Do, CudaState] = {Do.LOCK: L, Do.CHECKPOINT: C, Do.RESTORE: L, Do.UNLOCK: R}


@pytest.mark.parametrize(
    ("states", "aim", "turn"),
    [
        ({}, Aim.PARKED, None),
        ({1: R, 2: R}, Aim.PARKED, Turn(Do.LOCK, (1, 2))),
        ({1: L, 2: R}, Aim.PARKED, Turn(Do.LOCK, (2,))),
        ({1: L, 2: L}, Aim.PARKED, Turn(Do.CHECKPOINT, (1, 2))),
        ({1: C, 2: L}, Aim.PARKED, Turn(Do.CHECKPOINT, (2,))),
        ({1: C, 2: R}, Aim.PARKED, Turn(Do.LOCK, (2,))),
        ({1: C, 2: C}, Aim.PARKED, None),
        ({1: W, 2: R}, Aim.PARKED, Turn(Do.WAIT, (1,))),
        ({1: C, 2: C}, Aim.RUNNING, Turn(Do.RESTORE, (2, 1))),
        ({1: L, 2: C}, Aim.RUNNING, Turn(Do.RESTORE, (2,))),
        ({1: L, 2: L}, Aim.RUNNING, Turn(Do.UNLOCK, (2, 1))),
        ({1: R, 2: L}, Aim.RUNNING, Turn(Do.UNLOCK, (2,))),
        ({1: R, 2: F}, Aim.RUNNING, None),
        ({1: L, 2: F}, Aim.RUNNING, Turn(Do.UNLOCK, (1,))),
        ({1: W}, Aim.RUNNING, Turn(Do.WAIT, (1,))),
    ],
)
def test_what_is_due_next(states: Mapping[int, CudaState], aim: Aim, turn: Turn | None) -> None:
    assert next_turn(states, aim) == turn


@given(some.dictionaries(some.integers(1, 9), some.sampled_from([R, L, C])), some.sampled_from(Aim))
def test_every_mixture_reaches_either_side_in_two_turns(states: dict[int, CudaState], aim: Aim) -> None:
    for _ in range(2):
        turn = next_turn(states, aim)
        if turn:
            states |= dict.fromkeys(turn.pids, AFTER[turn.do])
    assert next_turn(states, aim) is None
    assert set(states.values()) <= {C if aim is Aim.PARKED else R}


@given(some.dictionaries(some.integers(1, 9), some.sampled_from([R, L, C])), some.sampled_from(Aim))
def test_nothing_is_copied_before_all_are_locked_and_none_goes_on_before_all_are_back(states: dict[int, CudaState], aim: Aim) -> None:
    turn = next_turn(states, aim)
    if turn and turn.do is Do.CHECKPOINT:
        assert R not in states.values()
    if turn and turn.do is Do.UNLOCK:
        assert C not in states.values()


def test_who_is_lost_is_named() -> None:
    assert lost({1: R, 2: C}) == ""
    assert "pid 4" in lost({1: R, 4: F})
    assert "pids 2, 4" in lost({4: F, 2: F})


def test_what_it_has_on_its_cards() -> None:
    mine = {7: Process(7, 1), 8: Process(8, 1), 9: Process(9, 1)}
    seen = [
        CardProcess(A.uuid, 7, 3 * GIB),
        CardProcess(A.uuid, 8, None),
        CardProcess(B.uuid, 7, GIB),
        CardProcess(A.uuid, 66, 5 * GIB),
        CardProcess(A.uuid, None),
    ]
    load = load_of([A.uuid], mine, seen, [Reading(A.uuid, used_bytes=10 * GIB)])
    assert load.by_pid == {7: 3 * GIB, 8: 10 * GIB}
    assert load.by_card == {A.uuid: 13 * GIB}
    assert load.processes == (mine[7], mine[8])
    assert load_of([A.uuid, B.uuid], mine, [], []).by_card == {A.uuid: 0, B.uuid: 0}


@pytest.mark.parametrize(
    ("size", "box", "own", "promised", "fits"),
    [
        (8, 20, None, 0, True),
        (8, 20, 20, 0, True),
        (8, 8, None, 0, False),
        (8, 20, 8, 0, False),
        (8, 20, None, 12, False),
        (8, 20, -3, 0, False),
        (0, 1, 0, 0, True),
    ],
)
def test_whether_the_memory_takes_it(size: int, box: int, own: int | None, promised: int, fits: bool) -> None:  # noqa: FBT001 - a column
    text = too_big(size * GIB, Headroom(box * GIB, None if own is None else own * GIB), promised * GIB)
    assert (text == "") is fits, text


@given(some.integers(0, 1 << 40), some.integers(0, 1 << 40))
def test_what_is_admitted_leaves_a_margin(size: int, box: int) -> None:
    if not too_big(size, Headroom(box, None), 0):
        assert box - size >= MARGIN_BYTES


def facts(**other: object) -> Facts:
    given: dict[str, object] = {
        "box": "",
        "leases": (LEASE,),
        "cards": (A, B),
        "processes": (CardProcess(A.uuid, 7, GIB),),
        "states": {7: R},
        "load": Load({A.uuid: GIB}, {7: GIB}),
        "headroom": Headroom(64 * GIB, None),
    }
    return Facts(**{**given, **other})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({}, ""),
        ({"leases": ()}, "holds no GPU"),
        ({"box": "too old"}, "too old"),
        ({"leases": (Lease(A.uuid, "nb", "ada/nb", 1.0, Sharing.SHARED, GIB),)}, "is shared"),
        ({"cards": (Card(A.uuid, "A100", GIB, mig_profile="1g.5gb", parent="GPU-x"),)}, "MIG"),
        ({"processes": (CardProcess(A.uuid, None),)}, "does not say who uses it"),
        ({"processes": (CardProcess(B.uuid, None),)}, ""),
        ({"states": {7: F}}, "lost pid 7"),
        ({"refused": "managed memory"}, "managed memory"),
        ({"headroom": Headroom(GIB, None)}, "memory free"),
        ({"headroom": None}, ""),
    ],
)
def test_what_stands_in_the_way(other: dict[str, object], word: str) -> None:
    text = obstacle(facts(**other))
    assert word in text
    assert bool(text) == bool(word)


def test_who_is_still_on_the_cards() -> None:
    seen = [CardProcess(A.uuid, 7, 0), CardProcess(B.uuid, 8, 0), CardProcess(A.uuid, 99, 0)]
    assert newcomers({}, seen, {8}, {A.uuid}) == ""
    assert "pid 7" in newcomers({}, seen, {7}, {A.uuid})
    assert "pid ?" in newcomers({}, [CardProcess(A.uuid, None)], {7}, {A.uuid})
    assert "pid 7 began" in newcomers({7: R, 8: C}, [], {7, 8}, {A.uuid})


def test_the_way_back_is_its_own_cards_and_those_like_them_that_it_reaches() -> None:
    cards = (A, B, ADA)
    assert way_back({A.uuid: 1}, {A.uuid, B.uuid, ADA.uuid}, cards).only == (A.uuid, B.uuid)
    assert way_back({A.uuid: 1}, {A.uuid}, cards).only == (A.uuid,)
    assert way_back({A.uuid: 1}, {B.uuid}, ()).only == (A.uuid,)
    mixed = way_back({A.uuid: 1, ADA.uuid: 1}, {A.uuid, B.uuid, ADA.uuid}, cards)
    assert (mixed.only, mixed.count) == ((A.uuid, ADA.uuid), 2)
    assert way_back({B.uuid: 1}, {A.uuid, B.uuid}, cards).prefer == (B.uuid,)


@pytest.mark.parametrize(
    ("held", "granted", "moves"),
    [
        ("ab", "ba", {}),
        ("a", "c", {"a": "c"}),
        ("ab", "bc", {"a": "c", "b": "b"}),
        ("ab", "cd", {"a": "c", "b": "d"}),
        ("", "", {}),
    ],
)
def test_the_moves_have_every_card_or_none(held: str, granted: str, moves: Mapping[str, str]) -> None:
    assert moves_of(tuple(held), tuple(granted)) == moves


@given(some.sets(some.sampled_from("abcdefgh")), some.permutations("abcdefgh"))
def test_moves_are_a_way_from_each_card_to_a_granted_one(held: set[str], order: list[str]) -> None:
    granted = order[: len(held)]
    moves = moves_of(sorted(held), granted) or {card: card for card in held}
    assert set(moves) == held
    assert set(moves.values()) == set(granted)


def test_a_card_without_room_is_named() -> None:
    def short(used: int | None, moves: Mapping[str, str]) -> str:
        return no_room({A.uuid: 8 * GIB}, moves, (A, B), [Reading(A.uuid, used_bytes=0), Reading(B.uuid, used_bytes=used)])

    assert short(16 * GIB, {}) == ""
    assert "2 GiB free" in short(14 * GIB, {A.uuid: B.uuid})
    assert short(8 * GIB - CARD_MARGIN_BYTES, {A.uuid: B.uuid}) == ""
    assert short(8 * GIB - CARD_MARGIN_BYTES + 1, {A.uuid: B.uuid}) != ""
    assert short(None, {A.uuid: B.uuid}) == ""


def test_it_is_tried_again_ever_more_rarely() -> None:
    pauses = [retry_after(failures) for failures in range(1, 12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (30.0, LONGEST_RETRY)
