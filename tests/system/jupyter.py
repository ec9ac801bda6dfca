"""Speaks to a running JupyterLab as its pages do: REST and the kernel's WebSocket, over the editor's own socket."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 60.0


class Jupyter:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def new_kernel(self) -> str:
        async with self._session.post("/api/kernels", json={"name": "python3"}) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())["id"])

    async def kernels(self) -> list[dict[str, Any]]:
        async with self._session.get("/api/kernels") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def run(self, kernel: str, code: str) -> str:
        """What the code printed, and the name of the error it ended in. "died" when the kernel did before it was done."""
        printed = ""
        async with self._session.ws_connect(f"/api/kernels/{kernel}/channels") as channel:
            asked = request(code)
            await channel.send_json(asked)
            async for message in channel:
                body: dict[str, Any] = message.json()
                if body["msg_type"] == "status" and body["content"]["execution_state"] in ("restarting", "autorestarting", "dead"):
                    return printed + "died"
                if body["parent_header"].get("msg_id") != asked["header"]["msg_id"]:
                    continue
                if body["msg_type"] == "stream":
                    printed += body["content"]["text"]
                elif body["msg_type"] == "error":
                    printed += body["content"]["ename"]
                elif body["msg_type"] == "status" and body["content"]["execution_state"] == "idle":
                    return printed
        return printed + "closed"

    async def end_kernel(self, kernel: str) -> None:
        async with self._session.delete(f"/api/kernels/{kernel}") as answer:
            assert answer.status == 204

    async def shut_down(self) -> None:
        async with self._session.post("/api/shutdown") as answer:
            assert answer.status == 200

    async def new_terminal(self) -> str:
        async with self._session.post("/api/terminals") as answer:
            return str((await answer.json())["name"])

    async def terminal(self) -> int:
        async with self._session.post("/api/terminals") as answer:
            return answer.status


def request(code: str) -> dict[str, Any]:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    return {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell", "content": content}


@asynccontextmanager
async def jupyter(socket: Path) -> AsyncIterator[Jupyter]:
    connector, cookies = aiohttp.UnixConnector(str(socket)), aiohttp.CookieJar(unsafe=True)
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession("http://localhost", connector=connector, cookie_jar=cookies) as session:
        async with session.get("/lab") as answer:
            assert answer.status == 200
            session.headers["X-XSRFToken"] = answer.cookies["_xsrf"].value
        yield Jupyter(session)


async def run_and_lose(socket: Path, code: str) -> None:
    """Run what takes the editor itself with it."""
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async with jupyter(socket) as editor:
            await editor.run(await editor.new_kernel(), code)
