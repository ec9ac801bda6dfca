"""The floor of a start: the same container as nbd makes, flag by flag, without nbd. By `podman run`, and by Podman's API alone."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from nbd.editors import EDITORS
from nbd.host.accounts import SystemAccounts, account_ids
from nbd.host.containers import as_libpod
from nbd.host.editor import UnixEditor
from nbd.host.folders import RunFolders
from nbd.host.limits import host_limits
from nbd.host.networks import PodmanNetworks
from nbd.host.podman import Call, Podman
from nbd.notebooks import spec
from nbd.notebooks.model import Notebook, Occupant
from nbd.places import CHECKOUT
from nbd.profiles import read_profiles
from nbd.unixdoor import Place

from .report import PATIENCE_SECONDS

PROFILE = "cpu-small"
IMAGE_PREFIX = "localhost/nbd/"
COMMAND, API = "floorrun00", "floorapi00"
"""Ids, as notebooks have them, of the two."""


class Floor:
    """One container, made anew for each start. Its network and folders are there beforehand: that is nbd's work, not Podman's."""

    def __init__(self, notebook: str, podman_socket: str, folder: Path) -> None:
        self._id = notebook
        self._socket = podman_socket
        self._podman = Podman(podman_socket, PATIENCE_SECONDS)
        self._networks = PodmanNetworks(self._podman, str(folder))
        self._folders = RunFolders(folder / "floor", account_ids("nbd-web")[1])
        self._folder = folder
        self._who: Occupant | None = None
        self.body: dict[str, Any] = {}

    async def set_up(self) -> None:
        self._folders.set_up()
        accounts = SystemAccounts()
        person = await accounts.by_uid(os.getuid())
        assert person is not None
        self._who = Occupant(person.name, person.uid, person.gid, person.home)
        network = await self._networks.ensure(self._id)
        identity = await self._folders.identity(self._who, spec.passwd(self._who), spec.group(self._who))
        editor_folder = await self._folders.make(self._id, self._who)
        profile = read_profiles(CHECKOUT / "config/profiles.d")[PROFILE]
        site = spec.Site(str(self._folder), IMAGE_PREFIX, editor_folder, identity, str(self._folder / f"{self._id}.log"), network, host_limits())
        row = Notebook(self._id, "floor", person.name, PROFILE, profile.editor, time.time())
        self.body = as_libpod(spec.build(row, profile, self._who, (), site))

    async def start(self) -> float:
        assert self._who is not None
        await self._folders.make(self._id, self._who)
        began = time.perf_counter()
        await asyncio.gather(self._run(), self._ready())
        return time.perf_counter() - began

    async def stop(self) -> None:
        await self._podman.ask(Call("DELETE", f"/containers/{self.body['name']}", {"force": "true", "v": "true", "timeout": "0", "ignore": "true"}))

    async def tear_down(self) -> None:
        await self.stop()
        await self._networks.remove(self._id)
        await self._podman.close()

    async def _run(self) -> None:
        raise NotImplementedError

    async def _ready(self) -> None:
        uid = self._who.uid if self._who else -1
        await UnixEditor().wait_ready(Place(self._folders.socket(self._id), uid), EDITORS["jupyterlab"].ready_path, PATIENCE_SECONDS)


class Command(Floor):
    """`podman run --detach`."""

    def __init__(self, podman_socket: str, folder: Path) -> None:
        super().__init__(COMMAND, podman_socket, folder)

    async def _run(self) -> None:
        process = await asyncio.create_subprocess_exec(*arguments(self.body), stdout=asyncio.subprocess.DEVNULL)
        if await process.wait() != 0:
            raise SystemExit("podman run failed")


class Api(Floor):
    """Create and start over the socket of Podman's service, as nbd does."""

    def __init__(self, podman_socket: str, folder: Path) -> None:
        super().__init__(API, podman_socket, folder)
        self.steps: dict[str, list[float]] = {"create": [], "start": []}

    async def _run(self) -> None:
        began = time.perf_counter()
        container = (await self._podman.ask(Call("POST", "/containers/create", body=self.body)))["Id"]
        made = time.perf_counter()
        await self._podman.ask(Call("POST", f"/containers/{container}/start"))
        self.steps["create"].append(made - began)
        self.steps["start"].append(time.perf_counter() - made)


def arguments(body: dict[str, Any]) -> list[str]:
    """What as_libpod says, in the words of the command line."""
    words = ["podman", "run", "--detach", "--pull=never", "--entrypoint=", "--init", "--systemd=false", "--no-healthcheck", "--image-volume=ignore"]
    words += ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--shm-size={body['shm_size']}b"]
    words += [f"--{key}={body[field]}" for key, field in (("name", "name"), ("hostname", "hostname"), ("user", "user"), ("workdir", "work_dir"))]
    words += [f"--env={key}={value}" for key, value in body["env"].items()]
    words += [f"--label={key}={value}" for key, value in body["labels"].items()]
    for mount in body["mounts"]:
        options = ",".join(mount["options"])
        tmpfs = mount["type"] == "tmpfs"
        words.append(f"--tmpfs={mount['destination']}:{options}" if tmpfs else f"--volume={mount['source']}:{mount['destination']}:{options}")
    limits = body["resource_limits"]
    words += [f"--memory={limits['memory']['limit']}b", f"--memory-swap={limits['memory']['swap']}b", f"--pids-limit={limits['pids']['limit']}"]
    words += [f"--cpu-quota={limits['cpu']['quota']}", f"--cpu-period={limits['cpu']['period']}"]
    words += [f"--ulimit={limit['type']}={limit['soft']}:{limit['hard']}" for limit in body["r_limits"]]
    log = body["log_configuration"]
    words += [f"--log-driver={log['driver']}", f"--log-opt=path={log['path']}", f"--log-opt=max-size={log['size']}b"]
    return [*words, *(f"--network={name}" for name in body["networks"]), body["image"], *body["command"]]
