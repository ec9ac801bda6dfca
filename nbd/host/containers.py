"""Notebooks' containers through Podman. Touches only containers that carry this instance's label."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import wire
from ..errors import Deadline, HostUnfit, InvalidInput, NbdError, NotFound, StartFailed
from ..gpus.model import Lease
from ..notebooks.model import Notebook
from ..notebooks.ports import Process
from ..notebooks.reconcile import Seen
from ..notebooks.spec import LABEL, ContainerSpec
from .podman import SHORT_SECONDS, Call, Podman, listed, understood
from .processes import KernelProcesses

LOG_BYTES = 4 << 20
"""An editor that prints without end costs this much disk and no more."""
CPU_PERIOD_MICROSECONDS = 100_000
ENDED = ("exited", "stopped")
INIT_PATHS = ("/usr/libexec/podman/catatonit", "/usr/local/libexec/podman/catatonit", "/usr/lib/podman/catatonit")
"""Where Podman looks for its init, the first of these that is there."""
IMAGE_MISSING = re.compile(r"image not known|no such image", re.IGNORECASE)
"""Podman 4.3 says so with status 500, 5.x with 404."""
COMMAND_MISSING = re.compile(r"executable file.*not found|no such file or directory.*(exec|executable)|command not found", re.IGNORECASE)


class PodmanContainers:
    def __init__(self, podman: Podman, processes: KernelProcesses, instance: str) -> None:
        self._podman = podman
        self._processes = processes
        self._instance = instance

    async def seen(self) -> Sequence[Seen]:
        items = await self._list(everything=True)
        with understood():
            return [self._seen_of_list(item) for item in items]

    async def leases(self) -> Sequence[Lease]:
        items = await self._list(everything=False)
        with understood():
            return [lease for item in items for lease in _leases(item.get("Labels") or {})]

    async def image_exists(self, reference: str) -> bool:
        try:
            await self._podman.ask(Call("GET", f"/images/{reference}/exists", seconds=SHORT_SECONDS))
        except NotFound:
            return False
        return True

    async def create(self, spec: ContainerSpec) -> str:
        try:
            answer = await self._podman.ask(Call("POST", "/containers/create", body=as_libpod(spec)))
        except (NotFound, HostUnfit) as error:
            if not IMAGE_MISSING.search(error.message):
                raise
            raise StartFailed(f"the image {spec.image} is not on this box", code="image_missing", hint=error.message) from None
        with understood():
            return str(answer["Id"])

    async def start(self, container: str) -> Process:
        try:
            await self._podman.ask(Call("POST", f"/containers/{container}/start"))
        except HostUnfit as error:
            raise _start_error(error) from None
        process = await self.process(container)
        if process is None:
            raise StartFailed("the editor ended as soon as it was started", code="editor_exited")
        return process

    async def process(self, container: str) -> Process | None:
        facts = await self._inspect(container)
        with understood():
            return self._processes.of_pid(int(facts["State"].get("Pid") or 0), facts["Id"]) if facts else None

    async def kill(self, container: str, signal: str) -> None:
        try:
            await self._podman.ask(Call("POST", f"/containers/{container}/kill", {"signal": signal}, seconds=SHORT_SECONDS))
        except (NotFound, NbdError) as error:
            # Podman refuses to signal what it thinks has ended ("can only kill running containers"): that is what was wanted.
            if not isinstance(error, NotFound) and await self.process(container) is not None:
                raise

    async def remove(self, container: str) -> None:
        facts = await self._inspect(container)
        if facts is None:
            return
        with contextlib.suppress(NotFound):
            await self._podman.ask(Call("DELETE", f"/containers/{facts['Id']}", {"force": "true", "v": "true", "timeout": "0"}))
        if self._processes.of_container(facts["Id"]):
            # Podman forgets a container whose processes hang in a driver; while they are there, so is the container.
            hint = "one may hang in a driver: ps -eo pid,stat,wchan:30,args"
            raise Deadline(f"the processes of container {facts['Id'][:12]} do not end", hint=hint)

    async def look(self, container: str) -> Seen | None:
        facts = await self._inspect(container)
        if facts is None:
            return None
        with understood():
            return self._seen_of_facts(facts)

    def _seen_of_facts(self, facts: Mapping[str, Any]) -> Seen:
        state = facts["State"]
        alive = self._processes.of_pid(int(state.get("Pid") or 0), facts["Id"]) is not None
        status = str(state.get("Status"))
        code = state["ExitCode"] if status in ENDED else None
        seen = _seen(facts["Id"], facts["Config"]["Labels"], status, alive=alive)
        return replace(seen, exit_code=code, oom=bool(state.get("OOMKilled")))

    async def _inspect(self, container: str) -> dict[str, Any] | None:
        """Podman's facts about a container of ours; None for none, and for one that is not ours."""
        try:
            facts: dict[str, Any] = await self._podman.ask(Call("GET", f"/containers/{container}/json", seconds=SHORT_SECONDS))
        except NotFound:
            return None
        with understood():
            labels = (facts.get("Config") or {}).get("Labels") or {}
            return facts if facts["Id"] and labels.get(f"{LABEL}instance") == self._instance else None

    async def _list(self, *, everything: bool) -> list[dict[str, Any]]:
        filters = '{"label":[' + wire.encode(f"{LABEL}instance={self._instance}") + "]}"
        answer = await self._podman.ask(Call("GET", "/containers/json", {"all": str(everything).lower(), "filters": filters}))
        items = listed(answer)
        with understood():
            # Asked for already by the filter; what is not ours must never be acted on, whatever Podman makes of a filter.
            return [item for item in items if (item.get("Labels") or {}).get(f"{LABEL}instance") == self._instance]

    def _seen_of_list(self, item: Mapping[str, Any]) -> Seen:
        status = str(item.get("State"))
        alive = self._processes.of_pid(int(item.get("Pid") or 0), item["Id"]) is not None
        code = item.get("ExitCode") if status in ENDED else None
        began = item.get("StartedAt")
        started = float(began) if isinstance(began, (int, float)) and began > 0 else None
        return replace(_seen(item["Id"], item.get("Labels") or {}, status, alive=alive), exit_code=code, started=started)


