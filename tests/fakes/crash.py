"""A disk that crashes, after SQLite's test6: file operations are recorded, and any state that a power cut could leave is made from them.

At a crash point, what was being written is whole, cut, garbage or absent, each file by itself; each name whose folder was not synced since is,
independently of all others, as it was durable or as any later operation made it; a folder whose own name was not synced may be gone with all in it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbd.host.fileops import FileOps


@dataclass(frozen=True)
class Step:
    """`what`: begin, write (it is synced), rename, unlink, mkdir, sync; and whatever a test notes for itself."""

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
        self.note(Step("begin", path, bytes(data)))
        super().write_synced(path, data)
        self.note(Step("write", path, bytes(data)))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.note(Step("rename", source, target=target))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.note(Step("unlink", path))

    def make_folder(self, path: Path) -> None:
        known = path.is_dir()
        super().make_folder(path)
        if not known:
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
    folders: set[Path] = field(default_factory=set)
    """Whose own name is not durable yet."""
    flying: dict[Path, bytes] = field(default_factory=dict)
    """Being written."""

    @classmethod
    def holding(cls, files: Mapping[Path, bytes]) -> Disk:
        return cls(dict(files), dict(files))

    def apply(self, step: Step) -> None:
        if step.what == "begin":
            self.flying[step.path] = step.data
        elif step.what == "write":
            self.flying.pop(step.path, None)
            self._set(step.path, step.data)
        elif step.what == "rename":
            self._set(step.target, self.now[step.path])
            self._set(step.path, None)
        elif step.what == "unlink":
            self._set(step.path, None)
        elif step.what == "mkdir":
            self.folders.add(step.path)
        elif step.what == "sync":
            self.folders = {folder for folder in self.folders if folder.parent != step.path}
            for path in [path for path in self.between if path.parent == step.path]:
                del self.between[path]
                self.durable[path] = self.now[path]

    def _set(self, path: Path, data: bytes | None) -> None:
        self.now[path] = data
        self.between.setdefault(path, []).append(data)

    def crashed(self, in_flight: Step | None, chance: random.Random) -> dict[Path, bytes]:
        """One state of many. `in_flight`: the next step, which may have been begun."""
        found = {path: data for path, data in self.durable.items() if data is not None}
        for path, later in self.between.items():
            data = chance.choice([self.durable.get(path), *later])
            found.pop(path, None)
            if data is not None:
                found[path] = data
        flying = dict(self.flying)
        if in_flight is not None and in_flight.what in ("begin", "write"):
            flying[in_flight.path] = in_flight.data
        for path, data in flying.items():
            found.pop(path, None)
            left = half_written(data, chance)
            if left is not None:
                found[path] = left
        lost = {folder for folder in self.folders if chance.random() < 0.5}
        return {path: data for path, data in found.items() if lost.isdisjoint(path.parents)} if lost else found


def half_written(data: bytes, chance: random.Random) -> bytes | None:
    cut = chance.randrange(len(data) + 1)
    return chance.choice([data, data[:cut], data[:cut] + chance.randbytes(len(data) - cut), b"", chance.randbytes(len(data)), None])


def materialise(files: dict[Path, bytes], old: Path, new: Path) -> None:
    for path, data in files.items():
        target = new / path.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
