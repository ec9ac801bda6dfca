"""Indexes as values: what is in one is found, and nothing else; merged ones have what each had."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.errors import Damaged
from nbd.homes.model import Place
from nbd.homes.snapshots.indexes import MANY, MERGED_ROWS, SMALL_ROWS, Alive, Table, encode_index, merge, to_merge

SALT = bytes(16)


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=50))
def test_finds_all_and_nothing_else(ids: set[bytes]) -> None:
    places = [Place(part, b"d", part[:1] * 32, number, 5, 7) for number, part in enumerate(sorted(ids))]
    table = Table(encode_index(SALT, places))
    assert [table.find(place.id) for place in places] == places
    assert table.find(b"\1" * 32) is None or b"\1" * 32 in ids
    assert list(table.places()) == places


def many(count: int, first: int = 0) -> list[Place]:
    ids = sorted(hashlib.sha256(b"%d" % number).digest() for number in range(first, first + count))
    return [Place(part, b"t", hashlib.sha256(part[:1]).digest(), number, 9, 10) for number, part in enumerate(ids)]


def test_a_large_one() -> None:
    places = many(5000)
    table = Table(encode_index(SALT, places))
    assert [table.find(place.id) for place in places] == places
    for other in many(2000, first=5000):
        assert table.find(other.id) is None
    # An id that lies across two rows is none.
    start = table.data.index(places[0].id)
    assert table.find(table.data[start + 3 : start + 35]) is None
    numbers = [table.pack_number(number) for number in table.by_pack()]
    assert numbers == sorted(numbers)
    assert sorted(table.by_pack()) == list(range(5000))


def test_merged() -> None:
    parts = [many(100), many(50, first=100), [], many(10, first=20)]
    merged = Table(merge(SALT, [Table(encode_index(SALT, part)) for part in parts]))
    assert sorted(merged.places()) == sorted(place for part in parts for place in part)
    assert merged.stored() == 160 * 9


def test_damage_is_said() -> None:
    data = encode_index(SALT, many(3))
    for broken in (data[:-1], data + b"x", data[:10]):
        with pytest.raises(Damaged):
            Table(broken)
    table = Table(data[:-16] + (4).to_bytes(4, "big") + data[-12:])
    for use in (lambda: list(table.places()), lambda: merge(SALT, [table])):
        with pytest.raises(Damaged):
            use()


def test_what_is_alive() -> None:
    """Against sets and lists, which it stands for."""
    first, second = many(200), many(100, first=150)
    tables = [Table(encode_index(SALT, part)) for part in (first, second)]
    alive, marked = Alive(tables), (*first[::3], *second[::2])
    new = [alive.mark(place.id) for place in marked]
    expected = {place.id: place for place in reversed([place for place in (*first, *second) if place.id in {one.id for one in marked}])}
    assert sum(new) == len(expected)
    assert not alive.lacking
    packs = {place.pack for place in (*first, *second)}
    assert alive.sizes() == {pack: 9 * sum(place.pack == pack for place in expected.values()) for pack in packs}
    some = set(sorted(packs)[: len(packs) // 2])
    assert sorted(alive.places(some)) == sorted(place for place in expected.values() if place.pack in some)
    index = Table(alive.index(SALT, some))
    assert sorted(index.places()) == sorted(place for place in expected.values() if place.pack not in some)
    assert all(index.find(place.id) == place for place in index.places())
    assert set(index.all_packs()) == {place.pack for place in index.places()}
    assert not alive.mark(b"nowhere".ljust(32))
    assert alive.lacking


class Rows(Table):
    """As if it had so many rows."""

    def __init__(self, rows: int) -> None:
        super().__init__(encode_index(SALT, []))
        self.rows = rows


def test_when_to_merge() -> None:
    small = {f"s{number:02}": Rows(10) for number in range(MANY)}
    assert to_merge(dict(list(small.items())[1:])) == []
    assert to_merge(small) == sorted(small)
    assert to_merge({**small, "large": Rows(SMALL_ROWS + 1)}) == sorted(small)
    chosen = to_merge({f"m{number:02}": Rows(SMALL_ROWS) for number in range(MANY)})
    assert len(chosen) == MERGED_ROWS // SMALL_ROWS
