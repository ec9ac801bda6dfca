"""`nbd dev` in a folder of its own, and a client that waits as people do: one request, then the events until it is there."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbd.errors import NbdError
from nbd.host import unixhttp
from nbd.places import Places, under

from .report import PATIENCE_SECONDS, free_port, until

SYSTEM_PODMAN = Path("/run/podman/podman.sock")


@dataclass(frozen=True)
class Daemon:
    places: Places
    core_pid: int

    @property
    def podman_socket(self) -> str:
        """The box's own service where there is one, else the one that `nbd dev` runs."""
        own = self.places.run / "podman.sock"
        return str(own if own.exists() else SYSTEM_PODMAN)

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await unixhttp.ask(str(self.places.socket), method, path, sent)
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.body.decode()}")
        return json.loads(answer.body)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The caller's notebooks, each as it changes, from the moment the stream is in step."""
        reader, writer = await asyncio.open_unix_connection(str(self.places.socket))
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            stream = notebooks(reader)
            await anext(stream)
            yield stream
        finally:
            writer.close()


async def notebooks(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """First an empty one when all that was there before is told, then each change."""
    kind, in_step = b"", False
    while line := await reader.readline():
        if line.startswith(b"event: "):
            kind = line[7:].strip()
        elif line.startswith(b"data: ") and kind == b"synced":
            in_step = True
            yield {}
        elif line.startswith(b"data: ") and kind == b"notebook" and in_step:
            yield json.loads(line[6:])


def scratch() -> Path:
    """A folder for one run, whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="nbd-bench-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Daemon]:
    """At the end nothing of it is left: no notebook, no program, no folder."""
    command = (sys.executable, "-m", "nbd", "dev", "--dir", str(folder))
    log = (folder / "dev.log").open("w")
    process = await asyncio.create_subprocess_exec(*command, "--listen", f"127.0.0.1:{free_port()}", stdout=log, stderr=log)
    places = under(folder)

    async def up() -> bool:
        if process.returncode is not None:
            raise SystemExit((folder / "dev.log").read_text())
        return await answers(places)

    try:
        await until("nbd", up)
        yield Daemon(places, core_pid(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
        stop = await asyncio.create_subprocess_exec(*command, "--stop", stdout=log, stderr=log)
        await stop.wait()
        log.close()
        shutil.rmtree(folder)


async def answers(places: Places) -> bool:
    try:
        answer = await unixhttp.ask(str(places.socket), "GET", "/v1/status")
    except (OSError, NbdError):
        return False
    return answer.status == 200 and json.loads(answer.body)["parts"]["homes"] == "ok"


def core_pid(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(pid) for pid in children if b"\0core\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
