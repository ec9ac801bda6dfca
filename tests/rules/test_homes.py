"""The pure parts of homes: retention, guards, encoding, cuts, differences."""

from __future__ import annotations

import datetime
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.errors import Damaged
from nbd.homes import guards
from nbd.homes.model import MAX_CHUNK, Entry, Extent, Kind, Listed
from nbd.homes.snapshots import diff, encoding
from nbd.homes.snapshots.chunks import Cutter, by_offset
from nbd.homes.snapshots.retention import DAY, HOUR, Policy, month, retain
from nbd.host.codec import HomeCodec

NOW = 1_795_000_000 * 10**9
TIMES = st.lists(st.integers(NOW - 400 * DAY, NOW), max_size=60, unique=True)
POLICIES = st.builds(Policy, st.integers(0, 2 * HOUR), *[st.integers(0, 6)] * 4)


def listed(time: int, name: str = "") -> Listed:
    return Listed(f"{time:064x}", time, name, "save")


@given(TIMES, POLICIES, st.integers(0, 10))
def test_retention_laws(times: list[int], policy: Policy, named: int) -> None:
    snapshots = [listed(time, "n" if position == named else "") for position, time in enumerate(times)]
    verdict = retain(snapshots, policy, NOW)
    kept = [one.snapshot for one in verdict.keep]
    assert sorted([*kept, *verdict.drop], key=lambda one: one.time) == sorted(snapshots, key=lambda one: one.time), "nothing lost, nothing twice"
    assert all(one.reasons for one in verdict.keep)
    assert all(one in kept for one in snapshots if one.name or one.time > NOW - policy.recent)
    assert not snapshots or max(snapshots, key=lambda one: one.time) in kept
    for title, most in (("hourly", policy.hourly), ("daily", policy.daily), ("weekly", policy.weekly), ("monthly", policy.monthly)):
        assert sum(title in one.reasons for one in verdict.keep) <= most
    again = retain(kept, policy, NOW)
    assert again.drop == (), "a second prune drops nothing more"


def test_retention_of_a_busy_year() -> None:
    snapshots = [listed(NOW - minutes * 60 * 10**9) for minutes in range(0, 365 * 24 * 60, 20)]
    verdict = retain(snapshots, Policy(), NOW)
    counts = [sum(title in one.reasons for one in verdict.keep) for title in ("recent", "hourly", "daily", "weekly", "monthly")]
    assert counts == [3, 24, 14, 8, 6]


def test_of_those_from_before_a_restore_the_newest_few_stay() -> None:
    befores = [Listed(f"{number:064x}", NOW - (100 + number) * DAY, "before a restore", "restore") for number in range(20)]
    verdict = retain([*befores, listed(NOW), listed(NOW - 150 * DAY, "main run 7")], Policy(weekly=0, daily=0, hourly=0, monthly=0), NOW)
    assert [kept.snapshot for kept in verdict.keep[1:6]] == befores[:5]
    assert {kept.reasons for kept in verdict.keep[1:6]} == {("one of the newest 5 from before a restore",)}
    assert verdict.keep[6].reasons == ("named main run 7",)
    assert list(verdict.drop) == befores[5:]
    assert retain([befores[7], listed(NOW)], Policy(befores=0), NOW).keep[1].reasons[-1] == "monthly", "it is one like any other"
    assert befores[19] in [kept.snapshot for kept in retain([befores[19]], Policy(befores=0), NOW).keep], "the newest stays"


@given(st.dates(datetime.date(1970, 1, 1), datetime.date(2200, 1, 1)), st.dates(datetime.date(1970, 1, 1), datetime.date(2200, 1, 1)))
def test_month_is_the_calendar_month(one: datetime.date, two: datetime.date) -> None:
    days = [(date - datetime.date(1970, 1, 1)).days * DAY for date in (one, two)]
    assert (month(days[0]) == month(days[1])) == ((one.year, one.month) == (two.year, two.month))


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (guards.Loss(had=100, gone=25), ""),
        (guards.Loss(had=100, gone=26), "26 of 100 entries are gone at once"),
        (guards.Loss(had=10, gone=10), ""),
        (guards.Loss(had=10**6, gone=10_001), "10001 entries are gone at once"),
        (guards.Loss(had=3, gone=3, now_empty=True), "the home is empty, and had 3 entries"),
        (guards.Loss(had=1, gone=1, now_empty=True), "the home is empty, and had 1 entry"),
        (guards.Loss(had=3, gone=1, moved=True), "it is another folder than before, and 1 of 3 entries is not in it"),
        (guards.Loss(had=3, gone=0, moved=True), ""),
        (guards.Loss(had=0, gone=0, now_empty=True), ""),
        (guards.Loss(had=10**6, gone=21, unconfirmed=12_000), "12000 of 1000000 entries are gone, and nobody has confirmed it"),
        (guards.Loss(had=10**6, gone=20, unconfirmed=12_000), ""),
        (guards.Loss(had=3, gone=3, now_empty=True, unconfirmed=3), "the home is empty, and had 3 entries"),
    ],
)
def test_guards(loss: guards.Loss, why: str) -> None:
    assert guards.refuse(loss) == why


