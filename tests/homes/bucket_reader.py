"""Reads a home out of an S3 bucket without nbd: each object by a plain request, then tests/homes/independent_reader.py."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import unescape

from tests.fakes.object_servers import BUCKET, ROOT_OF_S3, Server, ask

from .independent_reader import restore
from .world import Tree, look


@dataclass
class BucketReader:
    """`folder`: where objects that never change are kept between two looks."""

    server: Server
    prefix: str
    folder: Path

    def restored(self, master: bytes, snapshot: str = "") -> Tree:
        """What is really there; the newest, if no other is named."""
        self.fetch()
        target = self.folder.parent / f"back-{time.monotonic_ns()}"
        restore(self.folder, master, target, snapshot)
        return look(target)

    def fetch(self) -> None:
        """The folder has what is really there, as a local store would."""
        there = {key.removeprefix(f"{self.prefix}/"): key for key in self.keys()}
        for name, key in there.items():
            path = self.folder / name
            if not path.exists() or name in ("latest", "config", "config.copy"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.get(f"/{BUCKET}/{quote(key)}"))
        for path in [path for path in self.folder.rglob("*") if path.is_file() and str(path.relative_to(self.folder)) not in there]:
            path.unlink()

    def keys(self) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            query = f"list-type=2&prefix={quote(self.prefix, safe='')}/" + (f"&continuation-token={quote(token)}" if token else "")
            text = self.get(f"/{BUCKET}?{query}").decode()
            found += [unescape(key) for key in re.findall("<Key>(.*?)</Key>", text)]
            more = re.search("<NextContinuationToken>(.*?)<", text)
            if more is None:
                return found
            token = more[1]

    def get(self, path: str) -> bytes:
        status, body = ask(self.server.address, "GET", path, ROOT_OF_S3)
        assert status == 200, body
        return body
