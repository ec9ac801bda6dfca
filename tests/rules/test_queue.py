"""The line for cards: nobody is overtaken to his cost, nobody is served twice, nobody waits for ever."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nbd.gpus.model import GIB, Card, Lease, Request, Sharing
from nbd.gpus.queue import Waiter, leases_of, take_turns, usable

from .test_allocate import cards, clock, requests

A, B, H = Card("GPU-a", "NVIDIA RTX A4000", 16 * GIB), Card("GPU-b", "NVIDIA RTX A4000", 16 * GIB), Card("GPU-h", "NVIDIA H200", 141 * GIB)


def waiter(name: str, request: Request, since: float = 0) -> Waiter:
    return Waiter(name, f"bob/{name}", request, since)


def test_first_come_first_served() -> None:
    turn = take_turns([A], [], [waiter("one", Request()), waiter("two", Request())], clock)
    assert [(served.notebook, grant.cards) for served, grant in turn.granted] == [("one", ("GPU-a",))]
    assert [(place.waiter.notebook, place.position) for place in turn.waiting] == [("two", 1)]


def test_a_small_request_does_not_starve_a_big_one() -> None:
    busy = [Lease("GPU-a", "n", "eve/x", 0)]
    turn = take_turns([A, B], busy, [waiter("two-cards", Request(count=2), 3660), waiter("one-card", Request())], clock)
    assert turn.granted == ()
    assert "GPU-b kept for bob/two-cards, who waits since 01:01" in turn.waiting[1].refusal.summary


def test_who_takes_nothing_from_those_before_overtakes() -> None:
    busy = [Lease("GPU-a", "n", "eve/x", 0)]
    wanted = [waiter("a4000s", Request(count=2, models=("a4000",))), waiter("h200", Request(models=("h200",)))]
    turn = take_turns([A, B, H], busy, wanted, clock)
    assert [served.notebook for served, _ in turn.granted] == ["h200"]
    assert turn.waiting[0].position == 1


def test_who_can_never_be_served_keeps_nothing_from_anybody() -> None:
    turn = take_turns([A], [], [waiter("three", Request(count=3)), waiter("one", Request())], clock)
    assert [served.notebook for served, _ in turn.granted] == ["one"]
    assert not turn.waiting[0].refusal.worth_waiting


waiters = st.lists(requests, max_size=8).map(lambda asked: [waiter(f"n{number}", request) for number, request in enumerate(asked)])
holds = st.lists(st.sampled_from("abcdef"), unique=True, max_size=4).map(lambda held: [Lease(card, f"h{card}", "eve/x", 0) for card in held])


@given(cards, holds, waiters)
def test_grants_fit_together_and_take_nothing_from_those_before(present: list[Card], leases: list[Lease], line: list[Waiter]) -> None:
    turn = take_turns(present, leases, line, clock)
    everything = list(leases)
    for served, grant in turn.granted:
        everything += leases_of(served, grant, 0)
        before = [place.waiter for place in turn.waiting if line.index(place.waiter) < line.index(served) and place.refusal.worth_waiting]
        assert not any(set(usable(present, other.request)) & set(grant.cards) for other in before)
    for card in present:
        mine = [lease for lease in everything if lease.card == card.uuid]
        assert len(mine) <= 1 or all(lease.sharing is Sharing.SHARED for lease in mine)
        assert sum(lease.memory_bytes for lease in mine) <= card.memory_bytes
    everyone = [served for served, _ in turn.granted] + [place.waiter for place in turn.waiting]
    assert sorted(everyone, key=line.index) == line
    assert [place.position for place in turn.waiting] == list(range(1, len(turn.waiting) + 1))


@given(cards, waiters)
@settings(max_examples=50)
def test_everybody_who_can_be_served_is_served_once_the_holders_go(present: list[Card], line: list[Waiter]) -> None:
    healthy = [Card(card.uuid, card.name, card.memory_bytes, mig_profile=card.mig_profile) for card in present]
    possible = {w.notebook for w in line if len([c for c in usable(healthy, w.request) if c]) >= w.request.count}
    waiting, served = list(line), set[str]()
    for _ in range(len(line)):
        turn = take_turns(healthy, [], waiting, clock)
        served |= {who.notebook for who, _ in turn.granted}
        waiting = [place.waiter for place in turn.waiting]
    assert served == possible
