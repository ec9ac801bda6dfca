"""A /proc and a /sys/fs/cgroup of the tests' own, in which a container's counters are what a test says: v1, v2, both; each manager's way."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from nbd.idle.model import Counters
from nbd.idle.ports import Subject
from nbd.unixdoor import Place

TICKS = 100
INIT, EDITOR = 7, 8
V1 = {"pids": "pids", "memory": "memory", "blkio": "blkio", "cpuacct": "cpuacct"}


@dataclass(frozen=True)
class Layout:
    controllers: dict[str, str]
    """Of v1: name to the hierarchy that it is in."""
    v2: bool
    path: str
    """Of the container's group."""
    below: str = ""
    """Where its processes are, below that."""


LAYOUTS = {
    "v1, cgroupfs": Layout(V1, v2=False, path="/libpod_parent/libpod-{}"),
    "v1, two in one": Layout({**V1, "cpuacct": "cpu,cpuacct"}, v2=False, path="/machine.slice/libpod-{}.scope"),
    "hybrid": Layout(V1, v2=True, path="/libpod_parent/libpod-{}"),
    "v2, cgroupfs": Layout({}, v2=True, path="/libpod_parent/libpod-{}"),
    "v2, systemd": Layout({}, v2=True, path="/machine.slice/libpod-{}.scope", below="/container"),
}


def subject(notebook: str, container: str, pid: int = INIT) -> Subject:
    return Subject(notebook, "ada", "main", container, pid, Place("/nowhere", 1000), "jupyterlab", "p", "RUNNING")


@dataclass
class KernelFiles:
    folder: Path
    layout: Layout

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    @property
    def groups(self) -> Path:
        return self.folder / "cgroup"

    def group(self, controller: str, container: str) -> Path:
        """The container's own, in the hierarchy of that controller; v2's where v1 has it not."""
        path = self.layout.path.format(container).lstrip("/")
        if controller in self.layout.controllers:
            return self.groups / self.layout.controllers[controller] / path
        return self.groups / ("unified" if self.layout.controllers else "") / path

    def put(self, container: str, counters: Counters, first: int = INIT) -> None:
        """What is None is not there."""
        self.take(container, first)
        groups = {self.group(name, container) for name in (*self.layout.controllers, "v2")}
        for group in groups if self.layout.v2 else groups - {self.group("v2", container)}:
            (group / self.layout.below.lstrip("/")).mkdir(parents=True)
            (group / "cgroup.procs").write_text("")
        self._group_files(container, counters)
        self.process(first, container, "catatonit", 1)
        if counters.editor_cpu_seconds is not None:
            self.process(first + 1, container, "jupyter-lab", first, cpu_seconds=counters.editor_cpu_seconds)
        if counters.network_bytes is not None:
            self.network(first, eth0=(counters.network_bytes - 1, 1), lo=(9999, 9999))
        for pid in counters.pids or ():
            (self.proc / str(pid)).mkdir(exist_ok=True)
            if counters.disk_bytes is not None:
                self.disk(pid, *((counters.disk_bytes - 2, 2) if pid == first else (0, 0)))

    def _group_files(self, container: str, counters: Counters) -> None:
        members = self.group("pids", container) / self.layout.below.lstrip("/") / "cgroup.procs"
        if counters.pids is None:
            (self.group("pids", container) / "cgroup.procs").unlink()
        else:
            members.write_text("".join(f"{pid}\n" for pid in counters.pids))
        if counters.cpu_seconds is not None:
            v1 = "cpuacct" in self.layout.controllers
            text = f"{round(counters.cpu_seconds * 1e9)}\n" if v1 else f"usage_usec {round(counters.cpu_seconds * 1e6)}\nuser_usec 1\nsystem_usec 1\n"
            (self.group("cpuacct", container) / ("cpuacct.usage" if v1 else "cpu.stat")).write_text(text)
        if counters.memory_bytes is not None:
            name = "memory.usage_in_bytes" if "memory" in self.layout.controllers else "memory.current"
            (self.group("memory", container) / name).write_text(f"{counters.memory_bytes}\n")

    def block_layer(self, container: str, count: int) -> None:
        """What the group's own file says of disks."""
        if "blkio" in self.layout.controllers:
            text = f"8:0 Read {count - 1}\n8:0 Write 1\n8:0 Total {count}\nTotal {count}\n"
            (self.group("blkio", container) / "blkio.throttle.io_service_bytes_recursive").write_text(text)
        else:
            text = f"8:0 rbytes={count - 2} wbytes=1 rios=77 wios=77 dbytes=0 dios=0\n7:1 rbytes=1 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n"
            (self.group("blkio", container) / "io.stat").write_text(text)

    def process(self, pid: int, container: str, name: str, parent: int, cpu_seconds: float = 0.0, start: int = 0) -> None:
        folder = self.proc / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        ticks = round(cpu_seconds * TICKS)
        zeros = ("0",) * 9
        fields = ["S", str(parent), *zeros, str(ticks - ticks // 3), str(ticks // 3), *zeros[:6], str(start or pid * 100)]
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        path = self.layout.path.format(container) + self.layout.below
        lines = [f"{number}:{names}:{path}" for number, names in enumerate(sorted(set(self.layout.controllers.values())), 2)]
        lines += ["1:name=systemd:/init.scope", f"0::{path if self.layout.v2 else '/'}"]
        (folder / "cgroup").write_text("\n".join(lines) + "\n")

    def disk(self, pid: int, read: int, written: int) -> None:
        text = f"rchar: 99\nwchar: 99\nsyscr: 1\nsyscw: 1\nread_bytes: {read}\nwrite_bytes: {written}\ncancelled_write_bytes: 9\n"
        (self.proc / str(pid) / "io").write_text(text)

    def network(self, pid: int, **interfaces: tuple[int, int]) -> None:
        (self.proc / str(pid) / "net").mkdir(exist_ok=True)
        lines = [f"{name:>6}: {got} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0" for name, (got, sent) in interfaces.items()]
        (self.proc / str(pid) / "net/dev").write_text("\n".join(["Inter-| Receive | Transmit", " face |bytes |bytes", *lines]) + "\n")

    def take(self, container: str, first: int = INIT) -> None:
        """The container goes."""
        for group in {self.group(name, container) for name in (*self.layout.controllers, "v2")}:
            shutil.rmtree(group, ignore_errors=True)
        for pid in (first, first + 1):
            shutil.rmtree(self.proc / str(pid), ignore_errors=True)
