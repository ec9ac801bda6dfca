"""The proxy against configurable-http-proxy and nginx, on this machine, in one run: `python -m tests.bench.proxy [--rounds N] [--note TEXT]`.

Each proxy has one core to itself; what it serves and what asks it share the other. Ours asks who the visitor is on every request, the others do
not. Small answers: wrk, 32 connections, rounds interleaved, medians. Download: 1 GiB. WebSocket: bytes of a masked frame there and back.
Needs: wrk, nginx, node and npm. Adds its table to tests/bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import uvloop

from nbd.web.settings import DoorSettings
from nbd.webdoor import run
from tests.fakes.core_api import FakeCore, notebook

HTTP, ECHO = "nhttp00000", "necho00000"
GIB = 1024**3
PATIENCE_SECONDS = 20
PROXY_CORE, REST_CORE = 0, 1
FRAME = b"\x82\xbe\x01\x02\x03\x04" + b"." * 62
RESULTS = Path(__file__).with_name("RESULTS.md")
NGINX = """
worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log; daemon off;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 100000000; client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{servers} }}
"""
FILES = "server {{ listen 127.0.0.1:{port}; listen unix:{folder}/nhttp.sock; root {folder}/files; }}"
RELAY = """
upstream u{port} {{ server {to}; keepalive 64; }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u{port}; proxy_http_version 1.1; proxy_buffering off; proxy_set_header Host $host;
proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hop; }} }}
"""
CONNECTION = 'map $http_upgrade $hop {{ default upgrade; "" ""; }}'


@dataclass(frozen=True)
class Peer:
    """A proxy to measure: where it relays files and the echo, and what a request to it must carry."""

    name: str
    files: int
    echo: int
    files_host: str = "localhost"
    echo_host: str = "localhost"
    files_token: str = ""
    echo_token: str = ""
    pid: int = 0
    """Of what relays the files."""

    def cpu_seconds(self) -> float:
        process = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def headers(self, *, echo: bool) -> dict[str, str]:
        host, port, token = (self.echo_host, self.echo, self.echo_token) if echo else (self.files_host, self.files, self.files_token)
        sent = {"Host": f"{host}:{port}"}
        if token:
            sent |= {"Cookie": f"nbd_session={token}", "Origin": f"http://{host}:{port}"}
        return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--node-modules", type=Path, help="where configurable-http-proxy is installed already")
    parser.add_argument("--note", default="")
    parser.add_argument("--role", choices=["far", "door"], help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "far":
        uvloop.run(far(Path(arguments.rest[0]), int(arguments.rest[1])))
    elif arguments.role == "door":
        uvloop.run(run(DoorSettings(Path(arguments.rest[0]), f"127.0.0.1:{arguments.rest[1]}"), asyncio.Event()))
    else:
        measure(arguments)


# what stands behind the proxies


async def far(folder: Path, port: int) -> None:
    """A core that knows two notebooks, and an editor that echoes what follows a WebSocket handshake."""
    core = FakeCore()
    core.put(notebook(HTTP, "ada", "files"), folder / "nhttp.sock")
    core.put(notebook(ECHO, "ada", "echo"), folder / "necho.sock")
    (folder / "tokens").write_text(f"{core.sign_in('ada', HTTP)} {core.sign_in('ada', ECHO)}")
    loop = asyncio.get_running_loop()
    unix = await loop.create_unix_server(Echo, str(folder / "necho.sock"))
    tcp = await loop.create_server(Echo, "127.0.0.1", port)
    async with unix, tcp, core.serve(folder / "core.sock"):
        await asyncio.Event().wait()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.joined = False

    def data_received(self, data: bytes) -> None:
        if not self.joined:
            self.joined = True
            data = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
        self.transport.write(data)


# the run


def measure(arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbd-bench-")))
        peers = start(stack, folder, arguments.node_modules or installed(folder))
        rows: list[list[str | float]] = [
            *small_answers(peers, arguments),
            ["one 1 GiB download, GB/s", *best(peers, download, 3)],
        ]
        for count in (1, 32, 256):
            rows.append([f"WebSocket echo, {count} open, ms", *best(peers, echo_latency(count), arguments.rounds)])
    report(peers, rows, arguments.note)


def start(stack: ExitStack, folder: Path, node_modules: Path) -> list[Peer]:
    files, echo, door, chp_files, chp_echo, api, ng_files, ng_echo = (free_port() for _ in range(8))
    (folder / "files").mkdir()
    folder.chmod(0o755)
    (folder / "files" / "small").write_bytes(b"x" * 1400)
    with (folder / "files" / "big").open("wb") as big:
        big.truncate(GIB)
    relay = CONNECTION.format() + "".join(RELAY.format(port=mine, to=f"127.0.0.1:{to}") for mine, to in ((ng_files, files), (ng_echo, echo)))
    pids: dict[str, int] = {}
    for name, servers, core in (("files", FILES.format(port=files, folder=folder), REST_CORE), ("relay", relay, PROXY_CORE)):
        (folder / f"{name}.conf").write_text(NGINX.format(folder=folder, name=name, servers=servers))
        pids[name] = launch(stack, core, ["nginx", "-c", str(folder / f"{name}.conf"), "-e", str(folder / f"{name}.log")])
    me = [sys.executable, "-m", "tests.bench.proxy"]
    launch(stack, REST_CORE, [*me, "--role", "far", str(folder), str(echo)])
    wait_for((folder / "core.sock").exists)
    pids["door"] = launch(stack, PROXY_CORE, [*me, "--role", "door", str(folder / "core.sock"), str(door)])
    chp = ["node", str(node_modules / "configurable-http-proxy" / "bin" / "configurable-http-proxy"), "--ip", "127.0.0.1", "--log-level", "error"]
    for mine, to in ((chp_files, files), (chp_echo, echo)):
        command = [*chp, "--port", str(mine), "--api-port", str(api), "--default-target", f"http://127.0.0.1:{to}"]
        pids[f"chp {to}"] = launch(stack, PROXY_CORE, command)
        api += 1
    files_token, echo_token = (folder / "tokens").read_text().split()
    peers = [
        Peer("nbd", door, door, f"{HTTP}.localhost", f"{ECHO}.localhost", files_token, echo_token, pids["door"]),
        Peer("configurable-http-proxy", chp_files, chp_echo, pid=pids[f"chp {files}"]),
        Peer("nginx", ng_files, ng_echo, pid=pids["relay"]),
    ]
    for peer in peers:
        wait_for(lambda peer=peer: answers(peer))  # type: ignore[misc]
    download(Peer("the file itself", files, echo))  # so that nobody measures the disk
    return peers


def launch(stack: ExitStack, core: int, command: Sequence[str]) -> int:
    process = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    def end() -> None:
        process.terminate()
        process.wait()

    stack.callback(end)
    return process.pid


def installed(folder: Path) -> Path:
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "configurable-http-proxy"], check=True)
    return folder / "node_modules"


def answers(peer: Peer) -> bool:
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{peer.files}/small", headers=peer.headers(echo=False))
        with urllib.request.urlopen(request, timeout=2) as answer:
            return len(answer.read()) == 1400
    except OSError:
        return False


# the three measures


def small_answers(peers: Sequence[Peer], arguments: argparse.Namespace) -> list[list[str | float]]:
    """Requests a second, and a second of the proxy's own processor time: the second does not suffer from a busy machine."""
    rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    costs: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(arguments.rounds):
        for peer in peers:
            before = peer.cpu_seconds()
            said = wrk(peer, arguments.seconds)
            rates[peer.name].append(figure(r"Requests/sec:\s+([\d.]+)", said))
            costs[peer.name].append(figure(r"(\d+) requests in", said) / (peer.cpu_seconds() - before))
            print(f"  {peer.name}: {rates[peer.name][-1]:.0f} {costs[peer.name][-1]:.0f}", file=sys.stderr, flush=True)
    return [
        ["small answers, requests/s", *(statistics.median(rates[peer.name]) for peer in peers)],
        ["small answers, requests per CPU second", *(statistics.median(costs[peer.name]) for peer in peers)],
    ]


