"""The allocator's promises: a table for the cases people meet, properties for the rest. No mock, no clock, no I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.gpus.allocate import allocate, is_model
from nbd.gpus.model import GIB, Card, Grant, Lease, Refusal, Request, Sharing
from nbd.gpus.queue import Waiter, leases_of

SMALL, BIG = Card("GPU-a", "NVIDIA RTX A4000", 16 * GIB), Card("GPU-b", "NVIDIA H200", 141 * GIB)
BOBS = Lease("GPU-a", "ntrain", "bob/train", 50520)
CUT = Card("GPU-m", "NVIDIA A100-SXM4-80GB", 80 * GIB)
SLICE = Card("MIG-1", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 10 * GIB, mig_profile="1g.10gb", parent="GPU-m")
BIG_SLICE = Card("MIG-3", "NVIDIA A100-SXM4-80GB MIG 3g.40gb", 40 * GIB, mig_profile="3g.40gb", parent="GPU-m")


def clock(moment: float) -> str:
    return f"{int(moment) // 3600:02}:{int(moment) % 3600 // 60:02}"


@pytest.mark.parametrize(
    ("request_", "leases", "expected"),
    [
        pytest.param(Request(), [], ("GPU-a",), id="the smallest card that fits"),
        pytest.param(Request(memory_bytes=40 * GIB), [], ("GPU-b",), id="enough memory"),
        pytest.param(Request(models=("h200",)), [], ("GPU-b",), id="model by part of its name"),
        pytest.param(Request(models=("rtx4090", "a4000")), [], ("GPU-a",), id="any of several models"),
        pytest.param(Request(count=2), [], ("GPU-a", "GPU-b"), id="two cards"),
        pytest.param(Request(), [BOBS], ("GPU-b",), id="around an exclusive lease"),
        pytest.param(Request(count=0), [BOBS], (), id="no card asked for"),
        pytest.param(Request(prefer=("GPU-b",)), [], ("GPU-b",), id="the one that is preferred"),
        pytest.param(Request(prefer=("GPU-b", "GPU-a")), [], ("GPU-a",), id="one of those preferred"),
        pytest.param(Request(count=2, prefer=("GPU-b",)), [], ("GPU-b", "GPU-a"), id="the preferred one and another"),
        pytest.param(Request(prefer=("GPU-a",)), [BOBS], ("GPU-b",), id="another than the preferred one, which is taken"),
        pytest.param(Request(only=("GPU-b",)), [], ("GPU-b",), id="the only one"),
    ],
)
def test_grants(request_: Request, leases: list[Lease], expected: tuple[str, ...]) -> None:
    answer = allocate([SMALL, BIG], leases, request_, clock)
    assert isinstance(answer, Grant)
    assert answer.cards == expected


def test_a_request_for_certain_cards_waits_for_those_and_for_no_other() -> None:
    taken = allocate([SMALL, BIG], [BOBS], Request(only=("GPU-a",)), clock)
    assert isinstance(taken, Refusal)
    assert taken.worth_waiting
    gone = allocate([SMALL, BIG], [], Request(only=("GPU-x",)), clock)
    assert isinstance(gone, Refusal)
    assert not gone.worth_waiting
    assert "GPU-a is not one of those asked for" in gone.summary


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        ("rtx4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX-4090", "NVIDIA GeForce RTX 4090", True),
        ("rtx 4090", "NVIDIA GeForce RTX 4090", True),
        ("4090", "NVIDIA GeForce RTX 4090", True),
        ("geforce", "NVIDIA GeForce RTX 4090", True),
        ("a4000", "NVIDIA A40", False),
        ("a40", "NVIDIA RTX A4000", False),
        ("a100", "NVIDIA A100-SXM4-80GB", True),
        ("a100sxm4", "NVIDIA A100-SXM4-80GB", True),
        ("l40", "NVIDIA L40S", False),
        ("", "NVIDIA L40S", False),
    ],
)
def test_models(model: str, name: str, expected: bool) -> None:  # noqa: FBT001 a row of the table
    assert is_model(name, model) is expected


def test_two_cards_come_from_one_numa_node_when_that_costs_no_memory() -> None:
    four = [Card(f"GPU-{i}", "A4000", 16 * GIB, numa_node=node) for i, node in enumerate((0, 1, 1, 0))]
    answer = allocate(four, [Lease("GPU-0", "ntrain", "bob/train", 0)], Request(count=2), clock)
    assert isinstance(answer, Grant)
    assert answer.cards == ("GPU-1", "GPU-2")


def test_linked_cards_come_before_neighbours_on_a_numa_node() -> None:
    links = {0: ("GPU-3",), 3: ("GPU-0",)}
    four = [Card(f"GPU-{i}", "A6000", 48 * GIB, numa_node=i // 2, nvlink_peers=links.get(i, ())) for i in range(4)]
    answer = allocate(four, [], Request(count=2), clock)
    assert isinstance(answer, Grant)
    assert answer.cards == ("GPU-0", "GPU-3")


def test_a_clique_of_four_is_found_among_eight() -> None:
    clique = [f"GPU-{i}" for i in (1, 2, 5, 7)]
    eight = [Card(f"GPU-{i}", "V100", 32 * GIB, nvlink_peers=tuple(clique) if f"GPU-{i}" in clique else ()) for i in range(8)]
    answer = allocate(eight, [], Request(count=4), clock)
    assert isinstance(answer, Grant)
    assert sorted(answer.cards) == clique


def test_a_shared_request_joins_a_shared_card_before_it_opens_another() -> None:
    same = [Card("GPU-0", "A4000", 16 * GIB), Card("GPU-1", "A4000", 16 * GIB)]
    lease = Lease("GPU-1", "neda", "bob/eda", 0, Sharing.SHARED, 4 * GIB)
    answer = allocate(same, [lease], Request(sharing=Sharing.SHARED, memory_bytes=8 * GIB), clock)
    assert isinstance(answer, Grant)
    assert answer.cards == ("GPU-1",)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(Request(), ("GPU-z",), id="a whole-card request gets no instance and no cut card"),
        pytest.param(Request(mig_profile="1g.10gb"), ("MIG-1",), id="the profile asked for"),
        pytest.param(Request(mig_profile="3G.40GB", models=("a100",)), ("MIG-3",), id="the model is the parent's"),
        pytest.param(Request(mig_profile="2g.20gb"), None, id="no instance of that profile"),
    ],
)
def test_mig(request_: Request, expected: tuple[str, ...] | None) -> None:
    answer = allocate([CUT, SLICE, BIG_SLICE, Card("GPU-z", "NVIDIA H200", 141 * GIB)], [], request_, clock)
    assert (answer.cards if isinstance(answer, Grant) else None) == expected


def test_an_instance_of_a_quarantined_card_is_out_of_service_too() -> None:
    cut = Card(CUT.uuid, CUT.name, CUT.memory_bytes, quarantine="GPU is lost")
    answer = allocate([cut, SLICE], [], Request(mig_profile="1g.10gb"), clock)
    assert isinstance(answer, Refusal)
    assert answer.obstacles[1].reason == "is out of service: GPU is lost"


def test_a_refusal_reads_as_people_speak() -> None:
    cards = [Card(f"GPU-{str(i) * 8}-0000", "NVIDIA RTX A4000", 12 * GIB) for i in range(1, 5)]
    leases = [
        Lease(cards[0].uuid, "ntrain", "bob/train", 14 * 3600 + 2 * 60),
        Lease(cards[1].uuid, "neda", "ann/eda", 0, Sharing.SHARED, 3 * GIB),
    ]
    answer = allocate(cards, leases, Request(count=3, memory_bytes=10 * GIB, sharing=Sharing.SHARED), clock)
    assert isinstance(answer, Refusal)
    assert answer.summary == ("2 of 4 cards fit, 3 asked for: GPU-11111111 leased by bob/train since 14:02; GPU-22222222 has 9 of 12 GiB free")
    assert answer.worth_waiting


@pytest.mark.parametrize(
    ("request_", "leases", "worth"),
    [
        pytest.param(Request(memory_bytes=20 * GIB, models=("a4000",)), [], False, id="no card is ever big enough"),
        pytest.param(Request(count=3), [], False, id="more cards than the box has"),
        pytest.param(Request(count=2), [BOBS], True, id="somebody holds one"),
        pytest.param(Request(count=3), [BOBS], False, id="more than the box has, and somebody holds one"),
    ],
)
def test_waiting_helps_only_where_enough_cards_could_ever_fit(request_: Request, leases: list[Lease], worth: bool) -> None:  # noqa: FBT001
    answer = allocate([SMALL, BIG], leases, request_, clock)
    assert isinstance(answer, Refusal)
    assert answer.worth_waiting is worth
    assert ("Waiting does not help" in answer.summary) is not worth


def test_a_box_without_cards_says_so() -> None:
    answer = allocate([], [], Request(), clock)
    assert isinstance(answer, Refusal)
    assert not answer.worth_waiting
    assert "no GPU" in answer.summary


def test_memory_that_nobody_knows_is_not_zero_and_not_enough() -> None:
    spark = Card("GPU-s", "NVIDIA GB10", 0, memory_known=False)
    assert isinstance(allocate([spark], [], Request(), clock), Grant)
    refusal = allocate([spark], [], Request(memory_bytes=GIB), clock)
    assert isinstance(refusal, Refusal)
    assert "does not say how much memory" in refusal.summary


NAMES = ["NVIDIA RTX A4000", "NVIDIA H200"]
cards = st.lists(
    st.builds(
        Card,
        uuid=st.sampled_from("abcdef"),
        name=st.sampled_from(NAMES),
        memory_bytes=st.integers(1, 8),
        numa_node=st.integers(-1, 1),
        nvlink_peers=st.lists(st.sampled_from("abcdef"), max_size=2).map(tuple),
        mig_profile=st.sampled_from([None, None, None, "1g.10gb"]),
        parent=st.sampled_from([None, None, None, "a"]),
        quarantine=st.sampled_from([None, None, "lost"]),
    ),
    unique_by=lambda card: card.uuid,
)
requests = st.builds(
    Request,
    count=st.integers(1, 3),
    models=st.sampled_from([(), ("h200",)]),
    memory_bytes=st.integers(0, 8),
    sharing=st.sampled_from(Sharing),
    mig_profile=st.sampled_from([None, None, "1g.10gb"]),
)


def serves(card: Card, present: list[Card], leases: list[Lease], request: Request) -> bool:
    """The rule, written down a second time and as plainly as possible: what the allocator is measured against."""
    mine = [lease for lease in leases if lease.card == card.uuid]
    cut = any(other.parent == card.uuid for other in present)
    out = card.quarantine or any(other.quarantine for other in present if other.uuid == card.parent)
    shares = request.sharing is Sharing.SHARED and all(lease.sharing is Sharing.SHARED for lease in mine)
    return (
        not cut
        and not out
        and card.mig_profile == request.mig_profile
        and (not request.models or card.name == NAMES[1])
        and (not mine or shares)
        and sum(lease.memory_bytes for lease in mine) + request.memory_bytes <= card.memory_bytes
    )


@given(cards, st.lists(requests, max_size=12))
def test_whatever_is_asked_in_a_row_nothing_is_promised_twice(present: list[Card], asked: list[Request]) -> None:
    leases: list[Lease] = []
    for number, request in enumerate(asked):
        answer = allocate(present, leases, request, clock)
        fitting = {card.uuid for card in present if serves(card, present, leases, request)}
        if isinstance(answer, Refusal):
            assert len(fitting) < request.count
            assert {obstacle.card for obstacle in answer.obstacles} == {card.uuid for card in present} - fitting
            continue
        assert len(set(answer.cards)) == request.count
        assert set(answer.cards) <= fitting
        leases += leases_of(Waiter(f"n{number}", f"bob/{number}", request, 0), answer, 0)
    for card in present:
        mine = [lease for lease in leases if lease.card == card.uuid]
        assert len(mine) <= 1 or all(lease.sharing is Sharing.SHARED for lease in mine)
        assert sum(lease.memory_bytes for lease in mine) <= card.memory_bytes


@given(cards, requests)
def test_the_same_question_has_the_same_answer_in_any_order(present: list[Card], request: Request) -> None:
    one, other = allocate(present, [], request, clock), allocate(present[::-1], [], request, clock)
    assert isinstance(one, Refusal) or one == other
