"""A home without a free byte: the editor starts, a kernel computes, a terminal opens. Otherwise nobody could tidy up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nbd.editors import EDITORS, SOCKET_NAME
from nbd.host.image_trial import HOME, SOMEBODY, confined, env, mounts

pytestmark = pytest.mark.real
IMAGE = "localhost/nbd/jupyter:latest"
CODE = "import os; print(6*7, os.environ['IPYTHONDIR'][:5])"
EXECUTE = {
    "header": {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3", "date": ""},
    "parent_header": {},
    "metadata": {},
    "channel": "shell",
    "content": {"code": CODE, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False},
}


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """The editor of a person whose home is full."""
    run, home = tmp_path / "run", tmp_path / "home"
    for folder in (run, home):
        folder.mkdir()
        os.chown(folder, SOMEBODY, SOMEBODY)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64k,uid={SOMEBODY},gid={SOMEBODY}", "tmpfs", home], check=True)
    with contextlib.suppress(OSError):
        (home / "full").write_bytes(bytes(1 << 20))
    editor, name = EDITORS["jupyterlab"], f"nbd-trial-full-{os.getpid()}"
    argv = [*confined(name), "--detach", *mounts(run, home), *env(editor), IMAGE, *editor.command(HOME)]
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=30)
        yield run / SOCKET_NAME
    finally:
        subprocess.run(["podman", "rm", "--force", "--ignore", "--time", "0", name], check=True, capture_output=True, timeout=30)
        subprocess.run(["umount", home], check=True)


async def signed_in(session: aiohttp.ClientSession) -> None:
    """Wait for the pages, and take the token that each write must carry."""
    while True:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.get("/lab") as answer:
                assert answer.status == 200
                session.headers["X-XSRFToken"] = answer.cookies["_xsrf"].value
                return
        await asyncio.sleep(0.02)


async def printed(session: aiohttp.ClientSession, kernel: str) -> str:
    async with session.ws_connect(f"/api/kernels/{kernel}/channels") as channel:
        await channel.send_json(EXECUTE)
        async for message in channel:
            body: dict[str, Any] = message.json()
            if body["msg_type"] == "stream":
                return str(body["content"]["text"])
    return ""


async def test_a_full_home(socket: Path) -> None:
    connector, cookies = aiohttp.UnixConnector(str(socket)), aiohttp.CookieJar(unsafe=True)
    async with asyncio.timeout(60), aiohttp.ClientSession("http://localhost", connector=connector, cookie_jar=cookies) as session:
        await signed_in(session)
        async with session.post("/api/kernels", json={"name": "python3"}) as answer:
            kernel = await answer.json()
        assert await printed(session, kernel["id"]) == "42 /tmp/\n"
        async with session.get(f"/api/kernels/{kernel['id']}") as answer:
            assert (await answer.json())["execution_state"] in ("idle", "busy")
        async with session.post("/api/terminals") as answer:
            assert answer.status == 200