def wrk(peer: Peer, seconds: int) -> str:
    headers = [part for name, value in peer.headers(echo=False).items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-c32", "-t1", f"-d{seconds}s", *headers, f"http://127.0.0.1:{peer.files}/small"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {REST_CORE})).stdout
    assert "Non-2xx" not in said, said
    return said


def figure(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def best(peers: Sequence[Peer], measure_one: Callable[[Peer], float], rounds: int) -> list[float]:
    """The median of interleaved rounds."""
    seen: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            seen[peer.name].append(measure_one(peer))
            print(f"  {peer.name}: {seen[peer.name][-1]:.4g}", file=sys.stderr, flush=True)
    return [statistics.median(seen[peer.name]) for peer in peers]


def download(peer: Peer) -> float:
    os.sched_setaffinity(0, {REST_CORE})
    request = "GET /big HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in peer.headers(echo=False).items()) + "\r\n"
    with socket.create_connection(("127.0.0.1", peer.files)) as connection:
        begun = time.perf_counter()
        connection.sendall(request.encode())
        buffer, left = bytearray(1024 * 1024), GIB
        first = connection.recv(64 * 1024)
        left -= len(first) - first.index(b"\r\n\r\n") - 4
        while left > 0:
            left -= connection.recv_into(buffer) or sys.exit(f"{peer.name} ended the download early")
        return GIB / (time.perf_counter() - begun) / 1e9


def echo_latency(count: int) -> Callable[[Peer], float]:
    def measure_one(peer: Peer) -> float:
        os.sched_setaffinity(0, {REST_CORE})
        return uvloop.run(echo(peer, count))

    return measure_one


async def echo(peer: Peer, count: int) -> float:
    """Milliseconds there and back, the mean over all connections at once."""
    lines = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
    head = "GET /ws HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in (peer.headers(echo=True) | lines).items()) + "\r\n"
    loop = asyncio.get_running_loop()
    pairs = [await loop.create_connection(lambda: Ping(head.encode()), "127.0.0.1", peer.echo) for _ in range(count)]
    rounds = max(20, 4000 // count)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(ping.joined for _, ping in pairs))
        begun = time.perf_counter()
        for _, ping in pairs:
            ping.go(rounds)
        await asyncio.gather(*(ping.done for _, ping in pairs))
    took = time.perf_counter() - begun
    for transport, _ in pairs:
        transport.close()
    await asyncio.sleep(0.05)
    return took / rounds * 1000


class Ping(asyncio.Protocol):
    """Sends a frame, waits for it to come back, sends the next."""

    def __init__(self, head: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.head, self.said, self.left, self.got = head, b"", 0, 0
        self.joined: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.head)

    def go(self, rounds: int) -> None:
        self.left = rounds
        self.transport.write(FRAME)

    def data_received(self, data: bytes) -> None:
        if not self.joined.done():
            self.said += data
            if self.said.endswith(b"\r\n\r\n"):
                assert self.said.startswith(b"HTTP/1.1 101"), self.said
                self.joined.set_result(None)
            return
        self.got += len(data)
        if self.got < len(FRAME):
            return
        self.got, self.left = 0, self.left - 1
        if self.left:
            self.transport.write(FRAME)
        else:
            self.done.set_result(None)


# the report


def report(peers: Sequence[Peer], rows: list[list[str | float]], note: str) -> None:
    lines = [f"| what | {' | '.join(peer.name for peer in peers)} | nbd : chp | goal |", "|---|" + "---|" * (len(peers) + 2)]
    goals = (">= 1.0", "", ">= 2.0", "<= 1.0", "<= 1.0", "<= 1.0")
    for (what, *figures), goal in zip(rows, goals, strict=True):
        numbers = [float(figure) for figure in figures]
        shown = " | ".join(f"{number:,.0f}" if number > 1000 else f"{number:.3g}" for number in numbers)
        lines.append(f"| {what} | {shown} | {numbers[0] / numbers[1]:.2f} | {goal} |")
    table = "\n".join(lines)
    head = f"\n## proxy.py, {time.strftime('%Y-%m-%d %H:%M')}\n\n{machine()}{' ' + note if note else ''}\n\n"
    print(head + table)
    with RESULTS.open("a") as results:
        results.write(head + table + "\n")


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}, node {node}."
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            sys.exit("a part of the benchmark did not come up")
        time.sleep(0.05)


if __name__ == "__main__":
    for tool in ("wrk", "nginx", "node", "npm"):
        if shutil.which(tool) is None:
            sys.exit(f"this benchmark needs {tool}")
    main()
