"""Makes repositories that nbd would never write: whoever has the key of a home can make them. Trees are put together byte by byte."""

from __future__ import annotations

import random
import struct
import time

from nbd.homes.model import FORMAT, NO_ID, Listed, Snapshot
from nbd.homes.snapshots.packer import Packer
from nbd.homes.snapshots.repository import Repository

HEAD = struct.Struct(">HBBIIIQqIqIQIH")
NAMES = (
    b"a", b"b", b"c", b"good", b"", b".", b"..", b"../out", b"../../out", b"a/b", b"/etc/out", b"/out", b"a\0b", b"x" * 255, b"x" * 256, b"x" * 5000,
    b"\xff\xfe", b"new\nline", b".nbd-restore-ca978112ca1bbdcafac231b3",
)  # fmt: skip
KINDS = b"f" * 40 + b"d" * 40 + b"l" * 30 + b"pscbx" * 5 + b"z\0"
HOLES = (0, 1, 4096, 5 << 20, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 9)
MODES = (0o644, 0o600, 0o755, 0o6755, 0o4777, 0o2777, 0o7777, 0o0, 0xFFFFFFFF)
SECONDS = (0, 1, -1, 2**31, 2**40, 2**62, -(2**63))
XATTRS = (
    (b"user.x", b"v"), (b"user." + b"n" * 300, b"v"), (b"user.big", b"v" * 70_000), (b"trusted.x", b"v"),
    (b"security.capability", b"\1\0\0\2" + bytes(16)), (b"security.selinux", b"x"), (b"system.posix_acl_access", b"garbage"),
    (b"system.posix_acl_access", b"\2\0\0\0"), (b"", b""), (b"user.\0", b"v"),
)  # fmt: skip


class Forge:
    def __init__(self, repository: Repository, outside: bytes, chance: random.Random) -> None:
        self._repository, self._outside, self._chance = repository, outside, chance
        self._packer = Packer(repository)
        self._trees: list[bytes] = []

    async def snapshot(self) -> Snapshot:
        """One that is in the store and hangs together as far as the pointer sees."""
        return await self.kept(await self.tree(4), self._chance.choice((3, 5000, 5000)))

    async def kept(self, tree: bytes, size: int) -> Snapshot:
        home = entry(b"home", b"d", tree, size)
        top = await self._packer.add(b"t", b"E" + home + (home if self._chance.random() < 0.02 else b""))
        places = await self._packer.flush()
        snapshot = Snapshot(FORMAT, time.time_ns(), "", "save", top.hex(), "", 1000, 0, "")
        listed: Listed = await self._repository.commit(places, snapshot)
        return await self._repository.snapshot(listed)

    async def doubled(self, depth: int) -> Snapshot:
        """A folder with two folders, each of which has two, each of which: one tree a level, and so many folders as there are atoms."""
        tree = await self._packer.add(b"t", b"E")
        for _ in range(depth):
            tree = await self._packer.add(b"t", b"E" + entry(b"a", b"d", tree) + entry(b"b", b"d", tree))
        return await self.kept(tree, 2000)

    async def blown_up(self, size: int) -> Snapshot:
        """A few hundred bytes that unpack to a large chunk."""
        chunk = await self._packer.add(b"d", bytes(size))
        payload = b"D" + struct.pack(">Q", size) + chunk
        return await self.kept(await self._packer.add(b"t", b"E" + entry(b"bomb", b"f", payload, size)), 1)

    async def tree(self, depth: int) -> bytes:
        """Mostly in order, so that it is read to its end; sometimes one that was there already, so that it comes under itself many times."""
        chance = self._chance
        if self._trees and chance.random() < 0.15:
            return chance.choice(self._trees)
        names = chance.choices(NAMES, k=chance.randrange(8))
        if chance.random() < 0.9:
            names = sorted({name for name in names if chance.random() < 0.02 or fair(name)})
        part = b"E" + b"".join([await self.child(name, depth) for name in names])
        if chance.random() < 0.05:
            part = part[: chance.randrange(1, len(part) + 1)]
        tree = await self._packer.add(b"t", part)
        if chance.random() < 0.1:
            part = struct.pack(">H", 1) + b"a" + tree
            tree = await self._packer.add(b"t", b"S" + part * chance.choice((1, 2, 300)))
        self._trees.append(tree)
        return tree

    async def child(self, name: bytes, depth: int) -> bytes:
        chance = self._chance
        kind, size = bytes([chance.choice(KINDS)]), chance.choice(HOLES)
        if kind == b"d":
            payload = await self.tree(depth - 1) if depth else chance.choice([b"", bytes(32), chance.randbytes(32), b"short"])
        elif kind == b"l":
            payload = chance.choice([self._outside, self._outside + b"/f", b"..", b"../outside", b"/", b"", b"\0", b"x" * 5000, b"a", b"."])
        else:
            payload, right = await self.content()
            size = right if right < 2**64 and chance.random() < 0.9 else size
        return entry(name, kind, payload, size, chance)

    async def content(self) -> tuple[bytes, int]:
        """Of a file, and its size: right, or of chunks that are another length, another type, too large, not there, or come many times."""
        chance, size, extents = self._chance, 0, b""
        for _ in range(chance.choice((0, 1, 1, 1, 2, 200))):
            length, part = 8, await self._packer.add(b"d", b"harmless")
            if chance.random() < 0.3:
                length, part = chance.choice(HOLES), NO_ID
            elif chance.random() < 0.05:
                part = chance.choice([await self._packer.add(b"d", bytes(2 << 20)), chance.randbytes(32), *self._trees[-1:]])
            size, extents = size + length, extents + struct.pack(">Q", length) + part
        if chance.random() < 0.2:
            return b"L" + await self._packer.add(b"l", extents) + chance.choice([b"", b"", b"", b"short", bytes(32)]), size
        return chance.choice([b"D"] * 10 + [b"", b"X"]) + extents, size


def fair(name: bytes) -> bool:
    return 0 < len(name) <= 255 and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def entry(name: bytes, kind: bytes, payload: bytes, size: int = 1, chance: random.Random | None = None) -> bytes:
    """Sane without `chance`."""
    if chance is None:
        return HEAD.pack(len(name), kind[0], 0, 0o755, 0, 0, size, 1, 0, 1, 0, 1, len(payload), 0) + name + payload
    xattrs = [chance.choice(XATTRS) for _ in range(chance.choice((0, 0, 0, 1, 3)))]
    head = HEAD.pack(
        len(name), kind[0], chance.choice((0, 0, 2, 2, 7, 255)), chance.choice(MODES), 0, chance.choice((0, 12345, 2**32 - 1)), size,
        chance.choice(SECONDS), chance.choice((0, 999_999_999, 2**32 - 1)), 1, 0, chance.choice((1, 2)), len(payload), len(xattrs),
    )  # fmt: skip
    return head + name + payload + b"".join(struct.pack(">HI", len(one), len(value)) + one + value for one, value in xattrs)
