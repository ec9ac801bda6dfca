"""kill -9 of `nbd sync` at any moment of a snapshot, a prune, a restore; of core and of the child that writes: each time the next one goes on.

No repair step: it is started again, and every acknowledged snapshot is there, bit by bit, read without nbd's code. A restore that was killed has
no half file under a final name, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nbd.errors import NbdError, Unreachable
from nbd.homes.wishes import FlushWish
from nbd.host.syncclient import home_of
from nbd.messages import RestoreView
from nbd.notebooks.model import Occupant
from tests.fakes.object_servers import BUCKET, s3
from tests.homes.bucket_reader import BucketReader
from tests.homes.world import SOAK, look

from .keptlife import Life, gone, strace
from .real_box import until
from .restoring import Restoring, writers
from .syncbox import QUIET, SyncBox, outcome_of, sync_box

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("NBD_SEED", "20261121"))
SNAPSHOT_KILLS, SNAPSHOT_POINTS, BUCKET_KILLS = 32 * SOAK, 15 * SOAK, 8 * SOAK
START_POINTS, PRUNE_KILLS, RESTORE_KILLS = 5 * SOAK, 20 * SOAK, 20 * SOAK
CHILD_KILLS, CORE_KILLS = 25 * SOAK, 25 * SOAK
CALLS = ("fsync", "rename", "mkdir", "write")
"""By which a store changes."""
PRUNING = ("fsync", "rename", "unlink")
STARTING = ("mkdir", "write", "fsync", "link", "linkat", "rename", "unlink")
MOST_OF = {"fsync": 18, "rename": 5, "mkdir": 5, "write": 6}
NOBODY = QUIET + 'user = "nbdtest-none"\n'


@pytest.fixture
def box(short_path: Path) -> Iterator[SyncBox]:
    with sync_box(short_path, NOBODY) as box:
        yield box


async def test_kill_9_anywhere_in_a_snapshot(box: SyncBox, short_path: Path) -> None:
    await killed_again_and_again(Life.begin(box, short_path, SEED), SNAPSHOT_KILLS)


async def killed_again_and_again(life: Life, kills: int) -> None:
    await life.save("first")
    began = time.monotonic()
    for number in range(3):
        await life.save(f"measured {number}")
    whole = (time.monotonic() - began) / 3
    for number in range(kills):
        await life.save_and_kill(f"killed {number}", life.draw.uniform(0, 1.3 * whole))
        await life.again()
        await life.check()
    print(f"seed {SEED}: a snapshot takes {whole:.3f} s; {len(life.acked) - 4} of {kills} were acknowledged before the kill")
    await life.save("last")
    await life.check(0)


class BucketBox(SyncBox):
    """Its store is a bucket, and `reader` sees what is in there."""

    reader: BucketReader

    def store_of(self, who: Occupant) -> Path:
        self.reader.fetch()
        return self.reader.folder


async def test_kill_9_anywhere_in_a_snapshot_to_a_bucket(short_path: Path) -> None:
    (short_path / "copy").mkdir()
    with s3() as server:
        secrets = short_path / "secrets"
        secrets.touch(mode=0o600)
        secrets.write_text("".join(f'{key} = "{value}"\n' for key, value in server.secrets.items()))
        box = BucketBox(short_path / "d", f'{NOBODY}store = "s3://{BUCKET}/kills"\nstore_secrets = "{secrets}"\n')
        box.reader = BucketReader(server, "kills/kim", short_path / "copy")
        try:
            box.up()
            await killed_again_and_again(Life.begin(box, short_path, SEED), BUCKET_KILLS)
        finally:
            box.kill()


async def test_kill_9_at_a_call_of_a_snapshot(box: SyncBox, short_path: Path) -> None:
    """Exactly before the k-th call of a kind."""
    life = Life.begin(box, short_path, SEED)
    await life.save("first")
    died = 0
    for number in range(SNAPSHOT_POINTS):
        call = CALLS[number % len(CALLS)]
        when = life.draw.randrange(1, MOST_OF[call] + 1)
        assert box.process
        with strace(box.process.pid, f"{call}:signal=SIGKILL:when={when}"):
            asked = asyncio.create_task(life.save(f"{number}: {call} {when}"))
            await over(asked, box.process)
        died += box.process.poll() is not None
        box.kill()
        await life.again()
        await life.check()
    assert died > SNAPSHOT_POINTS / 2
    await life.save("last")
    await life.check(0)


async def over(asked: asyncio.Task[None], process: subprocess.Popen[bytes]) -> None:
    """The answer, or the end of who should have given it."""
    async with asyncio.timeout(30):
        while not asked.done() and not gone(process):
            await asyncio.sleep(0.005)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)


async def test_kill_9_in_the_first_start(short_path: Path) -> None:
    """The key and what else is made once: half of it must not keep the next start from making it."""
    whole = SyncBox(short_path / "whole", NOBODY)
    counted = short_path / "calls"
    try:
        whole.up("strace", "-f", "--seccomp-bpf", "-o", str(counted), "-e", f"trace={','.join(STARTING)}")
    finally:
        whole.kill()
    points = [(call, when) for call in STARTING for when in range(1, len(re.findall(rf" {call}\(", counted.read_text())) + 1)]
    assert len(points) > 12
    # The key gets its name by a link: before and after that in any case.
    points = sorted(random.Random(SEED).sample(points, len(points)), key=lambda point: not point[0].startswith(("link", "unlink")))
    for number, (call, when) in enumerate(points[:START_POINTS]):
        await first_start(short_path / f"n{number}", f"{call}:signal=SIGKILL:when={when}")


async def first_start(folder: Path, inject: str) -> None:
    folder.mkdir()
    box = SyncBox(folder / "d", NOBODY)
    try:
        killed = box.launch("strace", "-f", "-o", "/dev/null", "-e", f"inject={inject}")
        until(lambda: killed.poll() is not None or box.listens(), 30)
        box.kill()
        box.up()
        life = Life.begin(box, folder, SEED)
        await life.save("after")
        await life.check()
    finally:
        box.kill()


async def test_kill_9_anywhere_in_a_prune(box: SyncBox, short_path: Path) -> None:
    """By time and by call, while sync goes on: what is named stays, what it counts on stays, and the next prune ends the work."""
    life = Life.begin(box, short_path, SEED)
    await life.save("first")
    with a_prune(box, life.who, 0) as prune:
        began = time.monotonic()
        begin(prune)
        assert prune.wait(20) == 0
    whole, died = time.monotonic() - began, 0
    for number in range(PRUNE_KILLS):
        for _ in range(2):
            await life.save_in_passing()
        with a_prune(box, life.who, 3 * number + 3) as prune:
            if number % 2:
                begin(prune)
                await asyncio.sleep(life.draw.uniform(0, 1.2 * whole))
            else:
                await killed_at_a_call(prune, life.draw.choice(PRUNING), life.draw.randrange(1, 25))
            died += prune.poll() is None or prune.returncode < 0
            prune.kill()
            prune.wait(20)
        await life.save(f"kept {number}")
        await life.check(2)
    print(f"seed {SEED}: a prune takes {whole:.3f} s; {died} of {PRUNE_KILLS} died")
    assert died > PRUNE_KILLS / 2
    with a_prune(box, life.who, 3 * PRUNE_KILLS + 3) as prune:
        begin(prune)
        assert prune.wait(20) == 0
    await life.check(0)
    assert len([one for one in await box.snapshots(life.who) if not one.name]) <= 1
    assert (await box.core.ask("verify", home_of(life.who)))["good"]


async def killed_at_a_call(prune: subprocess.Popen[bytes], call: str, when: int) -> None:
    with strace(prune.pid, f"{call}:signal=SIGKILL:when={when}"):
        begin(prune)
        await asyncio.to_thread(until, lambda: gone(prune), 20)


@contextmanager
def a_prune(box: SyncBox, who: Occupant, days: int) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "tests.system.prune_once", str(box.store_of(who)), str(box.places.sync_state / "master.key"), str(days)]
    with process_that_waits(argv) as prune:
        yield prune


@contextmanager
def process_that_waits(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """One that says when it is ready, and begins when it is told to."""
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait(20)
        process.stdin.close()
        process.stdout.close()


def begin(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.flush()


async def test_kill_9_of_sync_in_a_restore(box: SyncBox, short_path: Path) -> None:
    restoring = await Restoring.begin(box, short_path, short_path / "to")
    for _ in range(RESTORE_KILLS):
        target = restoring.next()
        asked = asyncio.create_task(box.restore(restoring.life.who, target, restoring.snapshot))
        await restoring.moment(target, asked.done)
        box.kill()
        await told_or_done(asked)
        restoring.check(target)
        box.up()
        await restoring.again(target)
    assert restoring.half > RESTORE_KILLS / 5
    await restoring.life.check(0)


async def test_kill_9_of_the_process_that_writes(box: SyncBox, short_path: Path) -> None:
    restoring = await Restoring.begin(box, short_path, short_path / "to")
    for _ in range(CHILD_KILLS):
        target = restoring.next()
        asked = asyncio.create_task(box.restore(restoring.life.who, target, restoring.snapshot))
        await restoring.moment(target, asked.done)
        for child in writers():
            child.kill()
        await told_or_done(asked)
        restoring.check(target)
        await restoring.again(target)
    assert restoring.half > CHILD_KILLS / 5


async def told_or_done(asked: asyncio.Task[RestoreView]) -> None:
    """Who asked is told in a sentence with a next step, at once."""
    async with asyncio.timeout(20):
        outcome = await outcome_of(asked)
    assert outcome.code in ("broken_off", "unreachable") if isinstance(outcome, NbdError) else outcome.done, outcome
    assert not writers()


async def test_kill_9_of_core_in_a_restore(box: SyncBox, short_path: Path) -> None:
    """The process that writes ends with who started it, and sync lets go of it."""
    restoring = await Restoring.begin(box, short_path, short_path / "to")
    who, before = restoring.life.who, descriptors(box)
    for _ in range(CORE_KILLS):
        target = restoring.next()
        with process_that_waits([sys.executable, "-c", CORE, *words_of(box, who, target, restoring.snapshot)]) as core:
            begin(core)
            await restoring.moment(target, lambda: core.poll() is not None)
            core.kill()
            core.wait(20)
        await asyncio.to_thread(until, lambda: not writers(), 20)
        restoring.check(target)
        await restoring.again(target)
    assert restoring.half > CORE_KILLS / 5
    await asyncio.to_thread(until, lambda: descriptors(box) <= before, 20, lambda: f"{descriptors(box)} descriptors, {before} before")


def descriptors(box: SyncBox) -> int:
    assert box.process
    return psutil.Process(box.process.pid).num_fds()


CORE = """
import asyncio, sys
from pathlib import Path
from nbd.host.syncclient import SyncHomes
from nbd.messages import RestoreRequest
from nbd.notebooks.model import Occupant
name, uid, home, sync, restore, snapshot, to = sys.argv[1:]
async def main():
    who = Occupant(name, int(uid), int(uid), home)
    print("ready", flush=True)
    sys.stdin.readline()
    async for _ in SyncHomes(Path(sync), Path(restore)).restore(who, RestoreRequest("", snapshot), to):
        pass
asyncio.run(main())
"""


def words_of(box: SyncBox, who: Occupant, target: Path, snapshot: str) -> list[str]:
    return [who.name, str(who.uid), who.home, str(box.places.sync_socket), str(box.places.restore_socket), snapshot, str(target)]


async def test_a_sync_that_hangs_holds_nobody_up(box: SyncBox, short_path: Path) -> None:
    life = Life.begin(box, short_path, SEED)
    await life.save("before")
    assert box.process
    box.process.send_signal(signal.SIGSTOP)
    try:
        life.work()
        life.tried["while it hung"] = look(life.home)
        asked = box.core.ask("flush", FlushWish(home_of(life.who), "stop", "while it hung"), 0.5)
        with pytest.raises(Unreachable, match="the sync program does not answer") as said:
            await asked
        assert said.value.hint
        assert (await box.core.health()).startswith("the sync program does not answer")
    finally:
        box.process.send_signal(signal.SIGCONT)
    await life.flush("after")
    assert await box.core.health() == "ok"
    await life.check(0)
