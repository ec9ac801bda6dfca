"""The box in which notebooks are frozen and thawed for real: Podman 5 and CRIU 4.2 over a root tree of their own, real JupyterLab in it, and the
adapters of this machine's nbd speaking to it. What it keeps has the same paths here and there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import psutil
import pytest

from nbd.editors import SOCKET_NAME
from nbd.host.containers import PodmanContainers
from nbd.host.editor import UnixEditor
from nbd.host.freezefolder import FreezeFolder
from nbd.host.freezegroup import FreezeGroup
from nbd.host.freezer import PodmanFreezer, Way
from nbd.host.limits import host_limits
from nbd.host.networks import interface_name, network_name
from nbd.host.podman import Call, Podman
from nbd.host.processes import KernelProcesses
from nbd.notebooks.model import Notebook, Occupant
from nbd.notebooks.ports import Process
from nbd.notebooks.spec import Site, build, group, passwd
from nbd.profiles import parse_profile
from nbd.unixdoor import Place

from .jupyter import Jupyter, jupyter

ROOT = Path(__file__).resolve().parent.parent.parent
MADE = ROOT / ".venv" / "freezebox"
ENTER = Path(__file__).with_name("freeze_box.sh")
IMAGE = "localhost/nbd/jupyter:latest"
UP_SECONDS = 60.0
PATIENCE = 30.0
PODMAN_SECONDS = 60.0
PROFILE = 'title = "P"\nmemory = "8GiB"\nshm = "256MiB"\ntmp = "256MiB"\nnetwork = "none"\n'
INSTANCE = "/nbd-freeze-box"


def image_here() -> str:
    """Its id on this machine."""
    asked = subprocess.run(["podman", "image", "inspect", "--format", "{{.Id}}", IMAGE], capture_output=True, text=True, timeout=60, check=False)
    return asked.stdout.strip()


def loaded(folder: Path) -> None:
    """The box's storage has this machine's image, or will load it from `folder` as it comes up."""
    storage, stamp = MADE / "storage", MADE / ".image"
    if stamp.exists() and stamp.read_text() == image_here():
        return
    subprocess.run(["rm", "-rf", "--one-file-system", str(storage)], check=True)
    storage.mkdir()
    subprocess.run(["podman", "save", "--quiet", "--output", str(folder / "image.tar"), IMAGE], check=True, timeout=120, capture_output=True)
    stamp.write_text(image_here())


class FreezeBox:
    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.folder = folder
        self.socket = folder / "podman.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.processes = KernelProcesses()
        self.images = images or folder / "frozen"
        self.build()

    def build(self) -> None:
        """As after a restart of core."""
        self.enter = ("nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt") if self.process else ()
        self.podman = Podman(str(self.socket), PODMAN_SECONDS)
        self.containers = PodmanContainers(self.podman, self.processes, INSTANCE)
        self.frozen = FreezeFolder(self.images)
        self.freezer = PodmanFreezer(self.podman, self.processes, FreezeGroup(), self.frozen, Way(enter=self.enter))

    async def up(self) -> None:
        loaded(self.folder)
        self.socket.unlink(missing_ok=True)
        argv = ["unshare", "--mount", "--uts", "--ipc", "--net", "--fork", "--kill-child", str(ENTER), str(MADE / "tree"), str(MADE / "storage")]
        with (self.folder / "box.log").open("ab") as log:
            self.process = subprocess.Popen([*argv, str(self.folder)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.build()
        deadline = time.monotonic() + UP_SECONDS
        while not await self.answers():
            assert self.process.poll() is None, (self.folder / "box.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "the box does not come up"
            await asyncio.sleep(0.02)
        (self.folder / "image.tar").unlink(missing_ok=True)

    async def answers(self) -> bool:
        return self.socket.exists() and await self.podman.health() == "ok"

    async def down(self) -> None:
        """As when the box is switched off: Podman and every container end at once, whatever is under way."""
        await self.podman.close()
        assert self.process
        for process in [*psutil.Process(self.process.pid).children(recursive=True), *self.left()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                # What is stopped by its cgroup cannot even die.
                FreezeGroup().thaw(process.pid, self.processes.container_of(process.pid) or "none")
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        await until(lambda: not self.left(), "its processes end")
        self.process = None

    def kill_podman(self) -> None:
        """The service alone, as an OOM killer would. What it had started goes on."""
        assert self.process
        for process in psutil.Process(self.process.pid).children(recursive=True):
            if process.name() == "podman" and "service" in process.cmdline():
                process.kill()

    def left(self) -> list[psutil.Process]:
        """Processes that see the box's files and are no children of its service: conmon, and containers."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if str(MADE / "storage") in " ".join(words) or self.in_container(process.pid):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return [process for process in found if not self.process or process.pid != self.process.pid]

    def in_container(self, pid: int) -> bool:
        container = self.processes.container_of(pid)
        return container is not None and (MADE / "storage" / "overlay-containers" / container).exists()

    async def remove_all(self) -> None:
        """Also what an earlier run, that was killed, left in the storage."""
        for seen in await self.containers.seen():
            await self.containers.remove(seen.container)
        for notebook in await self.freezer.images():
            await self.freezer.forget(notebook)

    def bundle(self, container: str) -> Path:
        return MADE / "storage" / "overlay-containers" / container / "userdata"


