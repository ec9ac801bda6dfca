"""kill -9 while snapshots go into the spool, and while they are published: what was acknowledged is in the store in the end."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from nbd.errors import Unreachable
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.verifier import verify
from nbd.host.fileops import FileOps
from nbd.host.folderstore import FolderStore

from .offline import Box, kill
from .world import KEYS, SOAK

KILLS = 10 * SOAK


class Gate(FileOps):
    """A folder that is there while a file says so."""

    def __init__(self, away: Path) -> None:
        self._away = away

    def write_synced(self, path: Path, data: bytes) -> None:
        if self._away.exists():
            raise OSError(5, "the disk is away")
        super().write_synced(path, data)


def box_in(folder: Path) -> Box:
    return Box(folder, FolderStore(folder / "store", Gate(folder / "away")))


LIFE = """
import asyncio, itertools, os, sys
from pathlib import Path
from nbd.errors import NbdError
from tests.homes.test_spool_kill import box_in

async def main(folder, first):
    box = box_in(folder)
    for number in itertools.count(first):
        (box.home / f"f{number % 7}").write_bytes(os.urandom(20_000))
        print((await box.look("stop", f"n{number}")).listed.id, flush=True)
        if number % 6 == 5:
            away = folder / "away"
            away.unlink() if away.exists() else away.touch()
            try:
                await box.publish()
            except NbdError:
                pass

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def test_what_was_acknowledged_gets_there(tmp_path: Path) -> None:
    chance, acked = random.Random(2), list[str]()
    first = box_in(tmp_path)
    await first.look("begin")
    assert first.copies
    kill(first.copies)  # What it holds, the next ones would wait for.
    for _ in range(KILLS):
        argv = [sys.executable, "-c", LIFE, str(tmp_path), str(len(acked))]
        life = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert life.stdout
        for _ in range(chance.randrange(1, 14)):
            acked.append(life.stdout.readline().decode().strip())
        time.sleep(chance.random() * 0.02)
        life.send_signal(signal.SIGKILL)
        acked += life.communicate()[0].decode().split()
    (tmp_path / "away").unlink(missing_ok=True)
    box = box_in(tmp_path)
    try:
        await box.publish()
    except Unreachable as error:
        raise AssertionError("the store is there") from error
    stored = {listed.id for listed in (await Repository.open(box.store, KEYS)).root.snapshots}
    assert "" not in acked, "no life ended by itself"
    assert set(acked) <= stored
    assert (await verify(box.store, KEYS)).good
