"""Each wrapper's own promise, over a store that is made to misbehave: what is proven, what is tried again and how often, who waits for whom."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd.config import HomeSettings
from nbd.errors import Conflict, HostUnfit, NbdError, Unreachable
from nbd.homes.ports import Versioned
from nbd.homes.stores.bandwidth import Limits, Window
from nbd.homes.stores.traffic import Count, Counts
from nbd.host.counting import CountingStore
from nbd.host.limiting import ConcurrentStore, Lines, ThrottledStore
from nbd.host.retrying import RetryingStore
from nbd.host.stores import stores_of
from nbd.host.verifying import VerifyingStore
from nbd.host.wrapping import Clock
from nbd.values import rate, rates
from tests.fakes.object_store import MemoryStore

MIB = 1 << 20
Harm = Callable[[bytes], bytes]
LARGE = bytes(range(256)) * 4096


class Dream(Clock):
    """A clock on which sleeping is what time passes by."""

    def __init__(self) -> None:
        self.seconds, self.slept = 0.0, list[float]()

    def now(self) -> float:
        return self.seconds

    def minute(self) -> float:
        return 7 * 60 + 59 + self.seconds / 60

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class Damaging(MemoryStore):
    """Says that all is well, and keeps something else at the puts that `spoiled` says. `tag`: what it calls a version of these bytes."""

    def __init__(self, spoiled: Callable[[int], bool], tag: Callable[[bytes], str], harm: Harm = lambda data: data[: len(data) // 2]) -> None:
        super().__init__()
        self.spoiled, self.tag, self.harm, self.puts = spoiled, tag, harm, 0

    def _set(self, key: str, data: bytes) -> str:
        self.puts += 1
        kept = self.harm(data) if self.spoiled(self.puts) else data
        super()._set(key, kept)
        self._versions[key] = f"{self.tag(kept)}\n{self.puts}"
        return self._versions[key]


def md5(data: bytes) -> str:
    return '"' + hashlib.md5(data).hexdigest() + '"'


def opaque(data: bytes) -> str:
    return '"0x8DC5E4E8B0A7F10"'


TAGS = {"as S3": md5, "as Azure": opaque, "as S3 with a key service": lambda data: '"' + "0" * 32 + '"', "none": lambda data: ""}
HARMS: dict[str, Harm] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"x",
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
@pytest.mark.parametrize("data", [b"small one", LARGE], ids=["small", "large"])
async def test_a_damaged_write_is_found_and_mended(tag: Callable[[bytes], str], harm: Harm, data: bytes) -> None:
    """Every second put is damaged, whatever the store says of it."""
    inner = Damaging(lambda number: number % 2 == 1, tag, harm)
    store = VerifyingStore(inner)
    await store.create("data/ab", data)
    assert inner.objects["data/ab"] == data
    version = await store.replace("latest", data, None)
    assert inner.objects["latest"] == data
    assert await store.fetch("latest") == Versioned(data, version)
    version = await store.replace("latest", data + b"2", version)
    assert await store.fetch("latest") == (data + b"2", version)


async def test_what_lies_in_the_middle_is_found_by_reading_it_all() -> None:
    def harm(data: bytes) -> bytes:
        return data[:1000] + b"\0" + data[1001:]

    for read_back, expected in ((False, False), (True, True)):
        inner = Damaging(lambda number: number == 1, opaque, harm)
        await VerifyingStore(inner, read_back=read_back).create("data/ab", LARGE)
        assert (inner.objects["data/ab"] == LARGE) is expected
    inner = Damaging(lambda number: number == 1, md5, harm)
    await VerifyingStore(inner).create("data/ab", LARGE)
    assert inner.objects["data/ab"] == LARGE, "an MD5 proves all of it"


async def test_a_store_that_keeps_damaging_is_never_believed() -> None:
    for tag in (md5, opaque):
        inner = Damaging(lambda number: True, tag)
        store = VerifyingStore(inner)
        for call in (store.create("data/ab", b"whole"), store.replace("latest", b"whole", None)):
            with pytest.raises(Unreachable) as said:
                await call
            assert said.value.code == "store_damages"
        assert inner.puts <= 8


async def test_the_rest_of_an_earlier_try_is_no_success() -> None:
    """A put that was cut, and answered by nothing: the next try finds "it is there already"."""
    inner = MemoryStore()
    await inner.create("data/ab", b"ha")
    assert await VerifyingStore(inner).create("data/ab", b"half") is not None
    assert inner.objects["data/ab"] == b"half"
    assert await VerifyingStore(inner).create("data/ab", b"half") is None


class Doubtful(MemoryStore):
    """An Azure on a bad day: cuts the first pointer, and then cannot be reached to look."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts, self.away = 1, 0

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        self.cuts, cut = self.cuts - 1, self.cuts > 0
        return await super().replace(key, data[:3] if cut else data, expected)

    async def fetch(self, key: str) -> Versioned:
        self.away -= 1
        if self.away >= 0:
            raise Unreachable("away", code="store_away")
        return await super().fetch(key)