@pytest.mark.parametrize(
    ("gone", "had", "now", "why"),
    [
        (21, 1000, 749, "251 of 1000 entries are gone, little by little"),
        (21, 1000, 750, ""),
        (21, 10**6, 10**6 - 10_001, "10001 of 1000000 entries are gone, little by little"),
        (21, 10**6, 10**6 - 10_000, ""),
        (20, 1000, 100, ""),  # Few go now: who saves a file deletes one.
        (5000, 10**5, 10**5, ""),  # A checkout: as many came.
        (5000, 10**5, 2 * 10**5, ""),
        (21, 60, 39, "21 of 60 entries are gone, little by little"),
        (21, 60, 40, ""),
    ],
)
def test_a_slow_loss(gone: int, had: int, now: int, why: str) -> None:
    assert guards.refuse_slow(guards.Loss(had=had, gone=gone), had, now) == why


NAMES = st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_").replace(b".", b"_"))
TIMESTAMPS = st.integers(-(2**62), 2**62)
WORDS = st.integers(0, 2**32 - 1)
XATTRS = st.lists(st.tuples(NAMES, st.binary(max_size=50)), max_size=3).map(tuple)
ENTRIES = st.builds(
    Entry, NAMES, st.sampled_from([int(kind) for kind in Kind]), st.integers(0, 7), WORDS, WORDS, WORDS, st.integers(0, 2**64 - 1),
    TIMESTAMPS, TIMESTAMPS, st.integers(0, 2**64 - 1), st.binary(max_size=100), XATTRS,
)  # fmt: skip


@given(st.lists(ENTRIES, max_size=20, unique_by=lambda entry: entry.name).map(sorted))
def test_trees_round_trip(entries: list[Entry]) -> None:
    assert encoding.decode_entries(encoding.encode_part(entries)) == entries
    assert encoding.rows([encoding.encode_part(entries)]) == {entry.name: encoding.encode_entry(entry) for entry in entries}
    assert [at for part in encoding.split([entry.name for entry in entries]) for at in part] == list(range(len(entries)))


@given(st.lists(ENTRIES, min_size=1, max_size=3, unique_by=lambda entry: entry.name).map(sorted), st.data())
def test_a_cut_tree_is_damaged(entries: list[Entry], data: st.DataObject) -> None:
    encoded = encoding.encode_part(entries)
    whole = {len(encoding.encode_part(entries[:number])) for number in range(len(entries) + 1)}
    at = data.draw(st.integers(1, len(encoded) - 1).filter(lambda at: at not in whole))
    with pytest.raises(Damaged):
        encoding.decode_entries(encoded[:at])


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"/etc", b"a\0b", b"x" * 256])
def test_hostile_names_are_damage(name: bytes) -> None:
    with pytest.raises(Damaged):
        encoding.decode_entries(encoding.encode_part([Entry(name, Kind.FILE, 0, 0, 0, 0, 0, 0, 0, 0, b"")]))


def test_names_twice_are_damage() -> None:
    entry = Entry(b"a", Kind.FILE, 0, 0, 0, 0, 0, 0, 0, 0, b"")
    with pytest.raises(Damaged):
        encoding.decode_entries(encoding.encode_part([entry, entry._replace(kind=Kind.LINK)]))


def cutter() -> tuple[Cutter, list[int]]:
    codec, cuts = HomeCodec(bytes(32)), [0]

    def cut(window: memoryview) -> int:
        cuts[0] += 1
        return codec.cut(window)

    return Cutter(cut, lambda content: codec.identify(b"d", content)), cuts


def extents(cut: Cutter, data: bytes, old: dict[int, Extent], window: int) -> list[Extent]:
    """As a large file is read: window by window."""
    found, at, end = [], 0, 0
    while True:
        end = min(end + window, len(data))
        for extent, _ in cut.chunks(memoryview(data)[at:end], at, old, last=end == len(data)):
            found.append(extent)
            at += extent.length
        if end == len(data):
            return found


def test_cuts_do_not_depend_on_windows_or_on_what_was() -> None:
    data = os.urandom(7 << 20)
    cut, cuts = cutter()
    whole = extents(cut, data, {}, len(data))
    assert sum(extent.length for extent in whole) == len(data)
    assert all(extent.length <= MAX_CHUNK for extent in whole)
    assert extents(cut, data, {}, 3 << 20) == whole
    cuts[0] = 0
    assert extents(cut, data, by_offset(whole), 2 << 20) == whole
    assert cuts[0] <= 1, "what is known is hashed, not cut; at most the rest at the end is"
    changed = data[: 3 << 20] + b"changed" + data[(3 << 20) + 7 :]
    new = extents(cut, changed, by_offset(whole), 2 << 20)
    assert new == extents(cut, changed, {}, len(changed))
    assert len(set(new) - set(whole)) <= 3


def test_a_rename_is_one_difference() -> None:
    entry = Entry(b"a", Kind.FILE, 0, 0, 0, 0, 3, 1, 1, 77, b"")
    other = entry._replace(name=b"b")
    found = diff.renamed([diff.Difference(diff.Change.DELETED, b"a", entry), diff.Difference(diff.Change.ADDED, b"x/b", None, other)])
    assert [(one.change, one.source, one.path) for one in found] == [(diff.Change.RENAMED, b"a", b"x/b")]
