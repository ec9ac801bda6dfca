"""Who works, seen on real parts: a busy loop, a writer, a sender; a real JupyterLab with kernels and terminals; programs in its container."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from nbd.errors import Deadline, Unreachable
from nbd.host import unixhttp
from nbd.host.crier import PodmanCrier
from nbd.host.gauges import KernelGauges
from nbd.host.jupyter import JupyterStates
from nbd.host.probes import PodmanProbes
from nbd.idle.model import Counters, EditorLook
from tests.system.jupyter import Jupyter, jupyter

from .real_notebook import UID, RealNotebook, real_notebook, until

pytestmark = pytest.mark.real
WAITS = 'while ! test -e "$HOME/go"; do sleep 0.05; done; '
MIB = 1 << 20
RIGHTS = """#!/usr/bin/env python3
import json, sys
assert sys.stdin.read() == ""
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({"active": True, "text": " ".join(status[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Uid"))}))
"""


async def look(gauges: KernelGauges, notebook: RealNotebook) -> Counters:
    return (await gauges.counters([notebook.subject]))[notebook.subject.notebook]


async def grown(gauges: KernelGauges, notebook: RealNotebook, name: str, least: float) -> None:
    before = getattr(await look(gauges, notebook), name)
    (notebook.home / "go").touch()

    async def more() -> bool:
        return bool(getattr(await look(gauges, notebook), name) - before >= least)

    await until(more)


async def test_a_busy_loop(short_path: Path, podman_socket: Path) -> None:
    gauges = KernelGauges()
    async with real_notebook(short_path, podman_socket, ("sh", "-c", f"{WAITS} (while :; do :; done) & sleep 1000")) as notebook:
        at_rest = await look(gauges, notebook)
        assert None not in (at_rest.cpu_seconds, at_rest.disk_bytes, at_rest.memory_bytes)
        assert at_rest.network_bytes == 0
        assert at_rest.pids == notebook.processes.of_container(notebook.subject.container)
        await grown(gauges, notebook, "cpu_seconds", 0.3)
        busy = await look(gauges, notebook)
        assert busy.cpu_seconds is not None
        assert busy.editor_cpu_seconds is not None
        assert busy.editor_cpu_seconds < busy.cpu_seconds / 2, "it is a child of the editor's that works"


async def test_a_writer(short_path: Path, podman_socket: Path) -> None:
    """Which has ended by the time it is looked at: its parent carries what it wrote."""
    write = 'dd if=/dev/zero of="$HOME/big" bs=1M count=30 2>/dev/null; touch "$HOME/done"; exec sleep 1000'
    async with real_notebook(short_path, podman_socket, ("sh", "-c", WAITS + write)) as notebook:
        await grown(KernelGauges(), notebook, "disk_bytes", 30 * MIB)


async def test_a_sender(short_path: Path, podman_socket: Path) -> None:
    """Into a device that leads nowhere else. What goes over the loopback goes to nobody."""
    gauges = KernelGauges()
    async with real_notebook(short_path, podman_socket, ("sleep", "1000")) as notebook:

        def inside(*argv: str) -> None:
            subprocess.run(["nsenter", f"--net=/proc/{notebook.subject.pid}/ns/net", *argv], check=True, capture_output=True)

        def send(to: str) -> None:
            lines = "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); [s.sendto(bytes(1000), (sys.argv[1], 9)) for _ in range(100)]"
            inside(sys.executable, "-c", lines, to)

        inside("ip", "link", "set", "lo", "up")
        send("127.0.0.1")
        assert (await look(gauges, notebook)).network_bytes == 0
        inside("ip", "link", "add", "away", "type", "veth", "peer", "name", "end")
        inside("ip", "address", "add", "192.0.2.1/24", "dev", "away")
        for end in ("away", "end"):
            inside("ip", "link", "set", end, "up")
        inside("ip", "neighbour", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "away")
        send("192.0.2.2")
        assert ((await look(gauges, notebook)).network_bytes or 0) >= 100_000


async def test_one_that_has_ended_is_missing(short_path: Path, podman_socket: Path) -> None:
    gauges = KernelGauges()
    async with real_notebook(short_path, podman_socket, ("sleep", "1000")) as notebook:
        await look(gauges, notebook)
        ended = notebook
    assert await gauges.counters([ended.subject]) == {}


@pytest.fixture
async def lab(short_path: Path, podman_socket: Path) -> AsyncIterator[RealNotebook]:
    async with real_notebook(short_path, podman_socket) as notebook:
        yield notebook


@pytest.fixture
async def states() -> AsyncIterator[JupyterStates]:
    made = JupyterStates()
    yield made
    await made.close()


async def asked(states: JupyterStates, notebook: RealNotebook) -> EditorLook:
    return await states.look(notebook.subject.place, "jupyterlab")


async def begin(editor: Jupyter, kernel: str, code: str) -> asyncio.Task[str]:
    """Runs until it is cancelled, which closes its tab and leaves the kernel as it is."""
    return asyncio.create_task(editor.run(kernel, code))


async def given_up(task: asyncio.Task[str]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def busy_one(states: JupyterStates, lab: RealNotebook) -> EditorLook:
    async def there() -> EditorLook | None:
        seen = await asked(states, lab)
        return seen if any(kernel.busy for kernel in seen.kernels) else None

    return await until(there)


async def test_a_silent_busy_kernel_without_a_tab(lab: RealNotebook, states: JupyterStates) -> None:
    gauges = KernelGauges()
    assert await asked(states, lab) == EditorLook()
    async with jupyter(Path(lab.subject.place.path)) as editor:
        kernel = await editor.new_kernel()
        document = {"path": "train.ipynb", "name": "train.ipynb", "type": "notebook", "kernel": {"id": kernel}}
        async with editor._session.post("/api/sessions", json=document) as answer:
            assert answer.status == 201
        running = await begin(editor, kernel, "while True: pass")
        await busy_one(states, lab)
        await given_up(running)
        (seen,) = (await busy_one(states, lab)).kernels
        assert (seen.id, seen.name, seen.busy) == (kernel, "train.ipynb", True)
        before = await look(gauges, lab)
        assert (before.editor_cpu_seconds or 0) > 0.3, "its start alone takes that: whose time is it?"

        async def works() -> bool:
            now = await look(gauges, lab)
            assert now.cpu_seconds is not None
            assert now.editor_cpu_seconds is not None
            assert before.cpu_seconds is not None
            assert before.editor_cpu_seconds is not None
            return (now.cpu_seconds - before.cpu_seconds) - (now.editor_cpu_seconds - before.editor_cpu_seconds) > 0.5

        await until(works)


async def test_waiting_for_input_is_busy_and_nothing_else(lab: RealNotebook, states: JupyterStates) -> None:
    async with jupyter(Path(lab.subject.place.path)) as editor:
        kernel = await editor.new_kernel()
        assert await editor.run(kernel, "import time; print(1)") == "1\n"
        running = await begin(editor, kernel, "import os; os.read(os.pipe()[0], 1)")
        seen = await busy_one(states, lab)
        assert [one.busy for one in seen.kernels] == [True]
        await given_up(running)


async def server_activity(lab: RealNotebook) -> str:
    answer = await unixhttp.ask(lab.subject.place.path, "GET", "/api/status")
    return str(json.loads(answer.body)["last_activity"])


async def at_rest(states: JupyterStates, lab: RealNotebook) -> EditorLook | None:
    """A new terminal shows its prompt, which counts."""
    seen = await asked(states, lab)
    last = [kernel.last_activity for kernel in seen.kernels] + [terminal.last_activity for terminal in seen.terminals]
    return seen if time.time() - max(last) > 1.0 else None


async def test_looks_move_nobodys_last_activity(lab: RealNotebook, states: JupyterStates) -> None:
    async with jupyter(Path(lab.subject.place.path)) as editor:
        kernel = await editor.new_kernel()
        assert await editor.run(kernel, "print(1)") == "1\n"
        assert await editor.terminal() == 200
        before, server = await until(lambda: at_rest(states, lab)), await server_activity(lab)
        for _ in range(20):
            assert await asked(states, lab) == before
        assert await server_activity(lab) == server
        assert len(before.terminals) == 1
        await editor.kernels()
        assert await server_activity(lab) != server, "a question without that word would have counted"


async def test_every_terminal_is_told(lab: RealNotebook, states: JupyterStates) -> None:
    crier = PodmanCrier(lab.execs, lab.processes)
    await crier.call(lab.subject.container, "nobody has a terminal yet")
    async with jupyter(Path(lab.subject.place.path)) as editor:
        for _ in range(2):
            assert await editor.terminal() == 200
        names = [terminal.name for terminal in (await asked(states, lab)).terminals]
        assert len(names) == 2
        prompts = [asyncio.Event() for _ in names]
        screens = [asyncio.create_task(shows(editor, name, prompt, "stops at 14:32")) for name, prompt in zip(names, prompts, strict=True)]
        for prompt in prompts:
            await prompt.wait()
        before = lab.processes.of_container(lab.subject.container)
        await crier.call(lab.subject.container, "main stops at 14:32")
        await asyncio.gather(*screens)
        assert set(lab.processes.of_container(lab.subject.container)) <= set(before)


async def shows(editor: Jupyter, name: str, prompt: asyncio.Event, text: str) -> None:
    """Until the terminal's screen says so. `prompt` is set when it shows anything."""
    seen = ""
    async with editor._session.ws_connect(f"/terminals/websocket/{name}") as channel:
        async for message in channel:
            if message.type is aiohttp.WSMsgType.TEXT and message.json()[0] == "stdout":
                seen += message.json()[1]
                prompt.set()
            if text in seen:
                return
    raise AssertionError(f"the terminal closed: {seen!r}")


def program(lab: RealNotebook, text: str) -> str:
    file = lab.home / "probe"
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


async def test_a_probe_is_the_person_and_no_more(lab: RealNotebook) -> None:
    script = program(lab, RIGHTS)
    probe = await PodmanProbes(lab.execs).ask(lab.subject.container, script)
    assert probe.active
    nobody = "0" * 16
    assert probe.text.split() == [nobody, nobody, "1", "2", *[str(UID)] * 4]


async def test_a_probe_that_hangs_leaves_nothing(lab: RealNotebook) -> None:
    """Neither its child, nor what it left to itself in another session."""
    script = program(lab, "#!/bin/sh\nsetsid sleep 1000 >/dev/null 2>&1 </dev/null &\nsleep 1000 &\nwait\n")
    before = lab.processes.of_container(lab.subject.container)
    with pytest.raises(Deadline):
        await PodmanProbes(lab.execs, 1.0).ask(lab.subject.container, script)
    assert set(lab.processes.of_container(lab.subject.container)) <= set(before)


@pytest.mark.parametrize(("text", "says"), [("#!/bin/sh\nexit 7\n", "exit code 7"), ("#!/bin/sh\nexec yes\n", "more than"), ("", "not found")])
async def test_probes_that_are_none(lab: RealNotebook, text: str, says: str) -> None:
    script = program(lab, text) if text else "/no/such/probe"
    before = lab.processes.of_container(lab.subject.container)
    with pytest.raises(Unreachable, match=says):
        await PodmanProbes(lab.execs).ask(lab.subject.container, script)
    assert set(lab.processes.of_container(lab.subject.container)) <= set(before)