async def test_what_could_not_be_proven_is_mended_before_anybody_reads_it() -> None:
    inner = Doubtful()
    store = VerifyingStore(inner)
    inner.away = 2
    with pytest.raises(Unreachable):
        await store.replace("latest", b"pointer one", None)
    assert inner.objects["latest"] == b"poi"
    with pytest.raises(Unreachable):
        await store.fetch("latest")
    assert (await store.fetch("latest")).data == b"pointer one", "never the damaged one"
    inner.cuts, inner.away = 1, 1
    version = (await inner.fetch("latest")).version if inner.away < 0 else inner._versions["latest"]
    with pytest.raises(Unreachable):
        await store.replace("latest", b"pointer two", version)
    with pytest.raises(Conflict):
        await store.replace("latest", b"pointer three", version)
    assert inner.objects["latest"] == b"pointer two", "who retries, as RetryingStore does, finds their own bytes there"


class Cutting(MemoryStore):
    """Keeps a part of what is replaced, and is gone before it says so."""

    kept = 0

    async def replace(self, key: str, data: bytes, expected: str | None) -> str:
        version = await super().replace(key, data[: self.kept] if self.kept >= 0 else data, expected)
        if self.kept >= 0:
            self.kept = -1
            raise away()
        return version


@pytest.mark.parametrize("kept", [0, 1, 10, 11])
async def test_a_pointer_that_was_cut_and_never_answered(kept: int) -> None:
    for retried in (True, False):
        inner = Cutting()
        store = VerifyingStore(inner)
        inner.kept = kept
        if retried:
            await RetryingStore(store, clock=Dream()).replace("latest", b"the pointer", None)
        else:
            with pytest.raises(Unreachable):
                await store.replace("latest", b"the pointer", None)
        assert (await store.fetch("latest")).data == b"the pointer"
    inner = Cutting()
    inner.kept = 11
    store = VerifyingStore(inner)
    with pytest.raises(Unreachable):
        await store.replace("latest", b"the pointer", None)
    await MemoryStore.replace(inner, "latest", b"theirs", inner._versions["latest"])
    assert (await store.fetch("latest")).data == b"theirs", "of another, who came after"


async def test_under_a_key_service_only_the_first_is_read_whole() -> None:
    inner = Damaging(lambda number: False, TAGS["as S3 with a key service"])
    counts: Counts = {}
    store = VerifyingStore(CountingStore(inner, counts))
    for number in range(4):
        await store.create(f"data/{number}", LARGE)
    assert counts["read"].requests == 4
    assert counts["read"].received < len(LARGE) + 3 * 20_000


async def test_a_proof_costs_nothing_where_the_store_gives_one() -> None:
    for tag, reads in ((md5, 0), (opaque, 4)):
        inner = Damaging(lambda number: False, tag)
        store = VerifyingStore(inner)
        for key in ("data/ab", "index/ab", "snapshots/ab"):
            await store.create(key, b"x")
        await store.replace("latest", b"x", None)
        assert len(inner.calls) == 4 + reads


class Failing(MemoryStore):
    def __init__(self, *errors: NbdError) -> None:
        super().__init__()
        self.errors = list(errors)

    async def _called(self, what: str, key: str) -> None:
        await super()._called(what, key)
        if self.errors:
            raise self.errors.pop(0)


def away(code: str = "store_away") -> Unreachable:
    return Unreachable("away", code=code)


async def test_retries_within_a_budget() -> None:
    clock, inner = Dream(), Failing(*(away() for _ in range(100)))
    with pytest.raises(Unreachable):
        await RetryingStore(inner, budget=10.0, first=0.2, longest=3.0, clock=clock).fetch("latest")
    assert 4 <= len(inner.calls) <= 10
    assert clock.seconds <= 10.0 + 1.5 * 3.0
    assert all(0.5 * 0.2 <= pause <= 1.5 * 3.0 for pause in clock.slept)
    assert len(set(clock.slept)) == len(clock.slept), "with jitter"


