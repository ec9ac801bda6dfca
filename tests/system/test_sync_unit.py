"""The unit of sync under a real systemd: its account, its one capability, what it sees and may not, its sockets, its watchdog, its credentials."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nbd.host.privileges import READ_ANY, Rights, parse

from .real_box import BIN, until

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "systemd/nbd-sync.service"
CGROUPS = [Path("/sys/fs/cgroup", name) for name in ("systemd", "unified", "") if Path("/sys/fs/cgroup", name, "cgroup.procs").exists()]
EXPOSURE = 20
"""Tenths."""
MASTER = "c0" * 32

ASK = """
import asyncio, json, os, pwd, sys
from pathlib import Path
from nbd.homes.wishes import FlushWish, LookWish
from nbd.host.eventgroup import EventGroup
from nbd.host.syncclient import SyncHomes, home_of
from nbd.messages import RestoreRequest
from nbd.notebooks.model import Occupant
from nbd.places import SYSTEM
async def main(what):
    entry = pwd.getpwnam("nbdtest-pia")
    who = Occupant(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    core = SyncHomes(SYSTEM.sync_socket, SYSTEM.restore_socket, EventGroup(SYSTEM.events_socket))
    if what == "restore":
        *_, done = [step async for step in core.restore(who, RestoreRequest("paper"), entry.pw_dir + "/back")]
        back = Path(entry.pw_dir, "back/paper")
        return [done.entries, back.read_text(), back.stat().st_uid == entry.pw_uid]
    if what == "watch":
        await core.watch([who])
        while (status := await core.ask("status", home_of(who)))["sentence"] != "protected" or status["source"] == "looks":
            await asyncio.sleep(0.05)
        Path(entry.pw_dir, "later").write_text("later")
        os.chown(Path(entry.pw_dir, "later"), who.uid, who.gid)
        while "later" not in [one["name"] for one in await core.ask("ls", LookWish(home_of(who), "latest"))]:
            await asyncio.sleep(0.05)
        return status["source"]
    return await core.ask(what, FlushWish(home_of(who), "stop", "unit") if what == "flush" else home_of(who))
print(json.dumps(asyncio.run(main(sys.argv[1]))))
"""


class Box:
    """A machine with this one's files and a systemd of its own."""

    def __init__(self, folder: Path) -> None:
        self.name = f"nbdtest-{os.getpid()}"
        isolated = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child")
        argv = [*isolated, str(ROOT / "tests/system/systemd_box.sh"), str(folder), str(ROOT), str(BIN / "nbd")]
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        for cgroup in CGROUPS:
            (cgroup / self.name).mkdir()
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said, preexec_fn=self.enter)

    def enter(self) -> None:
        for cgroup in CGROUPS:
            (cgroup / self.name / "cgroup.procs").write_text("0")

    @property
    def init(self) -> int | None:
        """Its first process, once it is systemd."""
        with suppress(OSError, LookupError):
            pid = int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])
            return pid if Path(f"/proc/{pid}/comm").read_text() == "systemd\n" else None
        return None

    def run(self, *argv: str, of: int | None = None) -> subprocess.CompletedProcess[str]:
        """In the box, or with the mounts of one of its processes."""
        inside = ("nsenter", "--target", str(of or self.init), "--mount", *(() if of else ("--pid", "--net", "--ipc", "--uts")))
        return subprocess.run([*inside, *argv], capture_output=True, text=True, timeout=60, check=False, cwd="/")

    def show(self, what: str) -> str:
        return self.run("systemctl", "show", "--property", what, "--value", "nbd-sync.service").stdout.strip()

    def ask(self, what: str) -> Any:
        done = self.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", ASK, what)
        assert done.returncode == 0, done.stdout + done.stderr + self.messages()
        return json.loads(done.stdout)

    @property
    def sync(self) -> int:
        """Its process, as this machine numbers it."""
        inside = self.show("MainPID")
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                text = status.read_text()
                if f"NSpid:\t{status.parent.name}\t{inside}\n" in text:
                    return int(status.parent.name)
        raise AssertionError(f"sync does not run\n{self.messages()}")

    def messages(self) -> str:
        self.said.seek(0)
        return self.said.read().decode() + self.run("cat", "/dev/console", "/run/sync.out").stdout[-4000:]

    def end(self) -> None:
        self.process.kill()
        self.process.wait(20)
        self.said.close()
        for cgroup in CGROUPS:
            until(lambda cgroup=cgroup: emptied(cgroup / self.name), 10)  # type: ignore[misc]


