"""A disk that crashes, after SQLite's test6: file operations are recorded, and any state that a power cut could leave is made from them.

At a crash point, bytes that were being written are whole, cut, garbage or absent; each name whose folder was not synced since is, independently
of all others, as it was durable or as any later operation made it.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

from nbd.host.fileops import FileOps


@dataclass(frozen=True)
class Step:
    what: str
    path: Path
    data: bytes = b""
    target: Path = Path()


class RecordingFiles(FileOps):
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._lock = threading.Lock()

    def note(self, step: Step) -> None:
        with self._lock:
            self.steps.append(step)

    def write_synced(self, path: Path, data: bytes) -> None:
        super().write_synced(path, data)
        self.note(Step("write", path, bytes(data)))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.note(Step("rename", source, target=target))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.note(Step("unlink", path))

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self.note(Step("mkdir", path))

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self.note(Step("sync", path))


@dataclass
class Disk:
    """Names as they are, as they are durable, and what came between. A name leads to bytes, or to None where it was removed."""

    now: dict[Path, bytes | None] = field(default_factory=dict)
    durable: dict[Path, bytes | None] = field(default_factory=dict)
    between: dict[Path, list[bytes | None]] = field(default_factory=dict)

    def apply(self, step: Step) -> None:
        if step.what == "write":
            self._set(step.path, step.data)
        elif step.what == "rename":
            self._set(step.target, self.now[step.path])
            self._set(step.path, None)
        elif step.what == "unlink":
            self._set(step.path, None)
        elif step.what == "sync":
            for path in [path for path in self.between if path.parent == step.path]:
                del self.between[path]
                self.durable[path] = self.now[path]

    def _set(self, path: Path, data: bytes | None) -> None:
        self.now[path] = data
        self.between.setdefault(path, []).append(data)

    def crashed(self, in_flight: Step | None, chance: random.Random) -> dict[Path, bytes]:
        found = {path: data for path, data in self.durable.items() if data is not None}
        for path, later in self.between.items():
            data = chance.choice([self.durable.get(path), *later])
            found.pop(path, None)
            if data is not None:
                found[path] = data
        if in_flight is not None and in_flight.what == "write":
            data = in_flight.data
            cut = chance.randrange(len(data) + 1)
            garbled = [data, data[:cut], data[:cut] + chance.randbytes(len(data) - cut), b"", chance.randbytes(len(data))]
            found[in_flight.path] = chance.choice(garbled)
        return found


def materialise(files: dict[Path, bytes], old: Path, new: Path) -> None:
    for path, data in files.items():
        target = new / path.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