def _seen(container: str, labels: Mapping[str, str], status: str, *, alive: bool) -> Seen:
    run = labels.get(f"{LABEL}run", "")
    return Seen(
        container=container,
        notebook=labels.get(f"{LABEL}id", ""),
        run=int(run) if run.isdigit() else 0,
        alive=alive,
        made=status not in ("created", "configured", "initialized"),
        label=_row(labels),
    )


def _row(labels: Mapping[str, str]) -> Notebook | None:
    try:
        return wire.decode(Notebook, labels.get(f"{LABEL}notebook", ""))
    except InvalidInput:
        return None


def _leases(labels: Mapping[str, str]) -> tuple[Lease, ...]:
    try:
        return wire.decode(tuple[Lease, ...], labels.get(f"{LABEL}leases", "[]"))
    except InvalidInput:
        return ()


def _start_error(error: HostUnfit) -> NbdError:
    if COMMAND_MISSING.search(error.message):
        return StartFailed("the image has no such editor", code="editor_missing", hint="check the image: nbctl image check NAME")
    return error


def as_libpod(spec: ContainerSpec) -> dict[str, Any]:
    """The body of libpod's POST /containers/create. What is not here falls back to Podman's defaults: default seccomp, private namespaces."""
    network: dict[str, Any] = {"netns": {"nsmode": "none"}}
    if spec.network:
        network = {"netns": {"nsmode": "bridge"}, "networks": {spec.network: {}}}
    return {
        "name": spec.name,
        "hostname": spec.hostname,
        "image": spec.image,
        "entrypoint": [],
        "command": list(spec.command),
        "env": dict(spec.env),
        "user": f"{spec.uid}:{spec.gid}",
        "work_dir": spec.work_dir,
        "labels": dict(spec.labels),
        "mounts": [
            *(_bind(bind.source, bind.target, writable=bind.writable) for bind in spec.binds),
            *(_tmpfs(target, size) for target, size in spec.tmpfs.items()),
            # Podman 5 mounts its own read-only when the image is; and CRIU saves this one with all the rest.
            _tmpfs("/dev/shm", spec.shm_bytes, "noexec"),
            *(_empty(target) for target in spec.hidden),
        ],
        "devices": [{"path": device} for device in spec.devices],
        "resource_limits": _resources(spec),
        "r_limits": [_limit("nofile", spec.open_files), _limit("nproc", spec.processes), _limit("core", 0)],
        "shm_size": spec.shm_bytes,
        "read_only_filesystem": True,
        "read_write_tmpfs": False,
        "cap_drop": ["ALL"],
        "no_new_privileges": True,
        "init": True,
        **_init_path(),
        "systemd": "false",
        "image_volume_mode": "ignore",
        # An image's health check would run as a timer of the host.
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "k8s-file", "path": spec.log_path, "size": LOG_BYTES},
        **network,
    }


def _init_path() -> dict[str, str]:
    """Where the container's first process really is. CRIU (4.2) mounts a link as a link, and Debian's is one: what has it could never be thawed."""
    found = next((path for path in INIT_PATHS if os.path.lexists(path)), None)
    return {"init_path": os.path.realpath(found)} if found else {}


def _resources(spec: ContainerSpec) -> dict[str, Any]:
    return {
        # No swap beyond the memory: a notebook that swaps is slow for everybody.
        "memory": {"limit": spec.memory_bytes, "swap": spec.memory_bytes},
        "cpu": {"quota": int(spec.cpus * CPU_PERIOD_MICROSECONDS), "period": CPU_PERIOD_MICROSECONDS},
        "pids": {"limit": spec.pids},
    }


def _bind(source: str, target: str, *, writable: bool) -> dict[str, Any]:
    return {"type": "bind", "source": source, "destination": target, "options": ["rbind", "rw" if writable else "ro", "nosuid", "nodev", "rslave"]}


def _empty(target: str) -> dict[str, Any]:
    # Without "notmpcopyup" what is below would be copied into it.
    options = ["ro", "notmpcopyup", "size=4k", "mode=0555", "nosuid", "nodev", "noexec"]
    return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": options}


def _tmpfs(target: str, size: int, *more: str) -> dict[str, Any]:
    return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": [f"size={size}", "mode=1777", "nosuid", "nodev", *more]}


def _limit(kind: str, value: int) -> dict[str, Any]:
    return {"type": kind, "hard": value, "soft": value}
