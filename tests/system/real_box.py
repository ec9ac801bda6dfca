"""A whole nbd as a newcomer has it: `nbd dev` as a real process in a folder and on a port of its own, real Podman, real editors, a real account.

Everything is asked through the doors that people have (nbctl, the pages) or seen in what the machine shows. `traces` is all that this one
nbd has on the machine; after `end_everything` there must be none.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from nbd.host.networks import interface_name
from nbd.host.simulated import simulate

T = TypeVar("T")
UP_SECONDS = 40.0
PATIENCE = 40.0
POLL_SECONDS = 0.02
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Person:
    name: str
    uid: int
    gid: int
    home: Path


@contextmanager
def account(name: str) -> Iterator[Person]:
    """A person of the tests' own, with a home; both are gone afterwards. What a run that was killed left of them goes first."""
    subprocess.run(["userdel", "--force", "--remove", name], check=False, capture_output=True)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True, capture_output=True)
    try:
        entry = pwd.getpwnam(name)
        yield Person(name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))
    finally:
        subprocess.run(["userdel", "--force", "--remove", name], check=True, capture_output=True)


def until(what: Callable[[], T | None], seconds: float = PATIENCE, say: Callable[[], object] = lambda: "it did not happen") -> T:
    """The first true value of `what`; fails with `say()` when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, say()
        time.sleep(POLL_SECONDS)
    return value


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def podman(*argv: str) -> str:
    return subprocess.run(["podman", *argv], check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def short_folder() -> Iterator[Path]:
    """As the fixture short_path, for boxes that several tests share. pytest's own folders are closed to other accounts."""
    with tempfile.TemporaryDirectory(prefix="nbd-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@dataclass
class RealBox:
    folder: Path
    """D of `nbd dev --dir D`."""
    who: Person | None = None
    """Who uses nbctl and sudo; None for whoever runs the tests."""
    gpus: int = 0
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    mounted: frozenset[str] = field(default_factory=lambda: frozenset(mounts()))
    """What was mounted before."""

    @property
    def socket(self) -> Path:
        return self.folder / "run/nbd.sock"

    @property
    def output(self) -> str:
        """What this nbd and its programs have printed, all runs."""
        file = self.folder.parent / f"{self.folder.name}.out"
        return file.read_text() if file.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def instance(self) -> str:
        return str((self.folder / "state").resolve())

    def argv(self, *more: str) -> list[str]:
        simulate = ["--simulate-gpus", str(self.gpus)] if self.gpus else []
        return [str(BIN / "nbd"), "dev", "--dir", str(self.folder), "--listen", f"127.0.0.1:{self.port}", *simulate, *more]

    def env(self) -> dict[str, str]:
        """As under sudo: nbd runs as root and knows who called it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SUDO_", "NBD_"))}
        return kept | ({"SUDO_UID": str(self.who.uid), "SUDO_GID": str(self.who.gid)} if self.who else {})

    def launch(self, *more: str) -> None:
        """Begin `nbd dev`; it may come up or not."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.parent / f"{self.folder.name}.out", "ab") as out:
            self.process = subprocess.Popen(self.argv(*more), stdout=out, stderr=out, env=self.env(), cwd="/", start_new_session=True)

    def up(self, *more: str, sign: str = "nbd is up: ") -> str:
        """Start `nbd dev` and return what it printed up to when it is up."""
        before = len(self.output)
        self.launch(*more)
        assert self.process
        running = self.process
        until(lambda: sign in self.output[before:] or running.poll() is not None, UP_SECONDS, lambda: self.output[before:])
        assert running.poll() is None, self.output[before:]
        return self.output[before:]

    def down(self, told: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C in its terminal: the programs end. Returns the exit code."""
        assert self.process
        self.process.send_signal(told)
        code = self.process.wait(40)
        self.process = None
        return code

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        """An `nbd dev` that ends by itself."""
        return subprocess.run(self.argv(*more), capture_output=True, text=True, timeout=90, env=self.env(), cwd="/", check=False)

    def end_everything(self) -> None:
        """`make stop`, from another terminal; afterwards nothing of this nbd is left."""
        try:
            self.stop_as_people_do()
        except BaseException:
            self.clear_away()
            raise

    def clear_away(self) -> None:
        """When nbd cannot: what one test broke must not break the next."""
        if self.process:
            self.process.kill()
            self.process.wait()
        for process in self.processes():
            if process.name() != "conmon":
                process.kill()
        for kind, *remove in (("containers", "rm", "--force", "--time", "0"), ("networks", "network", "rm", "--force")):
            for name in self.traces().get(kind, ()):
                podman(*remove, name)

    def stop_as_people_do(self) -> None:
        stopped = self.run("--stop")
        if self.process:
            self.process.wait(40)
            self.process = None
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr + self.output[-4000:]
        until(lambda: not self.traces(), 10, lambda: f"left behind: {self.traces()}")
        specification = simulate.cdi_file(Path("/var/run/cdi"), zlib.crc32(str(self.folder).encode()) & 0xFFFF)
        assert not specification.exists(), f"left behind: {specification}"

    def nbctl(self, *argv: str, who: Person | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        me = who or self.who
        command = [str(BIN / "nbctl"), "--socket", str(self.socket), *argv]
        account = {"user": me.uid, "group": me.gid, "extra_groups": []} if me else {}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", check=False, input=stdin, **account)  # type: ignore[call-overload, no-any-return]

    def ask(self, *argv: str, who: Person | None = None) -> Any:
        """What `nbctl --json` says; it must succeed."""
        said = self.nbctl("--json", *argv, who=who)
        assert said.returncode == 0, said.stdout + said.stderr + self.output[-4000:]
        return json.loads(said.stdout)

    def refused(self, *argv: str, who: Person | None = None) -> tuple[int, str, str, str]:
        """Exit code, machine code, sentence and hint of an nbctl that must not succeed; a person is told the same as a machine."""
        said = self.nbctl("--json", *argv, who=who)
        assert said.returncode != 0, said.stdout
        error = json.loads(said.stdout)["error"]
        return said.returncode, error["code"], error["message"], error["hint"]

    def show(self, name: str = "main") -> Mapping[str, Any]:
        shown: Mapping[str, Any] = self.ask("show", name)
        return shown

    def reaches(self, name: str, *states: str, seconds: float = PATIENCE) -> Mapping[str, Any]:
        def there() -> Mapping[str, Any] | None:
            said = self.nbctl("--json", "show", name)
            view = json.loads(said.stdout) if said.returncode == 0 else {}
            return view if view.get("state") in states else None

        return until(there, seconds, lambda: f"{name} is not {states}: {self.nbctl('--json', 'show', name).stdout}\n{self.output[-4000:]}")

    def editor_socket(self, notebook: str) -> Path:
        return self.folder / "run/notebooks" / notebook / "editor.sock"

    def program(self, name: str) -> psutil.Process:
        """One of the children of `nbd dev`: core, web, sync, podman."""

        def find() -> psutil.Process | None:
            words = ["system", "service"] if name == "podman" else ["nbd", name]
            for child in psutil.Process(self.pid).children():
                with suppress(psutil.Error):  # a zombie, or gone by now
                    if all(word in child.cmdline() for word in words):
                        return child
            return None

        return until(find, 15, lambda: f"{name} does not run\n{self.output[-2000:]}")

    def kill_9(self, name: str) -> psutil.Process:
        """End a program the hard way, and return the one that `nbd dev` started in its place."""
        old = self.program(name)
        old.kill()

        def another() -> psutil.Process | None:
            # For a moment the dead one is still shown as running.
            now = self.program(name)
            return now if now.pid != old.pid else None

        return until(another, 15, lambda: f"{name} does not come back\n{self.output[-2000:]}")

    def wait_for_the_door(self) -> None:
        """Return when somebody listens where the pages are."""

        def listens() -> bool:
            with closing(socket.socket()) as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens, 15, lambda: self.output[-2000:])

    def containers(self) -> set[str]:
        return set(podman("ps", "--all", "--no-trunc", "--quiet", "--filter", f"label=io.nbd.instance={self.instance}").split())

    def traces(self) -> dict[str, list[str]]:
        """All that this nbd has on the machine, by kind; empty when that is nothing."""
        networks = podman("network", "ls", "--format", "{{.Name}}", "--filter", f"label=io.nbd.instance={self.instance}").split()
        folders = self.folder / "run/notebooks"
        found = {
            "containers": sorted(self.containers()),
            "networks": networks,
            "links": sorted(id for id in (name.removeprefix("nbd-") for name in networks) if Path("/sys/class/net", interface_name(id)).exists()),
            "processes": sorted(" ".join(process.cmdline()) for process in self.processes()),
            "mounts": [mount for mount in mounts() if mount.startswith(f"{self.folder}/") and mount not in self.mounted],
            "folders": [path.name for path in folders.iterdir()] if folders.is_dir() else [],
            "leases": self.leases(),
        }
        return {kind: what for kind, what in found.items() if what}

    def processes(self) -> Iterator[psutil.Process]:
        """Programs of nbd and the conmons of its containers: each has the folder in its command line."""
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in process.info["cmdline"] or ()) and process.pid != os.getpid():
                yield process

    def leases(self) -> list[str]:
        file = self.folder / "state/state.db"
        if not file.exists():
            return []
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as state:
            return [f"{card} {notebook}" for card, notebook in state.execute("SELECT card, notebook FROM leases")]


@contextmanager
def real_box(folder: Path, *argv: str, who: Person | None = None, gpus: int = 0, settings: str = "") -> Iterator[RealBox]:
    """An nbd that is up; however the test ends, nothing of it stays."""
    box = RealBox(folder / "d", who, gpus)
    box.folder.mkdir(mode=0o755, exist_ok=True)
    if settings:
        (box.folder / "nbd.toml").write_text(settings)
    try:
        box.up(*argv)
        yield box
    finally:
        box.end_everything()


def add_profile(box_folder: Path, name: str, text: str) -> None:
    """Beside the shipped profiles, which a folder of one's own replaces."""
    shelf = box_folder / "profiles.d"
    if not shelf.is_dir():
        shelf.mkdir(parents=True)
        shipped = Path(__file__).resolve().parents[2] / "config/profiles.d"
        for file in shipped.glob("*.toml"):
            (shelf / file.name).write_text(file.read_text())
    (shelf / f"{name}.toml").write_text(text)