async def test_what_waiting_cannot_mend_is_not_tried_again() -> None:
    for error in (HostUnfit("denied", code="store_denied"), Conflict("changed", code="store_changed")):
        inner = Failing(error)
        with pytest.raises(NbdError) as said:
            await RetryingStore(inner, clock=Dream()).replace("latest", b"x", None)
        assert said.value is error
        assert len(inner.calls) == 1


async def test_a_store_that_asks_to_slow_down_is_left_alone_for_longer() -> None:
    clock = Dream()
    await RetryingStore(Failing(away(), away("store_slow"), away()), clock=clock).create("data/ab", b"x")
    assert clock.slept[0] <= 0.3
    assert min(clock.slept[1:]) >= 0.5


async def test_a_conflict_with_oneself_is_a_success() -> None:
    class Late(MemoryStore):
        async def replace(self, key: str, data: bytes, expected: str | None) -> str:
            version = await super().replace(key, data, expected)
            if len(self.calls) == 1:
                raise away()
            return version

    inner = Late()
    version = await RetryingStore(inner, clock=Dream()).replace("latest", b"mine", None)
    assert await inner.fetch("latest") == (b"mine", version)
    other = Late()
    await MemoryStore.replace(other, "latest", b"theirs", None)
    with pytest.raises(Conflict):
        await RetryingStore(other, clock=Dream()).replace("latest", b"mine", None)


class Crowd(MemoryStore):
    """Knows how many were in it at once."""

    now = most = 0

    async def _called(self, what: str, key: str) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(random.randrange(1, 20)):
            await asyncio.sleep(0)
        self.now -= 1


async def test_so_many_at_a_time_and_no_fewer() -> None:
    inner, slots = Crowd(), asyncio.Semaphore(3)
    stores = [ConcurrentStore(inner, slots) for _ in range(5)]
    await asyncio.gather(*(store.create(f"data/{number}", b"x") for number in range(40) for store in stores))
    assert inner.most == 3


async def test_bytes_wait_for_their_turn() -> None:
    clock = Dream()
    store = ThrottledStore(MemoryStore(), Lines(Limits(otherwise=MIB), clock))
    for number in range(10):
        await store.create(f"data/{number}", bytes(2 * MIB))
    assert 17.9 <= clock.seconds <= 18.1, "20 MiB at 1 MiB a second, of which the last two are on their way"
    before = clock.seconds
    await store.fetch("data/1")
    await store.read("data/1", 0, MIB)
    await store.fetch("data/2")
    assert 1.9 <= clock.seconds - before <= 2.1, "what comes is counted on its own line, on which a second's worth was left"
    assert max(clock.slept) <= 5.0


async def test_the_hour_comes_in_which_another_rate_holds() -> None:
    clock = Dream()  # It is 07:59.
    store = ThrottledStore(MemoryStore(), Lines(Limits([Window(*hours) for hours in rates("08:00-18:00 unlimited")], 64 << 10), clock))
    await store.create("data/1", bytes(64 * MIB))  # At this rate the next one would wait for 17 minutes.
    await store.create("data/2", b"x")
    assert 60 <= clock.seconds <= 66


async def test_the_settings_reach_the_store(tmp_path: Path) -> None:
    clock = Dream()
    settings = HomeSettings(bandwidth=rate("1MiB"), bandwidth_schedule=rates("08:00-18:00 unlimited"))
    stores = stores_of(settings, str(tmp_path / "store"), clock)
    for number in range(40):
        await stores(f"person{number % 3}").create(f"data/{number:02}", bytes(2 * MIB))
    assert 58 <= clock.seconds <= 62, "all persons' bytes by one line, until it was eight"
    assert stores.counts["create"] == Count(40, 0, 80 * MIB, 0, 0.0)


async def test_counts() -> None:
    counts: Counts = {}
    inner = Failing()
    stores = [CountingStore(inner, counts, Dream()) for _ in range(2)]
    await stores[0].create("data/ab", b"four")
    await stores[1].fetch("data/ab")
    await stores[1].read("data/ab", 1, 100)
    inner.errors = [away(), Conflict("changed")]
    for _ in range(2):
        with pytest.raises(NbdError):
            await stores[0].delete("data/ab")
    assert counts == {"create": Count(1, 0, 4, 0), "fetch": Count(1, 0, 0, 4), "read": Count(1, 0, 0, 3), "delete": Count(2, 1, 0, 0)}
