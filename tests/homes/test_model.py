"""Random lives of a home: whatever is done to it, a restored snapshot is what it was, also with nothing but a hint of what was dirty."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from nbd.homes.pruner import Pruner
from nbd.homes.retention import Policy
from nbd.homes.snapshotter import Report
from nbd.homes.verifier import verify
from tests.fakes.object_store import MemoryStore

from .world import KEYS, Tree, World, look

T = TypeVar("T")

RUNS, STEPS = int(os.environ.get("NBD_MODEL_RUNS", "8")), int(os.environ.get("NBD_MODEL_STEPS", "40"))
NAMES = st.sampled_from([b"a", b"-\xff\xfe\n\xc3\xbc" + b"x" * 249])
"""Few, so that operations meet."""
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: b"/".join(names))
CONTENTS = st.one_of(st.binary(max_size=40), st.integers(1, 9).map(lambda n: bytes([n]) * 3000), st.just(b"").map(lambda _: os.urandom(600_000)))


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="nbd-life-"))
        self.world = self.run(World.make(self.folder, MemoryStore()))
        self.dirty = {b""}
        self.kept: list[tuple[Report, Tree]] = []

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    def at(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.world.home), path)  # noqa: PTH118

    def touch(self, path: bytes) -> bytes:
        """What an event source would say: the folder of the name."""
        self.dirty.add(os.path.dirname(path))  # noqa: PTH120
        return self.at(path)

    @staticmethod
    def fill(path: bytes, content: bytes) -> None:
        """Follows no link (this test may be root's), waits for no pipe."""
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        with os.fdopen(file, "wb") as opened:
            opened.write(content)

    @staticmethod
    def cut(path: bytes, size: int) -> None:
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.ftruncate(file, size)
        finally:
            os.close(file)

    @rule(path=PATHS, content=CONTENTS)
    def write(self, path: bytes, content: bytes) -> None:
        self.tried(lambda: self.fill(self.touch(path), content))
        self.siblings()

    @rule(path=PATHS, content=st.binary(min_size=1, max_size=40))
    def write_and_set_times_back(self, path: bytes, content: bytes) -> None:
        def act() -> None:
            file = Path(os.fsdecode(self.touch(path)))
            before = file.lstat()
            self.fill(os.fsencode(file), (content * before.st_size)[: before.st_size])
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)

        self.tried(act)
        self.siblings()

    @rule(path=PATHS, size=st.integers(0, 300_000))
    def truncate(self, path: bytes, size: int) -> None:
        self.tried(lambda: self.cut(self.touch(path), size))
        self.siblings()

    @rule(path=PATHS)
    def make_folder(self, path: bytes) -> None:
        self.tried(lambda: os.mkdir(self.touch(path)))  # noqa: PTH102

    @rule(path=PATHS, other=PATHS)
    def rename(self, path: bytes, other: bytes) -> None:
        self.tried(lambda: os.rename(self.touch(path), self.touch(other)))  # noqa: PTH104

    @rule(path=PATHS, other=PATHS)
    def link(self, path: bytes, other: bytes) -> None:
        self.tried(lambda: os.link(self.touch(path), self.touch(other), follow_symlinks=False))
        self.siblings()

    @rule(path=PATHS, aim=st.sampled_from([b"a", b"../b", b"/nowhere/at/all", b"c/a"]))
    def symlink(self, path: bytes, aim: bytes) -> None:
        self.tried(lambda: os.symlink(aim, self.touch(path)))  # noqa: PTH211

    @rule(path=PATHS)
    def pipe(self, path: bytes) -> None:
        self.tried(lambda: os.mkfifo(self.touch(path), 0o640))

    @rule(path=PATHS)
    def remove(self, path: bytes) -> None:
        where = self.touch(path)
        if os.path.isdir(where) and not os.path.islink(where):  # noqa: PTH112, PTH114
            shutil.rmtree(where)
        else:
            self.tried(lambda: os.unlink(where))  # noqa: PTH108
        self.siblings()

    @rule(path=PATHS, mode=st.sampled_from([0o600, 0o755, 0o2770, 0o444]))
    def change_mode(self, path: bytes, mode: int) -> None:
        """No setgid on a file: a restore drops it."""
        if not os.path.islink(self.at(path)):  # noqa: PTH114
            allowed = 0o7777 if os.path.isdir(self.at(path)) else 0o777  # noqa: PTH112
            self.tried(lambda: os.chmod(self.touch(path), mode & allowed))  # noqa: PTH101
            self.siblings()

    @rule(path=PATHS, value=st.binary(max_size=20))
    def attribute(self, path: bytes, value: bytes) -> None:
        self.tried(lambda: os.setxattr(self.touch(path), "user.x", value, follow_symlinks=False))
        self.siblings()

    @rule(only_dirty=st.booleans())
    def snapshot(self, only_dirty: bool) -> None:  # noqa: FBT001
        report = self.run(self.world.snap(*(self.dirty if only_dirty else ()), confirmed=True))
        self.dirty = set(report.again)
        self.kept.append((report, look(self.world.home)))

    @rule()
    def prune(self) -> None:
        pruner = Pruner(self.world.repository)
        self.run(pruner.execute(self.run(pruner.plan(Policy(), time.time_ns()))))

    @rule(which=st.integers(0, 100))
    def restore(self, which: int) -> None:
        if self.kept:
            report, before = self.kept[which % len(self.kept)]
            target = self.folder / "back"
            progress = self.run(self.world.restore(report, target))
            assert (progress.skipped, progress.damaged) == ([], [])
            assert look(target) == before
            shutil.rmtree(target)


    def siblings(self) -> None:
        """nbd asks for a proving look when a file with several names changed; here its names are told."""
        for folder, _, files in os.walk(os.fsencode(self.world.home)):
            if any(os.lstat(os.path.join(folder, name)).st_nlink > 1 for name in files):  # noqa: PTH118
                relative = os.path.relpath(folder, os.fsencode(self.world.home))
                self.dirty.add(b"" if relative == b"." else relative)

    @staticmethod
    def tried(act: Callable[[], object]) -> None:
        try:
            act()
        except (OSError, ValueError):
            return

    def teardown(self) -> None:
        self.restore(0)
        self.restore(len(self.kept) - 1)
        assert self.run(verify(self.world.store, KEYS)).good
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)


Life.TestCase.settings = settings(max_examples=RUNS, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck))
TestLife = Life.TestCase
