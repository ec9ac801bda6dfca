"""Restores a home from a local store with nothing but docs/home-format.md: no code of nbd is used here, so that the document is proven.

    python independent_reader.py STORE MASTER_KEY_FILE TARGET [--snapshot ID] [--salvage]

Without --snapshot the newest. --salvage does without the pointer and the indexes: all snapshots that open, all footers of packs.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ZERO = bytes(32)
ENTRY = struct.Struct(">HBBIIIQqIqIQIH")
INDEX_ROW = struct.Struct(">32scIIII")
FOOTER_ROW = struct.Struct(">32scIII")


class Entry(NamedTuple):
    name: bytes
    kind: str
    flags: int
    mode: int
    gid: int
    size: int
    mtime: int
    inode: int
    payload: bytes
    xattrs: list[tuple[bytes, bytes]]


class Place(NamedTuple):
    kind: bytes
    pack: str
    offset: int
    sealed: int
    content: int


def derive(context: str, key: bytes) -> bytes:
    return bytes(blake3(key, derive_key_context=context).digest())


class Reader:
    def __init__(self, store: Path, master: bytes) -> None:
        self.store = store
        self.ids, self.seals = self.keys(master)
        self.places: dict[bytes, Place] = {}

    def keys(self, master: bytes) -> tuple[bytes, AESGCM]:
        name = derive("nbd 2026 master name", master).hex()[:16]
        for copy in ("config", "config.copy"):
            try:
                config = json.loads((self.store / copy).read_bytes())
                key = next(key for key in config["keys"] if key["master"] == name)
                bound = b"nbd home key 1" + config["home"].encode()
                wrap = AESGCM(derive("nbd 2026 wrap", master))
                home = wrap.decrypt(bytes.fromhex(key["nonce"]), bytes.fromhex(key["wrapped"]), bound)
                return derive("nbd 2026 ids", home), AESGCM(derive("nbd 2026 seal", home))
            except Exception as error:
                print(f"{copy}: {error!r}", file=sys.stderr)
        raise SystemExit("no config can be opened with this master key")

    def open(self, kind: bytes, part: bytes, sealed: bytes) -> bytes:
        opened = self.seals.decrypt(sealed[:12], sealed[12:], b"nbd1" + kind + part)
        content = zstandard.ZstdDecompressor().decompress(opened[1:], max_output_size=1 << 30) if opened[0] else opened[1:]
        if part != ZERO and blake3(kind + content, key=self.ids).digest() != part:
            raise ValueError("content does not match its id")
        return content

    def object(self, kind: bytes, folder: str, name: str) -> bytes:
        return self.open(kind, bytes.fromhex(name), (self.store / folder / name).read_bytes())

    def pointer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.open(b"p", ZERO, (self.store / "latest").read_bytes()))
        assert found["format"] == 1
        return found

    def read_indexes(self, names: list[str]) -> None:
        for name in names:
            data = self.object(b"i", "index", name)
            packs, rows = struct.unpack_from(">II", data, 16)
            start = 24 + 32 * packs
            assert len(data) == start + rows * INDEX_ROW.size
            for part, kind, pack, offset, sealed, content in INDEX_ROW.iter_unpack(data[start:]):
                self.places[part] = Place(kind, data[24 + 32 * pack : 56 + 32 * pack].hex(), offset, sealed, content)

    def read_footers(self) -> None:
        for path in sorted((self.store / "data").iterdir()):
            try:
                data = path.read_bytes()
                (length,) = struct.unpack(">I", data[-12:-8])
                assert data[-8:] == b"nbdpack1"
                footer = self.open(b"f", ZERO, data[-12 - length : -12])
            except Exception as error:
                print(f"{path.name}: {error!r}", file=sys.stderr)
                continue
            for part, kind, offset, sealed, content in FOOTER_ROW.iter_unpack(footer):
                self.places[part] = Place(kind, path.name, offset, sealed, content)

    def snapshots(self) -> list[tuple[str, dict[str, Any]]]:
        """Salvage: all that open, oldest first."""
        found = []
        for path in (self.store / "snapshots").iterdir():
            try:
                found.append((path.name, json.loads(self.object(b"s", "snapshots", path.name))))
            except Exception as error:
                print(f"{path.name}: {error!r}", file=sys.stderr)
        return sorted(found, key=lambda one: int(one[1]["time"]))

    def blob(self, part: bytes) -> bytes:
        place = self.places[part]
        with (self.store / "data" / place.pack).open("rb") as file:
            content = self.open(place.kind, part, os.pread(file.fileno(), place.sealed, place.offset))
        assert len(content) == place.content
        return content

    def tree(self, part: bytes) -> Iterator[Entry]:
        data = self.blob(part)
        if data[:1] == b"E":
            yield from entries(data)
            return
        at = 1
        while at < len(data):
            (named,) = struct.unpack_from(">H", data, at)
            at += 2 + named + 32
            yield from entries(self.blob(data[at - 32 : at]))

    def extents(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        data = entry.payload[1:]
        if entry.payload[:1] == b"L":
            data = b"".join(self.blob(data[at : at + 32]) for at in range(0, len(data), 32))
        yield from struct.iter_unpack(">Q32s", data)


def entries(data: bytes) -> Iterator[Entry]:
    at, before = 1, b""
    while at < len(data):
        named, kind, flags, mode, _, gid, size, mtime, mns, _, _, inode, paid, xattred = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        name, payload = data[at : at + named], data[at + named : at + named + paid]
        at += named + paid
        xattrs = []
        for _ in range(xattred):
            one, two = struct.unpack_from(">HI", data, at)
            xattrs.append((data[at + 6 : at + 6 + one], data[at + 6 + one : at + 6 + one + two]))
            at += 6 + one + two
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or name <= before:
            raise ValueError(f"a tree holds the name {name!r}")
        before = name
        yield Entry(name, chr(kind), flags, mode, gid, size, mtime * 10**9 + mns, inode, payload, xattrs)


class Writer:
    """Into an empty folder that nobody else touches: this is a tool for the day after, not a service. By descriptors, for a path may be longer
    than the kernel takes."""

    def __init__(self, reader: Reader, target: bytes) -> None:
        self.reader = reader
        os.makedirs(target, mode=0o700, exist_ok=True)  # noqa: PTH103
        self.root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        self.linked: dict[tuple[int, str, int, int, bytes], tuple[bytes, bytes]] = {}

    def reach(self, path: bytes) -> int:
        folder = os.dup(self.root)
        for name in path.split(b"/") if path else ():
            deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return folder

    def home(self, entry: Entry) -> None:
        """Iterative: a home may be deeper than Python recurses. Times and modes of folders come last, the deepest first."""
        todo, dressed = [(b"", entry)], []
        while todo:
            path, entry = todo.pop()
            dressed.append((path, entry))
            folder = self.reach(path)
            for child in self.reader.tree(entry.payload):
                if child.kind == "d":
                    os.mkdir(child.name, mode=0o700, dir_fd=folder)
                    todo.append((path + b"/" + child.name if path else child.name, child))
                else:
                    self.one(folder, path, child)
            os.close(folder)
        for path, entry in reversed(dressed):
            folder = self.reach(path)
            dress(folder, entry, 0o3777)
            os.close(folder)

    def one(self, folder: int, path: bytes, entry: Entry) -> None:
        key = (entry.inode, entry.kind, entry.size, entry.mtime, entry.payload)
        if entry.flags & 2 and key in self.linked:
            other = self.reach(self.linked[key][0])
            os.link(self.linked[key][1], entry.name, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
            os.close(other)
            return
        self.linked[key] = (path, entry.name)
        if entry.kind == "f":
            self.file(folder, entry)
        elif entry.kind == "l":
            os.symlink(entry.payload, entry.name, dir_fd=folder)
            os.utime(entry.name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)
        elif entry.kind == "p":
            os.mkfifo(entry.name, dir_fd=folder)
            pipe = os.open(entry.name, os.O_RDWR | os.O_NONBLOCK, dir_fd=folder)
            dress(pipe, entry, 0o1777)
            os.close(pipe)
        else:
            print(f"not restored: {entry.name!r} ({entry.kind})", file=sys.stderr)

    def file(self, folder: int, entry: Entry) -> None:
        file = os.open(entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        at = 0
        for length, part in self.reader.extents(entry):
            if part != ZERO:
                content = self.reader.blob(part)
                assert len(content) == length
                assert os.pwrite(file, content, at) == length
            at += length
        assert at == entry.size
        os.ftruncate(file, entry.size)
        dress(file, entry, 0o1777)
        os.close(file)


def dress(descriptor: int, entry: Entry, allowed: int) -> None:
    os.fchmod(descriptor, entry.mode & allowed)
    for name, value in entry.xattrs:
        os.setxattr(descriptor, name, value)
    os.utime(descriptor, ns=(entry.mtime, entry.mtime))


def restore(store: Path, master: bytes, target: Path, snapshot: str = "", *, salvage: bool = False) -> None:
    reader = Reader(store, master)
    if salvage:
        reader.read_footers()
        found = reader.snapshots()
        chosen = next((one for name, one in found if name == snapshot), found[-1][1])
    else:
        pointer = reader.pointer()
        reader.read_indexes(pointer["indexes"])
        newest = max(pointer["snapshots"], key=lambda one: int(one["time"]))
        chosen = json.loads(reader.object(b"s", "snapshots", snapshot or newest["id"]))
    (home,) = reader.tree(bytes.fromhex(chosen["tree"]))
    Writer(reader, os.fsencode(target)).home(home)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("master", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--snapshot", default="")
    parser.add_argument("--salvage", action="store_true")
    options = parser.parse_args()
    restore(options.store, bytes.fromhex(options.master.read_text().strip()), options.target, options.snapshot, salvage=options.salvage)


if __name__ == "__main__":
    main()
