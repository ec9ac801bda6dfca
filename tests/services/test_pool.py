"""The pool over fakes: many ask at once, a driver fails, a process does not let go, a line moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from nbd.errors import Deadline, HostUnfit, NoCapacity
from nbd.gpus.model import GIB, Card, Grant, Lease, Refusal, Request, Sharing
from nbd.gpus.pool import Pool, clock_text
from nbd.gpus.ports import CardProcess, DriverFacts, SpecProblem
from tests.fakes.driver import FakeDriver, FakeSpecs
from tests.fakes.leases import MemoryLeases

A, B = Card("GPU-a", "NVIDIA RTX A4000", 16 * GIB), Card("GPU-b", "NVIDIA RTX A4000", 16 * GIB)
NOW = 1_700_000_000.0
STALE = SpecProblem("cdi_stale", "the CDI spec is of driver 535", "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")


class Line:
    """What one waiter was told, and his task."""

    def __init__(self, pool: Pool, name: str, request: Request) -> None:
        self.told: list[tuple[int, str]] = []
        self.task = asyncio.ensure_future(pool.wait(name, f"bob/{name}", request, lambda *place: self.told.append(place)))


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver(A, B)


@pytest.fixture
def specs() -> FakeSpecs:
    return FakeSpecs()


@pytest.fixture
def store() -> MemoryLeases:
    return MemoryLeases()


@pytest.fixture
def pool(driver: FakeDriver, store: MemoryLeases, specs: FakeSpecs) -> Pool:
    """One that is moved by what happens in it alone."""
    return Pool(driver, store, specs, wall_clock=lambda: NOW, recheck_seconds=3600)


@pytest.fixture
def watchful(driver: FakeDriver, store: MemoryLeases, specs: FakeSpecs) -> Pool:
    return Pool(driver, store, specs, wall_clock=lambda: NOW, recheck_seconds=0.01)


async def lease(pool: Pool, name: str, request: Request | None = None) -> Grant | Refusal:
    return await pool.lease(name, f"bob/{name}", request or Request())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


async def test_ten_ask_at_once_for_two_cards(pool: Pool) -> None:
    answers = await asyncio.gather(*(lease(pool, f"n{i}") for i in range(10)))
    granted = [answer.cards for answer in answers if isinstance(answer, Grant)]
    assert sorted(granted) == [("GPU-a",), ("GPU-b",)]
    assert sum(isinstance(answer, Refusal) for answer in answers) == 8


async def test_asking_again_gives_the_same_cards(pool: Pool) -> None:
    first, again = await lease(pool, "n"), await lease(pool, "n")
    assert isinstance(first, Grant)
    assert isinstance(again, Grant)
    assert first.cards == again.cards


async def test_a_preview_records_nothing(pool: Pool, store: MemoryLeases) -> None:
    assert isinstance(await pool.preview(Request(count=2)), Grant)
    assert isinstance(await pool.preview(Request(count=3)), Refusal)
    assert await store.leases() == ()


async def test_a_card_with_a_process_of_the_notebook_stays_leased(pool: Pool, driver: FakeDriver) -> None:
    await lease(pool, "n")
    driver.running = [CardProcess("GPU-a", pid=4711), CardProcess("GPU-b", pid=1)]
    assert await pool.release("n", pids={4711}) == ("GPU-a",)
    driver.running = []
    assert await pool.release("n", pids={4711}) == ()
    assert isinstance(await lease(pool, "other", Request(count=2)), Grant)


async def test_a_card_that_does_not_say_who_is_on_it_stays_leased(pool: Pool, driver: FakeDriver) -> None:
    await lease(pool, "n", Request(count=2))
    driver.lose("GPU-a")
    assert await pool.release("n", pids=set()) == ("GPU-a",)


async def test_a_silent_driver_frees_nothing(pool: Pool, driver: FakeDriver) -> None:
    await lease(pool, "n", Request(count=2))
    driver.failure = Deadline("the NVIDIA driver did not answer")
    with pytest.raises(Deadline):
        await pool.release("n", pids=set())
    driver.failure = None
    assert isinstance(await lease(pool, "other"), Refusal)


async def test_without_a_fresh_cdi_spec_nothing_is_leased(pool: Pool, specs: FakeSpecs, store: MemoryLeases) -> None:
    specs.wrong = STALE
    for ask in (lease(pool, "n"), pool.preview(Request()), pool.wait("n", "bob/n", Request(), lambda *_: None)):
        with pytest.raises(HostUnfit) as caught:
            await ask
        assert (caught.value.code, caught.value.hint) == ("cdi_stale", STALE.hint)
    assert await store.leases() == ()


async def test_the_line_moves_when_a_card_comes_free(pool: Pool) -> None:
    await lease(pool, "holder", Request(count=2))
    one, two = Line(pool, "one", Request()), Line(pool, "two", Request(count=2))
    await until(lambda: bool(one.told and two.told))
    assert one.told[0][0] == 1
    assert "leased by bob/holder since" in one.told[0][1]
    assert two.told[0][0] == 2

    assert await pool.release("holder", pids=set()) == ()
    assert (await one.task).cards == ("GPU-a",)
    assert two.told[-1][0] == 1
    assert await pool.release("one", pids=set()) == ()
    assert (await two.task).cards == ("GPU-a", "GPU-b")


async def test_nobody_gets_past_the_line_by_not_standing_in_it(pool: Pool) -> None:
    await lease(pool, "holder")
    big = Line(pool, "big", Request(count=2))
    await until(lambda: bool(big.told))
    answer = await lease(pool, "sly")
    assert isinstance(answer, Refusal)
    assert "kept for bob/big" in answer.summary
    assert isinstance(await pool.preview(Request()), Refusal)
    await pool.release("holder", pids=set())
    assert (await big.task).cards == ("GPU-a", "GPU-b")


async def test_who_is_cancelled_leaves_the_line_to_the_next(pool: Pool, store: MemoryLeases) -> None:
    await lease(pool, "holder")
    big, small = Line(pool, "big", Request(count=2)), Line(pool, "small", Request())
    await until(lambda: bool(big.told and small.told))
    big.task.cancel()
    assert (await small.task).cards == ("GPU-b",)
    assert {held.notebook for held in await store.leases()} == {"holder", "small"}
    assert (await pool.survey()).waiters == ()


async def test_who_is_cancelled_just_when_served_leaves_no_lease(pool: Pool, store: MemoryLeases) -> None:
    await lease(pool, "holder", Request(count=2))
    one = Line(pool, "one", Request())
    await until(lambda: bool(one.told))
    await pool.release("holder", pids=set())
    one.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one.task
    assert await store.leases() == ()


async def test_who_can_never_be_served_is_told_at_once(pool: Pool) -> None:
    with pytest.raises(NoCapacity, match="0 of 2 cards fit"):
        await pool.wait("n", "bob/n", Request(models=("h200",)), lambda *_: None)
    assert (await pool.survey()).waiters == ()


async def test_a_box_without_gpus_says_why(pool: Pool, driver: FakeDriver) -> None:
    driver.present, driver.facts = [], DriverFacts(None, simulated=False, reason="no NVIDIA driver: libnvidia-ml.so.1 is not installed")
    expected = "this box has no GPU to use: no NVIDIA driver: libnvidia-ml.so.1 is not installed"
    for answer in (await lease(pool, "n"), await pool.preview(Request())):
        assert isinstance(answer, Refusal)
        assert answer.summary == expected
    with pytest.raises(NoCapacity) as caught:
        await pool.wait("n", "bob/n", Request(), lambda *_: None)
    assert caught.value.message == expected


async def test_waiting_with_a_lease_already_held_is_over_at_once(pool: Pool) -> None:
    await lease(pool, "n")
    assert (await pool.wait("n", "bob/n", Request(), lambda *_: None)).cards == ("GPU-a",)


async def test_who_was_leased_to_while_waiting_gets_nothing_on_top(pool: Pool, driver: FakeDriver, store: MemoryLeases) -> None:
    driver.present.append(Card("GPU-h", "NVIDIA H200", 141 * GIB))
    await lease(pool, "holder")
    one = Line(pool, "one", Request(count=2, models=("a4000",)))
    await until(lambda: bool(one.told))
    assert isinstance(await lease(pool, "one", Request(models=("h200",))), Grant)
    await pool.release("holder", pids=set())
    assert (await one.task).cards == ("GPU-h",)
    assert [held.card for held in await store.leases()] == ["GPU-h"]


async def test_a_silent_driver_costs_nobody_his_place(watchful: Pool, driver: FakeDriver) -> None:
    await lease(watchful, "holder", Request(count=2))
    one, two = Line(watchful, "one", Request()), Line(watchful, "two", Request())
    await until(lambda: bool(one.told and two.told))
    driver.failure = Deadline("the NVIDIA driver did not answer")
    await until(lambda: "did not answer" in one.told[-1][1])
    driver.failure, driver.present = None, []
    await until(lambda: "no GPU" in one.told[-1][1])
    driver.present = [A, B]
    await watchful.release("holder", pids=set())
    assert (await one.task).cards == ("GPU-a",)
    assert (await two.task).cards == ("GPU-b",)


async def test_a_card_that_appears_is_noticed_by_who_waits(watchful: Pool, driver: FakeDriver) -> None:
    await lease(watchful, "holder", Request(count=2))
    one = Line(watchful, "one", Request())
    await until(lambda: bool(one.told))
    driver.present.append(Card("GPU-c", "NVIDIA RTX A4000", 16 * GIB))
    assert (await one.task).cards == ("GPU-c",)


async def test_who_waits_is_told_when_the_last_card_that_could_serve_him_has_gone(watchful: Pool, driver: FakeDriver) -> None:
    await lease(watchful, "holder", Request(count=2))
    one = Line(watchful, "one", Request(count=2))
    await until(lambda: bool(one.told))
    driver.present = [A]
    with pytest.raises(NoCapacity, match="Waiting does not help"):
        await one.task


async def test_a_quarantined_card_is_handed_out_again_after_lifting(pool: Pool) -> None:
    await pool.quarantine("GPU-a", "pid 4711 does not let go")
    refusal = await lease(pool, "n", Request(count=2))
    assert isinstance(refusal, Refusal)
    assert "GPU-a is out of service: pid 4711 does not let go" in refusal.summary
    one = Line(pool, "one", Request(count=2))
    await until(lambda: bool(one.told))
    await pool.lift("GPU-a")
    assert (await one.task).cards == ("GPU-a", "GPU-b")


async def test_leases_are_rebuilt_from_what_runs(pool: Pool, store: MemoryLeases) -> None:
    known, lost = Lease("GPU-a", "n", "bob/n", 1.0), Lease("GPU-b", "n", "bob/n", 1.0)
    await store.replace("n", [known])
    await pool.rebuild([known, lost])
    assert set(await store.leases()) == {known, lost}
    assert (await pool.survey()).quarantines == {}


@pytest.mark.parametrize("second", [Sharing.EXCLUSIVE, Sharing.SHARED])
async def test_a_card_that_two_containers_claim_is_quarantined(pool: Pool, store: MemoryLeases, second: Sharing) -> None:
    await store.replace("n", [Lease("GPU-a", "n", "bob/n", 1.0)])
    await pool.rebuild([Lease("GPU-a", "m", "eve/m", 1.0, second)])
    assert len(await store.leases()) == 2
    assert (await pool.survey()).quarantines == {"GPU-a": "claimed by bob/n and eve/m at once"}


async def test_the_survey_has_it_all(pool: Pool, driver: FakeDriver) -> None:
    await lease(pool, "holder", Request(count=2))
    await pool.quarantine("GPU-b", "hot")
    driver.running = [CardProcess("GPU-a", 4711, GIB)]
    one = Line(pool, "one", Request())
    await until(lambda: bool(one.told))
    survey = await pool.survey()
    assert [(card.uuid, card.quarantine) for card in survey.cards] == [("GPU-a", None), ("GPU-b", "hot")]
    assert [held.card for held in survey.leases] == ["GPU-a", "GPU-b"]
    assert [waiter.holder for waiter in survey.waiters] == ["bob/one"]
    assert survey.processes == (CardProcess("GPU-a", 4711, GIB),)
    assert survey.driver.reason == ""
    one.task.cancel()
    await asyncio.wait({one.task})


async def test_the_survey_of_a_silent_driver_has_the_reason_and_the_leases(pool: Pool, driver: FakeDriver) -> None:
    await lease(pool, "holder")
    driver.failure = Deadline("the NVIDIA driver did not answer")
    survey = await pool.survey()
    assert survey.cards == ()
    assert len(survey.leases) == 1
    assert survey.driver.reason == "the NVIDIA driver did not answer"


def test_times_are_told_as_people_do() -> None:
    text = clock_text(NOW)
    assert len(text(NOW - 60)) == len("14:02")
    assert len(text(NOW - 3 * 86400)) == len("11 Nov 14:02")
