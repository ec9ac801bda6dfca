"""Programs that nbd runs in a notebook, with a Podman of the tests' own at the far end: what is asked of it, and what its answers come to."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nbd.errors import Deadline, Unreachable
from nbd.host.crier import SCRIPT, PodmanCrier, announced
from nbd.host.execs import RAW_BYTES, PodmanExecs, streams
from nbd.host.podman import Podman
from nbd.host.probes import MOST_BYTES, PodmanProbes
from nbd.host.processes import KernelProcesses
from nbd.idle.model import ProbeLook
from tests.fakes.podman_chaos import Asked, ChaosPodman, answers, hangs_up, not_http, refuses, silent

CONTAINER = "c" * 64
PROBE = "/usr/local/bin/probe"


def piece(data: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxI", stream, len(data)) + data


@dataclass
class Exec:
    """How the far end plays one program."""

    output: bytes = b""
    code: int = 0
    ends: bool = True
    bodies: dict[str, Any] = field(default_factory=dict)
    killed: bool = False

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        what = asked.path.split("?")[0].rpartition("/")[2]
        if asked.body:
            self.bodies[what] = json.loads(asked.body)
        if what == "exec":
            return await answers({"Id": "e1"}, 201)(asked, writer)
        if what == "json":
            return await answers({"Running": not (self.ends or self.killed), "ExitCode": self.code})(asked, writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n" + self.output)
        await writer.drain()
        if not self.ends:
            await asyncio.Event().wait()
        return False


@dataclass
class Ends:
    service: ChaosPodman
    execs: PodmanExecs
    processes: KernelProcesses
    proc: Path

    def play(self, output: bytes = b"", code: int = 0, *, ends: bool = True) -> Exec:
        self.service.sin = played = Exec(output, code, ends)
        return played

    def living(self, pid: int, mark: str, tty: int = 0) -> None:
        folder = self.proc / str(pid)
        folder.mkdir()
        (folder / "cgroup").write_text(f"0::/machine.slice/libpod-{CONTAINER}.scope/container\n")
        (folder / "environ").write_text(f"HOME=/home/ada\0{mark}\0PATH=/bin\0")
        (folder / "stat").write_text(f"{pid} (ba) sh) S 1 2 3 {tty} 5 6 7\n")


@pytest.fixture
async def ends(short_path: Path) -> AsyncIterator[Ends]:
    proc = short_path / "proc"
    proc.mkdir()
    async with ChaosPodman(short_path / "podman.sock", silent) as service:
        podman, processes = Podman(str(service.path), 5.0), KernelProcesses(proc)
        yield Ends(service, PodmanExecs(podman, str(service.path), processes, proc), processes, proc)
        await podman.close()


def probes(ends: Ends, seconds: float = 5.0) -> PodmanProbes:
    return PodmanProbes(ends.execs, seconds)


async def test_a_probe_that_answers(ends: Ends) -> None:
    played = ends.play(piece(b'{"active": tr') + piece(b"warming up\n", 2) + piece(b'ue, "text": "step 4711"}\n'))
    assert await probes(ends).ask(CONTAINER, PROBE) == ProbeLook(active=True, text="step 4711")
    asked = played.bodies["exec"]
    assert asked["Cmd"] == [PROBE], "no shell sees it"
    assert not asked.get("AttachStdin")
    assert set(asked) == {"Cmd", "AttachStdout", "AttachStderr", "Env"}, "the ids and rights are the container's own"


async def test_text_is_optional_and_one_line(ends: Ends) -> None:
    ends.play(piece(b'{"active": false, "more": 1}'))
    assert await probes(ends).ask(CONTAINER, PROBE) == ProbeLook(active=False)
    ends.play(piece(json.dumps({"active": True, "text": "a\x1b[2Jb\nc" + "x" * 999}).encode()))
    text = (await probes(ends).ask(CONTAINER, PROBE)).text
    assert text.startswith("a [2Jb c")
    assert text.isprintable()
    assert len(text) == 200


NONSENSE = {
    "nothing": (b"", 0, "did not print JSON"),
    "no JSON": (piece(b"yes, busy\n"), 0, "yes, busy"),
    "a list": (piece(b'[{"active": true}]'), 0, '"active": true or false'),
    "active as text": (piece(b'{"active": "true"}'), 0, '"active": true or false'),
    "active as a number": (piece(b'{"active": 1}'), 0, '"active": true or false'),
    "no active": (piece(b'{"text": "x"}'), 0, '"active": true or false'),
    "text as a number": (piece(b'{"active": true, "text": 5}'), 0, '"active": true or false'),
    "deep": (piece(b"[" * 4000), 0, "did not print JSON"),
    "only errors": (piece(b'{"active": true}', 2), 0, "did not print JSON"),
    "an exit code": (piece(b'{"active": false}') + piece(b"no licence\n\x1b[31m", 2), 3, "exit code 3: no licence"),
    "too much": (piece(b" " * (MOST_BYTES + 1)), 0, f"more than {MOST_BYTES} bytes"),
    "too much in small pieces": (piece(b"x") * (RAW_BYTES // 9 + 2), 0, f"more than {MOST_BYTES} bytes"),
    "no stream": (b"HTTP is not here", 0, "not understood"),
}


@pytest.mark.parametrize(("output", "code", "says"), NONSENSE.values(), ids=list(NONSENSE))
async def test_whatever_else_it_says_is_unknown_and_told(ends: Ends, output: bytes, code: int, says: str) -> None:
    ends.play(output, code)
    with pytest.raises(Unreachable) as caught:
        await probes(ends).ask(CONTAINER, PROBE)
    assert says in caught.value.message
    assert PROBE in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint


FAILURES = {
    "gone": refuses(404, "no such container"),
    "not running": refuses(409, "can only create exec sessions on running containers: container state improper"),
    "not there": refuses(500, "crun: executable file `/usr/local/bin/probe` not found: No such file or directory"),
    "hangs up": hangs_up,
    "no HTTP": not_http,
    "odd": answers([1, 2]),
}


@pytest.mark.parametrize("sin", FAILURES.values(), ids=list(FAILURES))
async def test_a_podman_that_fails_is_unknown(ends: Ends, sin: Any) -> None:
    ends.service.sin = sin
    with pytest.raises(Unreachable):
        await probes(ends).ask(CONTAINER, PROBE)


async def test_what_podman_says_at_the_start_is_told(ends: Ends) -> None:
    async def far(asked: Asked, writer: asyncio.StreamWriter) -> bool:
        failed = asked.path.endswith("/start")
        await (refuses(500, "crun: executable file not found") if failed else Exec())(asked, writer)
        return not failed  # As asked to: Podman ends the connection of a start.

    ends.service.sin = far
    with pytest.raises(Unreachable, match="executable file not found"):
        await probes(ends).ask(CONTAINER, PROBE)


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    made = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    yield made
    for one in made:
        one.kill()
        one.wait()


async def test_one_that_takes_too_long_is_ended_with_all_that_it_started(ends: Ends, sleepers: list[subprocess.Popen[bytes]]) -> None:
    played = ends.play(ends=False)
    asking = asyncio.create_task(probes(ends, 0.5).ask(CONTAINER, PROBE))
    while "exec" not in played.bodies:
        await asyncio.sleep(0.005)
    (mark,) = played.bodies["exec"]["Env"]
    first, child, other = sleepers
    ends.living(first.pid, mark)
    ends.living(child.pid, mark)
    ends.living(other.pid, f"NBD_EXECUTIVE={mark}")
    gone = asyncio.create_task(asyncio.to_thread(first.wait))
    await asyncio.wait([gone], timeout=10)
    assert child.wait(10) == -9
    assert first.returncode == -9
    for pid in (first.pid, child.pid):
        (ends.proc / str(pid) / "cgroup").unlink()  # as of one that has ended
    played.killed = True
    with pytest.raises(Deadline, match=r"did not end within 0\.5 s"):
        await asking
    assert other.poll() is None, "a person's own process is no business of the probe's"


async def test_one_that_is_called_off_is_ended_too(ends: Ends) -> None:
    played = ends.play(ends=False)
    asking = asyncio.create_task(probes(ends).ask(CONTAINER, PROBE))
    while "start" not in played.bodies:
        await asyncio.sleep(0.005)
    played.killed = True
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_streams() -> None:
    assert streams(piece(b"a") + piece(b"x", 2) + piece(b"b")) == (b"ab", b"x")
    assert streams(piece(b"abc")[:-1]) == (b"ab", b"")
    assert streams(b"\x01\0\0") == (b"", b"")
    with pytest.raises(Unreachable):
        streams(piece(b"x", 7))


PTY = 136 << 8 | 3


async def test_a_call_is_an_argument_of_a_script_that_never_changes(ends: Ends) -> None:
    ends.living(4711, "x", tty=PTY)
    played = ends.play()
    text = 'stops at 14:32; keep it: "nbctl keep main 2h" $(reboot) `x`'
    await PodmanCrier(ends.execs, ends.processes, ends.proc).call(CONTAINER, text)
    assert played.bodies["exec"]["Cmd"] == ["/bin/sh", "-c", SCRIPT, "nbd", announced(text)]


@pytest.mark.parametrize("tty", [0, 4 << 8 | 1, 88 << 8])
async def test_where_nobody_has_a_terminal_nothing_is_started(ends: Ends, tty: int) -> None:
    ends.living(4711, "x", tty=tty)
    await PodmanCrier(ends.execs, ends.processes, ends.proc).call(CONTAINER, "hello")
    await PodmanCrier(ends.execs, ends.processes, ends.proc).call("d" * 64, "hello")
    assert ends.service.asked == []


@pytest.mark.parametrize("sin", FAILURES.values(), ids=list(FAILURES))
async def test_a_call_never_raises(ends: Ends, sin: Any) -> None:
    ends.living(4711, "x", tty=PTY)
    ends.service.sin = sin
    await PodmanCrier(ends.execs, ends.processes, ends.proc).call(CONTAINER, "hello")


def test_nothing_that_a_terminal_would_obey_is_passed_on() -> None:
    said = announced("one\x1b]0;title\x07\x9b2J\ntwo\u202e\x00\rthree")
    assert said == "\r\n\a\r\n  one?]0;title??2J\r\n  two??\r\n  three\r\n\r\n"
    assert len(announced("x" * 9999)) < 1100
