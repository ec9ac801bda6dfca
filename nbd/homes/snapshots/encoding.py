"""The bytes of docs/home-format.md: trees, chunk lists, pack footers. Pure. Whatever does not parse raises Damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from ...errors import Damaged, InvalidInput
from ..model import Entry, Extent, Flag, Kind, Place, checked_name

ENTRY = struct.Struct(">HBBIIIQqIqIQIH")
HEAD = struct.Struct(">BBIIIQqIqIQ")
"""What of an entry stat can vouch for: kind, flags, mode, owner, size, times, inode. It lies behind the two bytes of the name's length."""
LENGTHS = struct.Struct(f">H{HEAD.size}xIH")
XATTR = struct.Struct(">HI")
EXTENT = struct.Struct(">Q32s")
FOOTER_ROW = struct.Struct(">32scIII")
PACK_TAIL = struct.Struct(">I8s")
PACK_MAGIC = b"nbdpack1"
SECOND = 1_000_000_000
DIRECT_EXTENTS = 64
LIST_EXTENTS = 1024
KINDS, FOLDER = frozenset(Kind), int(Kind.FOLDER)
UNVOUCHED = int(Flag.UNSETTLED | Flag.STALE)


def encode_entry(entry: Entry) -> bytes:
    mtime, ctime = divmod(entry.mtime, SECOND), divmod(entry.ctime, SECOND)
    head = ENTRY.pack(
        len(entry.name), entry.kind, entry.flags, entry.mode, entry.uid, entry.gid, entry.size, *mtime, *ctime, entry.ino,
        len(entry.payload), len(entry.xattrs),
    )  # fmt: skip
    if not entry.xattrs:
        return head + entry.name + entry.payload
    return head + entry.name + entry.payload + b"".join(XATTR.pack(len(name), len(value)) + name + value for name, value in entry.xattrs)


def decode_entries(data: bytes) -> list[Entry]:
    """The entries of one `E` blob, in order. Names are checked: no path hides in them, none comes twice."""
    try:
        entries = list(_entries(data))
        before = b""
        for entry in entries:
            if checked_name(entry.name) <= before or entry.kind not in KINDS:
                raise Damaged(f"the tree names {entry.name!r} after {before!r}")
            before = entry.name
    except (struct.error, InvalidInput) as error:
        raise Damaged(f"a tree does not parse: {error}") from None
    return entries


def _entries(data: bytes) -> Iterator[Entry]:
    at, end = 1, len(data)
    while at < end:
        named, kind, flags, mode, uid, gid, size, ms, mns, cs, cns, ino, paid, xattred = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        name, payload = data[at : at + named], data[at + named : at + named + paid]
        at += named + paid
        xattrs = []
        for _ in range(xattred):
            names, values = XATTR.unpack_from(data, at)
            at += XATTR.size
            xattrs.append((data[at : at + names], data[at + names : at + names + values]))
            at += names + values
        if at > end:
            raise Damaged("a tree ends in the middle of an entry")
        yield Entry(name, kind, flags, mode, uid, gid, size, ms * SECOND + mns, cs * SECOND + cns, ino, payload, tuple(xattrs))


def heads(parts: Iterable[bytes]) -> tuple[dict[bytes, bytes], dict[bytes, Entry]]:
    """A stored folder, read no further than comparing it with what is there needs: the HEAD of what stat alone can vouch for, and the entries of
    folders and of what was not read whole, which have to be looked at in any case. A hundred thousand folders are compared so at each look."""
    vouched: dict[bytes, bytes] = {}
    others: dict[bytes, Entry] = {}
    try:
        for data in parts:
            _heads(data, vouched, others)
    except struct.error as error:
        raise Damaged(f"a tree does not parse: {error}") from None
    return vouched, others


def _heads(data: bytes, vouched: dict[bytes, bytes], others: dict[bytes, Entry]) -> None:
    for start, end, named in _bounds(data):
        if data[start + 2] == FOLDER or data[start + 3] & UNVOUCHED:
            (entry,) = _entries(b"E" + data[start:end])
            others[entry.name] = entry
        else:
            vouched[data[start + LENGTHS.size : start + LENGTHS.size + named]] = data[start + 2 : start + 2 + HEAD.size]


def _bounds(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each entry: where it begins and ends, and the length of its name."""
    unpack, at, end = LENGTHS.unpack_from, 1, len(data)
    while at < end:
        start = at
        named, paid, xattred = unpack(data, at)
        at += LENGTHS.size + named + paid
        for _ in range(xattred):
            names, values = XATTR.unpack_from(data, at)
            at += XATTR.size + names + values
        if at > end:
            raise Damaged("a tree ends in the middle of an entry")
        yield start, at, named


def rows(parts: Iterable[bytes]) -> dict[bytes, bytes]:
    """The entries of a stored folder as they were encoded, by name: what did not change is put into the new tree as it is."""
    found: dict[bytes, bytes] = {}
    try:
        for data in parts:
            for start, end, named in _bounds(data):
                found[data[start + LENGTHS.size : start + LENGTHS.size + named]] = data[start:end]
    except struct.error as error:
        raise Damaged(f"a tree does not parse: {error}") from None
    return found


def split(names: Sequence[bytes]) -> list[range]:
    """Parts of a folder, about 256 entries each: names decide where to cut, so that one change rewrites one part. At least one."""
    starts = [0]
    for at, name in enumerate(names):
        if at > starts[-1] and (zlib.crc32(name) & 0xFF == 0 or at - starts[-1] >= 2048):
            starts.append(at)
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]


def encode_part(entries: Iterable[Entry]) -> bytes:
    return b"E" + b"".join(map(encode_entry, entries))


def encode_parts(parts: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A large folder: (first name, id of its part)."""
    return b"S" + b"".join(struct.pack(">H", len(name)) + name + part for name, part in parts)


def decode_parts(data: bytes) -> list[bytes]:
    """The ids of the parts of an `S` blob."""
    ids, at = [], 1
    while at < len(data):
        (named,) = struct.unpack_from(">H", data, at) if at + 2 <= len(data) else (0,)
        at += 2 + named + 32
        if at > len(data):
            raise Damaged("a tree ends in the middle of a part")
        ids.append(data[at - 32 : at])
    return ids


def encode_extents(extents: Iterable[Extent]) -> bytes:
    return b"".join(EXTENT.pack(length, part) for length, part in extents)


def decode_extents(data: bytes) -> list[Extent]:
    try:
        return [Extent(length, part) for length, part in EXTENT.iter_unpack(data)]
    except struct.error:
        raise Damaged("a chunk list does not parse") from None


def list_ids(payload: bytes) -> list[bytes]:
    """The chunk lists of a file payload of the form `L`."""
    return [payload[at : at + 32] for at in range(1, len(payload), 32)]


def encode_footer(places: Iterable[Place]) -> bytes:
    return b"".join(FOOTER_ROW.pack(place.id, place.type, place.offset, place.sealed, place.content) for place in places)


def decode_footer(data: bytes, pack: bytes) -> list[Place]:
    try:
        return [Place(part, kind, pack, offset, sealed, content) for part, kind, offset, sealed, content in FOOTER_ROW.iter_unpack(data)]
    except struct.error:
        raise Damaged("a pack's footer does not parse") from None
