"""Power cuts: at each step of snapshots, prunes, merges of indexes and rotations of the key, any state that the disk may be in has every
acknowledged snapshot, is read by nbd and by the independent reader, and needs no repair. Store and state of the box are on one disk, and fall apart
independently of each other. (The spool has the same proof beside its other ones: test_spool_crash.py.)
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nbd.homes.snapshots.pruner import Pruner
from nbd.homes.snapshots.repository import Repository, rotate
from nbd.homes.snapshots.retention import HOUR, Policy
from nbd.homes.snapshots.snapshotter import Report, Request, Snapshotter
from nbd.homes.snapshots.verifier import verify
from nbd.homes.vault import Vault
from nbd.host.codec import MasterKeys
from nbd.host.fileops import FileOps
from nbd.host.folderstore import KEY, FolderStore
from nbd.host.ignores import IgnoreRules
from nbd.host.sequences import SequenceFile
from tests.fakes.crash import Disk, RecordingFiles, Step, materialise
from tests.fakes.object_store import MemoryStore

from .independent_reader import Reader
from .world import MASTER, SOAK, Tree, different, in_memory, look, opened, restored, without_threads

STATES, LIVES = 10_000 * SOAK, 4
OLD, NEW = MASTER, bytes(range(100, 132))
KEYS = MasterKeys(NEW, OLD)
"""A box that is about to rotate has both."""
POLICY = Policy(recent=0, hourly=2, daily=0, weekly=0, monthly=0)


@dataclass
class Past:
    """What happened, step by step; what was acknowledged; what a prune was allowed to drop from some step on."""

    folder: Path
    files: FileOps
    reports: list[tuple[Report, Tree]] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    drops: list[set[str]] = field(default_factory=list)
    hours: int = 0

    def vault(self) -> Vault:
        seen = SequenceFile(self.folder / "state/seen.json", self.files)
        return Vault("", lambda person: FolderStore(self.folder / "store" / person, self.files), KEYS, seen)

    def now(self) -> int:
        return time.time_ns() + self.hours * HOUR

    def note(self, what: str, number: int) -> None:
        assert isinstance(self.files, RecordingFiles)
        self.files.note(Step(what, Path(str(number))))

    async def snap(self, vault: Vault, repository: Repository, *, name: str = "") -> Report:
        async with opened(self.folder / "home") as home:
            report = await Snapshotter(repository, IgnoreRules(), self.now).take(home, Request("save", name, None, confirmed=True))
        await vault.note("ada", repository)
        return report

    async def live(self, seed: int) -> None:
        """Twenty-odd snapshots, so that indexes are merged; prunes, of which later ones delete; one rotation; a restart now and then."""
        chance, home = random.Random(seed), self.folder / "home"
        for number in range(24):
            (home / f"f{chance.randrange(12)}").write_bytes(chance.randbytes(chance.choice((0, 40, 2000))))
            if number % 6 == 0:
                vault = self.vault()
                repository = await vault.open("ada")
                repository.box = "here"
            report = await self.snap(vault, repository, name=f"n{number}" if number % 10 == 0 else "")
            self.reports.append((report, look(home)))
            self.sequences.append(repository.root.sequence)
            self.note("acked", number)
            if number in (17, 19, 21, 22):
                self.hours += 25
                plan = await Pruner(repository).plan(POLICY, self.now())
                self.drops.append({listed.id for listed in plan.drop})
                self.note("prune", len(self.drops) - 1)
                await Pruner(repository).execute(plan)
            if number == 9 + seed:
                await rotate(repository.store, KEYS)


async def recorded(folder: Path, seed: int, files: FileOps) -> Past:
    without_threads()
    for name in ("home", "store", "state"):
        (folder / name).mkdir(parents=True)
    past = Past(folder, files)
    await past.live(seed)
    return past


@dataclass
class State:
    """One of the states that a power cut leaves: what has to be there, and what is."""

    past: Past
    files: dict[Path, bytes]
    acked: set[str]
    sequence: int
    scratch: Path

    async def prove(self, chance: random.Random) -> None:
        await self.check()
        if chance.random() < 0.01:
            await self.go_on(chance)

    async def check(self) -> None:
        """Quickly, in memory: the objects that a store in a folder would show, and the state of the box in a real file."""
        root = f"{self.past.folder}/store/ada/"
        store, seen = MemoryStore(), self.scratch / "seen.json"
        for path, data in self.files.items():
            if str(path).startswith(root) and KEY.fullmatch(str(path)[len(root) :]):
                await store.create(str(path)[len(root) :], data)
        seen.unlink(missing_ok=True)
        if self.past.folder / "state/seen.json" in self.files:
            seen.write_bytes(self.files[self.past.folder / "state/seen.json"])
        sequences = SequenceFile(seen)
        assert await sequences.highest("ada") >= self.sequence, "an older store could be put in its place"
        repository = await Vault("", lambda _: store, KEYS, sequences).open("ada")
        assert self.acked <= {listed.id for listed in repository.root.snapshots}
        found = await verify(store, KEYS)
        assert found.good, found

    async def go_on(self, chance: random.Random) -> None:
        """On a real disk again: a restore, the next snapshot, and a second power cut in the middle of that."""
        shutil.rmtree(self.scratch)
        past = replace(self.past, folder=self.scratch, files=RecordingFiles())
        materialise(self.files, self.past.folder, self.scratch)
        for name in ("home", "store", "state"):
            (self.scratch / name).mkdir(exist_ok=True)
        before = {path: path.read_bytes() for path in self.scratch.rglob("*") if path.is_file()}
        vault = past.vault()
        repository = await vault.open("ada")
        reports = [(report, tree) for report, tree in self.past.reports if report.listed.id in self.acked]
        if reports:
            report, tree = chance.choice(reports)
            await restored(repository, report, self.scratch / "back")
            assert different(look(self.scratch / "back"), tree) == {}
            reader = stranger(self.scratch / "store/ada")
            reader.read_indexes(reader.pointer()["indexes"])
            assert len(list(reader.tree(bytes.fromhex(report.snapshot.tree)))) == 1
        (self.scratch / "home/later").write_bytes(b"later")
        acked = self.acked | {(await past.snap(vault, repository)).listed.id}
        assert isinstance(past.files, RecordingFiles)
        steps = past.files.steps
        again, point = Disk.holding(before), chance.randrange(len(steps))
        for step in steps[:point]:
            again.apply(step)
        await State(past, again.crashed(steps[point], chance), self.acked, self.sequence, self.scratch).check()
        for step in steps[point:]:
            again.apply(step)
        await State(past, again.crashed(None, chance), acked, repository.root.sequence, self.scratch).check()


def stranger(store: Path) -> Reader:
    """With whichever key opens it: both are in the safe while the key is rotated."""
    try:
        return Reader(store, NEW)
    except SystemExit:
        return Reader(store, OLD)


@contextmanager
def said(where: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(where)
        raise


async def cut_down(past: Past, states: int, scratch: Path, chance: random.Random) -> int:
    """So many states, spread over all points; how many were looked at."""
    assert isinstance(past.files, RecordingFiles)
    steps, disk, looked = past.files.steps, Disk(), 0
    acked, sequence = set[str](), 0
    each = -(-states // (len(steps) + 1))
    for point in range(len(steps) + 1):
        in_flight = steps[point] if point < len(steps) else None
        for _ in range(each):
            with said(f"a power cut before step {point}: {in_flight and (in_flight.what, in_flight.path)}"):
                await State(past, disk.crashed(in_flight, chance), set(acked), sequence, scratch).prove(chance)
            looked += 1
        if in_flight:
            disk.apply(in_flight)
            if in_flight.what == "acked":
                acked.add(past.reports[int(str(in_flight.path))][0].listed.id)
                sequence = past.sequences[int(str(in_flight.path))]
            acked -= past.drops[int(str(in_flight.path))] if in_flight.what == "prune" else set()
    return looked


def kinds(steps: Sequence[Step]) -> set[tuple[str, str]]:
    return {(step.what, (step.target if step.what == "rename" else step.path).parent.name) for step in steps}


@pytest.mark.parametrize("seed", range(LIVES))
async def test_power_cuts(tmp_path: Path, seed: int) -> None:
    files = RecordingFiles()
    with in_memory(tmp_path) as memory:
        past = await recorded(memory / "past", seed, files)
        assert {("unlink", "data"), ("unlink", "index"), ("unlink", "snapshots"), ("rename", "state")} <= kinds(files.steps)
        (memory / "now").mkdir()
        assert await cut_down(past, STATES // LIVES, memory / "now", random.Random(seed)) >= STATES // LIVES


class Careless(RecordingFiles):
    """Does not sync, in one way or another, and does not tell."""

    def __init__(self, forgets: str) -> None:
        super().__init__()
        self._forgets = forgets

    def note(self, step: Step) -> None:
        if step.what != self._forgets:
            super().note(step)


class Hasty(RecordingFiles):
    """Gives a file its name before its bytes are on the disk."""

    def note(self, step: Step) -> None:
        super().note(step)
        if step.what == "rename":
            written = next(one for one in reversed(self.steps) if one.what == "write" and one.path == step.path)
            super().note(Step("begin", step.target, written.data))


@pytest.mark.parametrize("files", [Careless("sync"), Hasty()], ids=["names are not synced", "bytes are not synced"])
async def test_the_simulator_finds(tmp_path: Path, files: RecordingFiles) -> None:
    """The proof can fail."""
    with in_memory(tmp_path) as memory:
        past = await recorded(memory / "past", 0, files)
        (memory / "now").mkdir()
        with pytest.raises(Exception) as raised:  # noqa: PT011 - lost, unreadable, damaged: whatever it is, it is found
            await cut_down(past, 2000, memory / "now", random.Random(0))
    assert "a power cut before step" in "".join(raised.value.__notes__)
