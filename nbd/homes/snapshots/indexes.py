"""Indexes: which blob lies where. Pure. A million blobs are 49 MB of bytes, searched in place, and no Python object is made of them."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping

from ...errors import Damaged
from ..model import Place

ROW = struct.Struct(">32scIIII")
HEAD = struct.Struct(">16sII")
ID_AND_TYPE, PACK_NUMBER = 33, struct.Struct(">I")
BUCKET_ROWS = 128
MOST_BITS = 16
MANY, SMALL_ROWS, MERGED_ROWS = 16, 50_000, 400_000


class Table:
    """An index as it lies in the store."""

    def __init__(self, data: bytes) -> None:
        try:
            _, packs, rows = HEAD.unpack_from(data, 0)
        except struct.error:
            raise Damaged("an index does not parse") from None
        self._start = HEAD.size + packs * 32
        if len(data) != self._start + rows * ROW.size:
            raise Damaged("an index is too short or too long")
        self.data = data
        self.packs: int = packs
        self.rows: int = rows
        self._bits: int = min(MOST_BITS, (rows // BUCKET_ROWS).bit_length())
        self._buckets: array[int] | None = None

    def pack(self, number: int) -> bytes:
        if number >= self.packs:
            raise Damaged("an index names a pack that it does not have")
        return self.data[HEAD.size + number * 32 : HEAD.size + number * 32 + 32]

    def all_packs(self) -> list[bytes]:
        return [self.pack(number) for number in range(self.packs)]

    def row(self, number: int) -> Place:
        part, kind, pack, offset, sealed, content = ROW.unpack_from(self.data, self._start + number * ROW.size)
        return Place(part, kind, self.pack(pack), offset, sealed, content)

    def find(self, part: bytes) -> Place | None:
        number = self.number(part)
        return None if number is None else self.row(number)

    def number(self, part: bytes) -> int | None:
        """Of the row that has it."""
        if self._buckets is None:
            self._buckets = array("I", (bisect_left(range(self.rows), first, key=self._first) for first in range((1 << self._bits) + 1)))
        bucket = self._bucket(part)
        start, end = (self._start + self._buckets[number] * ROW.size for number in (bucket, bucket + 1))
        at = self.data.find(part, start, end)
        while at >= 0 and (at - self._start) % ROW.size:
            at = self.data.find(part, at + 1, end)
        return (at - self._start) // ROW.size if at >= 0 else None

    def places(self) -> Iterator[Place]:
        return map(self.row, range(self.rows))

    def stored(self) -> int:
        """Bytes in the store of all that is named here."""
        return sum(row[4] for row in self.raw())

    def raw(self) -> Iterator[tuple[bytes, bytes, int, int, int, int]]:
        return ROW.iter_unpack(memoryview(self.data)[self._start :])

    def by_pack(self) -> array[int]:
        """Numbers of all rows, those of one pack together."""
        return array("I", sorted(range(self.rows), key=self.pack_number))

    def pack_number(self, number: int) -> int:
        found: int = PACK_NUMBER.unpack_from(self.data, self._start + number * ROW.size + ID_AND_TYPE)[0]
        return found

    def slices(self, packs: Mapping[bytes, int]) -> Iterator[bytes]:
        """The rows as bytes, with the packs numbered anew."""
        numbers = [PACK_NUMBER.pack(packs[self.pack(number)]) for number in range(self.packs)]
        for at in range(self._start, len(self.data), ROW.size):
            (number,) = PACK_NUMBER.unpack_from(self.data, at + ID_AND_TYPE)
            if number >= self.packs:
                raise Damaged("an index names a pack that it does not have")
            middle = at + ID_AND_TYPE
            yield self.data[at:middle] + numbers[number] + self.data[middle + PACK_NUMBER.size : at + ROW.size]

    def _bucket(self, part: bytes) -> int:
        return int.from_bytes(part[:2], "big") >> (16 - self._bits)

    def _first(self, number: int) -> int:
        at = self._start + number * ROW.size
        return self._bucket(self.data[at : at + 2])


class Indexes:
    """Those that a pointer names, and new ones that the next one will name."""

    def __init__(self, named: Mapping[str, Table] | None = None) -> None:
        self.named = dict(named or {})
        self.coming: dict[str, Table] = {}

    def find(self, part: bytes) -> Place | None:
        """In what is named alone: only that is known to stay."""
        for table in reversed(self.named.values()):
            place = table.find(part)
            if place is not None:
                return place
        return None

    def settle(self, names: Iterable[str]) -> None:
        """The pointer names these now."""
        known = self.named | self.coming
        self.named, self.coming = {name: known[name] for name in names}, {}


def encode_index(salt: bytes, places: Iterable[Place]) -> bytes:
    rows = sorted(places)
    packs = {pack: number for number, pack in enumerate(dict.fromkeys(place.pack for place in rows))}
    body = b"".join(ROW.pack(part, kind, packs[pack], offset, sealed, content) for part, kind, pack, offset, sealed, content in rows)
    return HEAD.pack(salt, len(packs), len(rows)) + b"".join(packs) + body


def merge(salt: bytes, tables: Iterable[Table]) -> bytes:
    """One index with all that these have."""
    some = list(tables)
    packs = {pack: number for number, pack in enumerate(dict.fromkeys(table.pack(number) for table in some for number in range(table.packs)))}
    rows = sorted(row for table in some for row in table.slices(packs))
    return HEAD.pack(salt, len(packs), len(rows)) + b"".join(packs) + b"".join(rows)


class Alive:
    """Marks at rows of indexes: a byte for each blob, where a set of ids would take a hundred."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = [(table, bytearray(table.rows)) for table in tables]
        self.lacking = False
        """Something was to be marked that is in none of them."""

    def mark(self, part: bytes) -> bool:
        """True where that is new. Of what is there twice, the first is marked."""
        for table, marks in self._tables:
            number = table.number(part)
            if number is not None:
                new = not marks[number]
                marks[number] = 1
                return new
        self.lacking = True
        return False

    def sizes(self) -> dict[bytes, int]:
        """Of all packs: how many bytes in it are marked."""
        found: dict[bytes, int] = {}
        for table, marks in self._tables:
            sums = [0] * table.packs
            for number, (_, _, pack, _, sealed, _) in enumerate(table.raw()):
                sums[pack] += sealed if marks[number] else 0
            for pack, size in enumerate(sums):
                found[table.pack(pack)] = found.get(table.pack(pack), 0) + size
        return found

    def places(self, packs: Collection[bytes]) -> list[Place]:
        """What is marked in these packs."""
        found: list[Place] = []
        for table, marks in self._tables:
            wanted = [table.pack(number) in packs for number in range(table.packs)]
            found += [table.row(number) for number, row in enumerate(table.raw()) if marks[number] and wanted[row[2]]]
        return found

    def index(self, salt: bytes, without: Collection[bytes]) -> bytes:
        """An index of what is marked, but for what is in some packs."""
        packs = {pack: number for number, pack in enumerate(pack for pack, size in self.sizes().items() if size and pack not in without)}
        rows = []
        for table, marks in self._tables:
            left = [table.pack(number) in packs for number in range(table.packs)]
            slices = table.slices({pack: packs.get(pack, 0) for pack in table.all_packs()})
            rows += [row for number, row in enumerate(slices) if marks[number] and left[table.pack_number(number)]]
        return HEAD.pack(salt, len(packs), len(rows)) + b"".join(packs) + b"".join(sorted(rows))


def to_merge(tables: Mapping[str, Table]) -> list[str]:
    """The small ones, once they are many, as far as one index may grow by it."""
    small = sorted((table.rows, name) for name, table in tables.items() if table.rows <= SMALL_ROWS)
    if len(small) < MANY:
        return []
    chosen, total = [], 0
    for rows, name in small:
        total += rows
        if total > MERGED_ROWS:
            break
        chosen.append(name)
    return chosen
