"""A web door that runs between a browser's socket and a fake core with fake editors, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from nbd.web.settings import DoorSettings
from nbd.webdoor import run
from tests.fakes.core_api import FakeCore, notebook
from tests.fakes.editor import Editor

ADA, BOB = "nada000001", "nbob000001"
PATIENCE_SECONDS = 10.0


@dataclass
class World:
    core: FakeCore
    editor: Editor
    port: int
    folder: Path
    http: aiohttp.ClientSession

    @property
    def pages(self) -> str:
        return f"http://localhost:{self.port}"

    def origin(self, id: str = ADA) -> str:
        return f"http://{id}.localhost:{self.port}"

    def ask(
        self, method: str, url: str, token: str = "", headers: Mapping[str, str] | None = None, **rest: object
    ) -> aiohttp.client._RequestContextManager:
        """A request as a browser's: Host from the URL, the cookie of `token`; no redirect is followed."""
        sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"} | dict(headers or {})
        if token:
            sent["Cookie"] = f"_xsrf=2|abc; nbd_session={token}" + (f"; {sent['Cookie']}" if "Cookie" in sent else "")
        return self.http.request(method, URL(url, encoded=True), headers=sent, allow_redirects=False, **rest)  # type: ignore[arg-type]

    async def raw(self, request: bytes, *, patience: float = PATIENCE_SECONDS) -> bytes:
        """Send bytes, read until the door closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(patience):
                return await reader.read()
        finally:
            writer.close()


class Loopback(aiohttp.abc.AbstractResolver):
    """Every name of the tests is this machine."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[aiohttp.abc.ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        return None


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Ada and Bob have a running notebook each; both reach the same editor."""
    core, editor = FakeCore(), Editor()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    core.origin = f"http://{{host}}localhost:{port}"
    settings = DoorSettings(folder / "core.sock", f"127.0.0.1:{port}", tell_seconds=0.05, stop_seconds=0.2)
    stop = asyncio.Event()
    core.put(notebook(ADA, "ada", "fold"), folder / "editor.sock")
    core.put(notebook(BOB, "bob", "train"), folder / "editor.sock")
    async with core.serve(folder / "core.sock"), editor.serve(folder / "editor.sock"):
        door = asyncio.create_task(run(settings, stop, listening))
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=Loopback(), limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        try:
            async with session:
                yield World(core, editor, port, folder, session)
        finally:
            stop.set()
            await door


async def until(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.005)
