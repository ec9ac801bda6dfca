"""A repository made by an enemy who has the key: names that lead out, links before folders, devices, setuid, absurd sizes, bombs. Whatever is
restored stays in the folder to restore into, is no device and no setuid file, and nobody falls over.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import stat
from collections import Counter
from pathlib import Path

import pytest

from nbd.errors import Damaged
from nbd.homes.model import MAX_CHUNK, Snapshot
from nbd.homes.ports import Target
from nbd.homes.snapshots.repository import Repository
from nbd.homes.snapshots.restorer import Progress, Restorer
from nbd.host import frames
from nbd.host.homewriter import DescriptorTarget
from nbd.host.remotetarget import RemoteTarget
from nbd.host.restorestart import start
from nbd.notebooks.model import Occupant
from tests.fakes.object_store import MemoryStore

from .forge import Forge
from .world import KEYS, SOAK, Tree, in_memory, look, without_threads

MANIFESTS, AS_A_PERSON = 1000 * SOAK, 300 * SOAK
SOMEBODY = 23456


def laid_out(memory: Path) -> Path:
    (memory / "outside").mkdir()
    (memory / "outside/f").write_bytes(b"not yours")
    (memory / "target").mkdir()
    return memory / "target"


def harmless(memory: Path, outside: Tree) -> None:
    assert look(memory / "outside") == outside
    assert {path.name for path in memory.iterdir()} == {"outside", "target"}
    for _, folders, files, folder in os.fwalk(memory / "target"):
        for name in (*folders, *files):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            assert stat.S_IFMT(mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO), name
            assert not mode & (stat.S_ISUID if stat.S_ISDIR(mode) else stat.S_ISUID | stat.S_ISGID), name


async def brought(repository: Repository, snapshot: Snapshot, target: Target) -> str:
    progress = Progress()
    try:
        async with asyncio.timeout(60):
            await Restorer(repository).restore(snapshot, b"", target, progress)
    except Damaged:
        return "nothing"
    return "some" if progress.damaged or progress.skipped else "all"


async def test_nothing_is_written_outside(tmp_path: Path) -> None:
    """As root, which is more than a restore ever is. Several into one folder: a link of one is in the way of another."""
    without_threads()
    seen, repository = Counter[str](), await Repository.open(MemoryStore(), KEYS)
    with in_memory(tmp_path) as memory:
        target, outside = laid_out(memory), look(memory / "outside")
        for seed in range(MANIFESTS):
            snapshot = await Forge(repository, os.fsencode(memory / "outside"), random.Random(seed)).snapshot()
            writer = DescriptorTarget(target)
            try:
                seen[await brought(repository, snapshot, writer)] += 1
                harmless(memory, outside)
            except BaseException as error:
                error.add_note(f"by seed {seed}")
                raise
            finally:
                writer.close()
            if seed % 4 == 0:
                shutil.rmtree(target)
                target.mkdir()
            if seed % 50 == 0:
                repository = await Repository.open(MemoryStore(), KEYS)
    assert seen.keys() == {"nothing", "some", "all"}


async def test_bombs_do_not_go_off(tmp_path: Path) -> None:
    repository = await Repository.open(MemoryStore(), KEYS)
    forge = Forge(repository, b"", random.Random(0))
    with in_memory(tmp_path) as memory:
        writer = DescriptorTarget(laid_out(memory))
        assert await brought(repository, await forge.doubled(200), writer) == "some"
        assert sum(len(folders) for _, folders, _ in os.walk(memory / "target")) <= 2000
        assert await brought(repository, await forge.blown_up(MAX_CHUNK), writer) == "all"
        assert await brought(repository, await forge.blown_up(MAX_CHUNK + 1), writer) == "some"
        writer.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_the_child_outlives_it(tmp_path: Path) -> None:
    """One child, a person's, for all of them: it answers to the end, and has written nothing but into its folder."""
    repository = await Repository.open(MemoryStore(), KEYS)
    with in_memory(tmp_path) as memory:
        target, outside = laid_out(memory), look(memory / "outside")
        os.chown(target, SOMEBODY, SOMEBODY)
        memory.chmod(0o755)
        ours, theirs = socket.socketpair()
        child = await start(Occupant("nobody-here", SOMEBODY, SOMEBODY, str(target)), str(target), theirs)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        assert await frames.receive(reader) is not None
        for seed in range(AS_A_PERSON):
            snapshot = await Forge(repository, os.fsencode(memory / "outside"), random.Random(seed)).snapshot()
            await brought(repository, snapshot, RemoteTarget(reader, writer))
            harmless(memory, outside)
            assert child.returncode is None
        writer.close()
        assert await child.wait() == 0
