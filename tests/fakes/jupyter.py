"""A JupyterLab as its REST API shows it, on a unix socket, in the words of jupyter_server 2; or one that answers whatever a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbd.idle.model import EditorLook, KernelLook


def written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Jupyter:
    look: EditorLook = field(default_factory=EditorLook)
    """What it shows. A kernel whose name ends in .ipynb has that document open."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """The whole answer to a question of that name instead: "kernels"."""
    terminals: bool = True
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    holds: bool = False
    """Accepts, reads, never answers."""
    ends_after: int = 10**9
    """Answers on one connection."""
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def serve(self, path: Path) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._connected, str(path))
        try:
            yield
        finally:
            server.close()
            self.hang_up()

    def hang_up(self) -> None:
        while self._writers:
            self._writers.pop().close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        left = self.ends_after
        try:
            while left and (head := await reader.readuntil(b"\r\n\r\n")):
                path = head.split(b" ")[1].decode()
                self.asked.append(path)
                if not self.holds:
                    writer.write(self._answer(path.partition("?")[0].removeprefix("/api/")))
                left -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, what: str) -> bytes:
        if what in self.answers:
            return self.answers[what]
        if what == "terminals" and not self.terminals:
            return said(b"{}", 404)
        shown = {"kernels": self._kernels, "sessions": self._sessions, "terminals": self._terminals}[what]()
        return said(json.dumps(shown).encode())

    def _kernels(self) -> list[dict[str, Any]]:
        return [kernel(one) for one in self.look.kernels]

    def _sessions(self) -> list[dict[str, Any]]:
        return [
            {"id": f"s-{one.id}", "path": f"deep/{one.name}", "name": one.name, "type": "notebook", "kernel": kernel(one), "notebook": {}}
            for one in self.look.kernels
            if one.name.endswith(".ipynb")
        ]

    def _terminals(self) -> list[dict[str, Any]]:
        return [{"name": one.name, "last_activity": written(one.last_activity)} for one in self.look.terminals]


def kernel(one: KernelLook) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": "python3" if one.name.endswith(".ipynb") else one.name,
        "last_activity": written(one.last_activity),
        "execution_state": "busy" if one.busy else "idle",
        "connections": one.connections,
    }


def said(body: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nServer: TornadoServer/6.5\r\nContent-Type: application/json\r\nEtag: \"x\"\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
