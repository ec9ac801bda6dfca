"""The peer of a start: JupyterHub and DockerSpawner, in a virtualenv of the benchmark's own, kept in .venv-bench."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nbd.host.images import CLIENT_SETTINGS
from nbd.places import CHECKOUT
from tests.bench.report import PATIENCE_SECONDS, free_port, until

HERE = Path(__file__).parent
VENV = CHECKOUT / ".venv-bench"
PROXY = VENV / "node_modules/.bin/configurable-http-proxy"
IMAGE = "localhost/nbd-bench/hub"
USER = "bench"


def install() -> str:
    """Once a checkout. Returns JupyterHub's version."""
    wanted = (HERE / "requirements.txt").read_text()
    mark = VENV / ".installed"
    if not mark.exists() or mark.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        pip = [str(VENV / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(HERE / "requirements.txt")], check=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(VENV), "configurable-http-proxy"], check=True)
        mark.write_text(wanted)
    return next(line.partition("==")[2] for line in wanted.splitlines() if line.startswith("jupyterhub=="))


def build(version: str) -> None:
    mounts = [f"--volume={path}:{path}:ro" for path in (*CLIENT_SETTINGS, str(Path.home() / ".npmrc")) if Path(path).exists()]
    fixed = ["podman", "build", "--quiet", "--isolation", "chroot", "--network", "host", "--layers=false", "--pull=never"]
    subprocess.run([*fixed, *mounts, "--build-arg", f"JUPYTERHUB={version}", "--tag", IMAGE, str(HERE)], check=True, stdout=subprocess.DEVNULL)


class Hub:
    def __init__(self, podman_socket: str, folder: Path) -> None:
        self._podman_socket = podman_socket
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._port, self._hub_port = free_port(), free_port()
        self._container = f"nbd-bench-hub-{os.getpid()}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        asked = {"port": self._port, "hub_port": self._hub_port, "api_port": free_port(), "server_port": free_port(), "token": self._token}
        asked |= {"image": IMAGE, "proxy": str(PROXY), "name": self._container}
        environment = os.environ | {"DOCKER_HOST": f"unix://{self._podman_socket}"}
        log = (self._folder / "hub.log").open("w")
        command = (str(VENV / "bin/python"), str(HERE / "serve.py"), json.dumps(asked))
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=self._folder, env=environment)

        async def up() -> bool:
            if process.returncode is not None:
                raise SystemExit((self._folder / "hub.log").read_text())
            return await self._ask("GET", "") == 200

        try:
            await until("JupyterHub", up)
            await self._ask("POST", f"/users/{USER}")
            yield
        finally:
            process.terminate()
            await process.wait()
            log.close()
            subprocess.run(["podman", "rm", "--force", "--ignore", "--time", "0", self._container], check=True, stdout=subprocess.DEVNULL)

    async def start(self) -> float:
        began = time.perf_counter()
        status = await self._ask("POST", f"/users/{USER}/server")
        if status != 201:
            raise SystemExit(f"JupyterHub did not start a server: {status}\n{(self._folder / 'hub.log').read_text()}")
        return time.perf_counter() - began

    async def stop(self) -> None:
        async def gone() -> bool:
            return await self._ask("DELETE", f"/users/{USER}/server") in (204, 404)

        await until("the end of JupyterHub's server", gone)

    async def _ask(self, method: str, path: str) -> int:
        """The status of the answer; 0 while nobody answers."""
        url = f"http://127.0.0.1:{self._hub_port}/hub/api{path}"
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"token {self._token}"})

        def ask() -> int:
            try:
                with urllib.request.urlopen(request, timeout=2 * PATIENCE_SECONDS) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                return 0

        return await asyncio.to_thread(ask)


def remove_image() -> None:
    subprocess.run(["podman", "rmi", "--force", IMAGE], check=True, stdout=subprocess.DEVNULL)
