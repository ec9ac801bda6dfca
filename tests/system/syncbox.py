"""A real `nbd sync` over a folder of its own, asked as core asks it. It may be killed at any moment; what it left is what the next one finds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from nbd.errors import NbdError
from nbd.homes.wishes import FlushWish
from nbd.host.syncclient import SyncHomes, home_of
from nbd.messages import HomeView, RestoreRequest, RestoreView, SnapshotView
from nbd.notebooks.model import Occupant
from nbd.places import Places, under
from nbd.wire import load
from tests.homes.independent_reader import Reader, restore

from .real_box import BIN, Person, until

T = TypeVar("T")
QUIET = '[homes]\nlook_every = "1h"\n'
"""Only what is asked for happens."""
UP = "sync serves at"


def occupant(who: Person) -> Occupant:
    return Occupant(who.name, who.uid, who.gid, str(who.home))


@dataclass
class SyncBox:
    folder: Path
    settings: str = QUIET
    wrap: Sequence[str] = ()
    """What stands before `nbd sync` on its command line: setpriv, strace."""
    store: Path | None = None
    """Where the settings say; None: in sync's own folder."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def places(self) -> Places:
        return under(self.folder)

    @property
    def core(self) -> SyncHomes:
        return SyncHomes(self.places.sync_socket, self.places.restore_socket)

    @property
    def output(self) -> str:
        file = self.folder / "sync.out"
        return file.read_text(errors="replace") if file.exists() else ""

    def launch(self, *wrap: str) -> subprocess.Popen[bytes]:
        """Begin; it may come up or not."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "nbd.toml").write_text(self.settings)
        self.places.sync_socket.unlink(missing_ok=True)
        argv = [*wrap, *self.wrap, str(BIN / "nbd"), "sync", "--dir", str(self.folder)]
        with open(self.folder / "sync.out", "ab") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)
        return self.process

    def up(self, *wrap: str) -> int:
        """Start it, and return its pid when it has said that it serves: by then it knows what is still owed."""
        before = len(self.output)
        process = self.launch(*wrap)
        until(lambda: UP in self.output[before:] or process.poll() is not None, 20, lambda: self.output[-4000:])
        assert process.poll() is None, self.output[-4000:]
        return process.pid

    def listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.places.sync_socket)) == 0

    def kill(self) -> None:
        """SIGKILL, to all of its session: strace does not take its tracee with it."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
            self.process = None

    def end(self) -> int:
        """As systemd ends it. Returns the exit code."""
        assert self.process
        self.process.terminate()
        code = self.process.wait(20)
        self.process = None
        return code

    async def flush(self, who: Occupant, event: str = "stop", name: str = "", seconds: float = 30.0) -> HomeView:
        """A snapshot that is acknowledged. Raises as sync does."""
        return load(HomeView, await self.core.ask("flush", FlushWish(home_of(who), event, name), seconds))

    async def status(self, who: Occupant) -> HomeView:
        return load(HomeView, await self.core.ask("status", home_of(who)))

    async def snapshots(self, who: Occupant) -> list[SnapshotView]:
        """Newest first."""
        return [load(SnapshotView, one) for one in await self.core.ask("snapshots", home_of(who))]

    async def restore(self, who: Occupant, to: Path, snapshot: str = "", path: str = "") -> RestoreView:
        return [step async for step in self.core.restore(who, RestoreRequest(path, snapshot), str(to))][-1]

    def store_of(self, who: Occupant) -> Path:
        return (self.store or self.places.sync_state / "store") / who.name

    @property
    def master(self) -> bytes:
        return bytes.fromhex((self.places.sync_state / "master.key").read_text().strip())

    def stored(self, who: Occupant) -> dict[str, str]:
        """Name and id of what the store's pointer names, oldest first; without those that have no name. Read without nbd's code."""
        named = Reader(self.store_of(who), self.master).pointer()["snapshots"]
        return {one["name"]: one["id"] for one in sorted(named, key=lambda one: int(one["time"])) if one["name"]}

    def independent(self, who: Occupant, snapshot: str, target: Path) -> None:
        """Restores without nbd's code. Fails where a single bit is not as it was stored."""
        restore(self.store_of(who), self.master, target, snapshot)


@contextmanager
def sync_box(folder: Path, settings: str = QUIET, wrap: Sequence[str] = ()) -> Iterator[SyncBox]:
    """One that is up; nothing of it runs afterwards."""
    box = SyncBox(folder / "d", settings, wrap)
    try:
        box.up()
        yield box
    finally:
        box.kill()


@contextmanager
def refused(code: str) -> Iterator[None]:
    """What is done in here must fail with this code, and say how to go on."""
    with pytest.raises(NbdError) as said:
        yield
    assert said.value.code == code, said.value
    assert said.value.hint


async def outcome_of(work: Awaitable[T]) -> T | NbdError:
    """What came of it, or why nothing did: said in a sentence with a next step."""
    try:
        return await work
    except NbdError as error:
        outcome = error
    assert outcome.hint, outcome
    return outcome