@dataclass
class Lab:
    """A JupyterLab in the box, with work in it."""

    box: FreezeBox
    notebook: str
    container: str
    place: Place
    kernel: str = ""
    terminal: str = ""

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Jupyter]:
        async with jupyter(Path(self.place.path)) as editor:
            yield editor

    async def ready(self) -> None:
        await UnixEditor().wait_ready(self.place, "/api/status", PATIENCE)

    async def work(self) -> None:
        """A variable, a loop that counts, and a shell with a variable."""
        async with self.page() as editor:
            self.kernel = await editor.new_kernel()
            code = "import threading, time\nx = [41]\nn = 0\ndef loop():\n    global n\n    while True:\n        n += 1\n        time.sleep(0.01)\n"
            assert await editor.run(self.kernel, f"{code}threading.Thread(target=loop, daemon=True).start(); print('on')") == "on\n"
        self.terminal = await self.shell(None, "kept=yes-$((40+2))")

    async def run(self, code: str) -> str:
        async with self.page() as editor:
            return (await editor.run(self.kernel, code)).strip()

    async def counted(self) -> int:
        return int(await self.run("print(n)"))

    async def beyond(self, count: int) -> bool:
        return await self.counted() > count

    async def shell(self, name: str | None, line: str, answer: str = "") -> str:
        """Type a line into a terminal, a new one for None, and wait for the answer. Its name."""
        connector = aiohttp.UnixConnector(self.place.path)
        async with self.page() as editor, aiohttp.ClientSession("http://localhost", connector=connector) as session:
            name = name or await editor.new_terminal()
            async with asyncio.timeout(PATIENCE), session.ws_connect(f"/terminals/websocket/{name}") as channel:
                await channel.send_json(["stdin", f"{line}; echo do''ne\r"])
                text = ""
                while "done" not in text or answer not in text:
                    kind, *words = await channel.receive_json()
                    text += "".join(words) if kind == "stdout" else ""
        return name

    async def is_as_before(self, counted: int) -> None:
        """The same kernel with its variable, the loop that goes on from where it was, the same shell with its variable."""
        async with self.page() as editor:
            assert [kernel["id"] for kernel in await editor.kernels()] == [self.kernel]
        assert await self.run("x[0] += 1; print(x[0] > 41)") == "True"
        now = await self.counted()
        assert now >= counted
        await until(lambda: self.beyond(now), "the loop goes on")
        await self.shell(self.terminal, "echo $kept", "yes-42")

    async def freeze(self) -> None:
        await self.box.freezer.freeze(self.container, self.notebook)

    async def thaw(self) -> Process:
        process = await self.box.freezer.thaw(self.container, self.notebook)
        await self.ready()
        return process

    def alive(self) -> bool:
        return bool(self.box.processes.of_container(self.container))


async def until(what: Callable[[], object], why: str, seconds: float = PATIENCE) -> None:
    """Poll a function, or a coroutine function, until what it says is true."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if await value if asyncio.iscoroutine(value) else value:
            return
        assert time.monotonic() < deadline, f"not in time: {why}"
        await asyncio.sleep(0.02)


def tree_or_skip() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can enter the box")
    if not (MADE / ".made").exists():
        pytest.skip("there is no box for freeze and thaw: packaging/dev/freezebox could not make it (it needs Debian's mirror)")
    if not image_here():
        pytest.skip(f"{IMAGE} is not on this machine: packaging/dev/image jupyter")


@asynccontextmanager
async def opened(folder: Path, images: Path | None = None) -> AsyncIterator[FreezeBox]:
    tree_or_skip()
    box = FreezeBox(folder, images)
    await box.up()
    try:
        await box.remove_all()
        yield box
        await box.remove_all()
    finally:
        await box.down()


@asynccontextmanager
async def bridge(box: FreezeBox, notebook: str) -> AsyncIterator[str]:
    """A network as nbd makes it, but for its rules: those are another test's."""
    name = network_name(notebook)
    body = {"name": name, "driver": "bridge", "network_interface": interface_name(notebook), "dns_enabled": False}
    await box.podman.ask(Call("POST", "/networks/create", body=body))
    try:
        yield name
    finally:
        await box.podman.ask(Call("DELETE", f"/networks/{name}"))


@asynccontextmanager
async def lab(box: FreezeBox, notebook: str = "nabcdefghi", memory: str = "8GiB", network: str | None = None) -> AsyncIterator[Lab]:
    """As nbd makes it, but for uid 0: here nobody else can be dumped."""
    folder = box.folder / notebook
    for name in ("home", "run", "identity"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    who = Occupant("root", 0, 0, str(folder / "home"))
    (folder / "identity/passwd").write_text(passwd(who))
    (folder / "identity/group").write_text(group(who))
    site = Site(INSTANCE, "localhost/nbd/", str(folder / "run"), str(folder / "identity"), str(folder / "log"), network, host_limits())
    row = Notebook(notebook, "main", "root", "p", "jupyterlab", 5.0, run=1)
    wanted = build(row, parse_profile(PROFILE.replace("8GiB", memory), "p", "p"), who, [], site)
    container = await box.containers.create(replace(wanted, image=IMAGE))
    await box.containers.start(container)
    made = Lab(box, notebook, container, Place(str(folder / "run" / SOCKET_NAME), 0))
    try:
        await made.ready()
        yield made
    finally:
        await box.containers.remove(container)
        await box.freezer.forget(notebook)
        shutil.rmtree(folder)