def emptied(cgroup: Path) -> bool:
    """Whether it and all below are gone; they can go when the last process has."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not cgroup.exists()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    if not Path("/lib/systemd/systemd").exists():
        pytest.skip("there is no systemd here")
    box = Box(tmp_path)
    try:
        until(lambda: box.init, 20, box.messages)
        # Nothing is enabled in it.
        until(lambda: box.run("systemctl", "start", "nbd-sync.socket").returncode == 0, 20, box.messages)
        yield box
    finally:
        box.end()


def test_the_unit_exposes_little() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(UNIT)]
    judged = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_COLORS": "0"})
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_sync_under_systemd(box: Box) -> None:
    """From the first question to a home that came back; with a key that an admin keeps in systemd's store of credentials."""
    box.run("sh", "-c", f"echo {MASTER} > /etc/credstore/nbd.master-key; chmod 0600 /etc/credstore/nbd.master-key")
    box.run("sh", "-c", "umask 077; echo hers > /home/nbdtest-pia/paper; chown nbdtest-pia: /home/nbdtest-pia/paper")
    assert box.run("systemd-analyze", "verify", "nbd-sync.service").stderr == ""
    assert box.ask("flush")["trouble"] == "", "the question alone has started it"
    assert box.ask("restore") == [1, "hers\n", True]
    assert box.ask("verify")["good"]
    assert box.ask("watch") == "fanotify", "saved because it changed; nothing else looks so soon"
    assert box.run("test", "-e", "/var/lib/nbd/sync/master.key").returncode == 1
    assert "NEW MASTER KEY" not in box.messages()
    check_rights(box)
    check_that_it_comes_back(box)


def check_rights(box: Box) -> None:
    pid = box.sync
    status = Path(f"/proc/{pid}/status").read_text()
    uid = int(box.run("id", "--user", "nbd-sync").stdout)
    assert parse(status) == Rights(uid, READ_ANY, READ_ANY, 0, 0, READ_ANY, gains_nothing=True)
    assert "Seccomp:\t2\n" in status
    # Even root cannot write where sync is, but for its own folder; and some things are not there at all.
    for path in ("/home/nbdtest-pia/new", "/etc/new", "/usr/new", "/var/lib/new"):
        assert "Read-only file system" in box.run("touch", path, of=pid).stderr
    assert box.run("touch", "/var/lib/nbd/sync/new", of=pid).returncode == 0
    assert box.run("cat", "/etc/shadow", of=pid).stdout == ""
    assert box.run("cat", "/home/nbdtest-pia/paper", of=pid).stdout == "hers\n"
    assert box.run("stat", "--format", "%U %a", "/run/nbd/sync/sync.sock", "/run/nbd/sync/restore.sock").stdout == "root 600\n" * 2


def check_that_it_comes_back(box: Box) -> None:
    """Killed, it is there again, and a question asked meanwhile waits; hung, the watchdog ends it."""
    os.kill(box.sync, signal.SIGKILL)
    assert box.ask("snapshots")
    assert box.show("NRestarts") == "1"
    os.kill(box.sync, signal.SIGSTOP)
    until(lambda: box.show("NRestarts") == "2", 30, box.messages)
    assert box.ask("snapshots")
    assert box.run("systemctl", "stop", "nbd-sync.service").returncode == 0
    assert box.show("Result") == "success"
