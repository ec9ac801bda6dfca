"""From notebook, profile, person and cards to the one container that carries them. Pure; what is not named here, a notebook does not get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from .. import wire
from ..editors import EDITOR_FOLDER, EDITORS
from ..gpus.model import Lease
from ..profiles import Profile
from .model import Notebook, Occupant

LABEL = "io.nbd."
"""Before each label's name. The labels alone suffice to rebuild state: instance, notebook (the whole row), leases."""


@dataclass(frozen=True, slots=True)
class Bind:
    source: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    name: str
    hostname: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    uid: int
    gid: int
    work_dir: str
    binds: tuple[Bind, ...]
    tmpfs: Mapping[str, int]
    """Mount point to size in bytes."""
    devices: tuple[str, ...]
    """CDI names."""
    cpus: float
    memory_bytes: int
    shm_bytes: int
    pids: int
    open_files: int
    processes: int
    network: str | None
    """A network of nbd's own; None for none at all."""
    labels: Mapping[str, str]
    log_path: str
    hidden: tuple[str, ...] = ()
    """Folders that are seen empty, whatever a bind would show there."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What this box lets a process have. A container asks for no more: raising a hard limit needs a capability that a nested box lacks."""

    open_files: int
    processes: int
    cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Site:
    """Where this daemon keeps things, as far as a container must know."""

    instance: str
    image_prefix: str
    editor_folder: str
    """The notebook's own folder on the host, mounted at EDITOR_FOLDER."""
    identity_folder: str
    """Holds `passwd` and `group` in which the person has a name."""
    log_path: str
    network: str | None
    limits: HostLimits
    own: tuple[str, ...] = ()
    """Folders of nbd's own on the host: state and sockets, Podman's among them."""
    attached: tuple[Bind, ...] = ()
    """Folders of attached data."""


def container_name(notebook: Notebook) -> str:
    return f"nbd-{notebook.id}"


def image_of(profile: Profile, prefix: str) -> str:
    """ "jupyter" is an image that nbd builds; whatever has a slash or a colon is a reference of its own."""
    return profile.image if "/" in profile.image or ":" in profile.image else f"{prefix}{profile.image}:latest"


def build(notebook: Notebook, profile: Profile, who: Occupant, leases: Sequence[Lease], site: Site) -> ContainerSpec:
    editor, limits = EDITORS[notebook.editor], site.limits
    memory, shown = min(profile.memory, limits.memory_bytes), binds(profile, who, site)
    return ContainerSpec(
        name=container_name(notebook),
        hostname=notebook.name.replace(".", "-").replace("_", "-").strip("-")[:63] or "notebook",
        image=image_of(profile, site.image_prefix),
        command=editor.command(who.home),
        env=environment(who, editor.env),
        uid=who.uid,
        gid=who.gid,
        work_dir=who.home,
        binds=shown,
        tmpfs={"/tmp": min(profile.tmp, memory), "/var/tmp": min(profile.tmp, memory), "/run/lock": 1 << 20},
        devices=tuple(f"nvidia.com/gpu={lease.card}" for lease in leases),
        cpus=min(profile.cpus, float(limits.cpus)),
        memory_bytes=memory,
        shm_bytes=min(profile.shm, memory),
        pids=min(profile.pids, limits.processes),
        open_files=min(profile.open_files, limits.open_files),
        processes=min(profile.pids, limits.processes),
        network=site.network,
        labels=labels(notebook, leases, site.instance),
        log_path=site.log_path,
        hidden=hidden(shown, site.own),
    )


def environment(who: Occupant, editor: Mapping[str, str]) -> dict[str, str]:
    """No secret may stand here: `podman inspect` and /proc show it."""
    return {"HOME": who.home, "USER": who.name, "LOGNAME": who.name, "SHELL": "/bin/bash", "LANG": "C.UTF-8", **editor}


def binds(profile: Profile, who: Occupant, site: Site) -> tuple[Bind, ...]:
    return (
        Bind(who.home, who.home, writable=True),
        Bind(site.editor_folder, EDITOR_FOLDER, writable=True),
        Bind(f"{site.identity_folder}/passwd", "/etc/passwd", writable=False),
        Bind(f"{site.identity_folder}/group", "/etc/group", writable=False),
        *(Bind(mount.source, mount.target, mount.writable) for mount in profile.mounts),
        *site.attached,
    )


def hidden(shown: Sequence[Bind], own: Sequence[str]) -> tuple[str, ...]:
    """Where nbd's own folders would be seen through a bind: with `nbd dev` they are in the home of who runs it, and whoever reaches
    Podman's socket is root of this box. A bind itself stays: who keeps nbd in the very home still has a home."""
    seen = {
        PurePath(bind.target, PurePath(folder).relative_to(bind.source))
        for bind in shown
        for folder in own
        if PurePath(bind.source) in PurePath(folder).parents
    }
    return tuple(sorted(str(path) for path in seen if not seen & set(path.parents)))


def labels(notebook: Notebook, leases: Sequence[Lease], instance: str) -> dict[str, str]:
    return {
        f"{LABEL}instance": instance,
        f"{LABEL}id": notebook.id,
        f"{LABEL}run": str(notebook.run),
        f"{LABEL}notebook": wire.encode(notebook),
        f"{LABEL}leases": wire.encode(leases),
    }


def passwd(who: Occupant) -> str:
    """The container's account file: root (unless that is the person), nobody, and the person under their own name."""
    rows = [f"{who.name}:x:{who.uid}:{who.gid}::{who.home}:/bin/bash"]
    if who.uid != 0:
        rows.insert(0, "root:x:0:0:root:/root:/bin/bash")
    return "\n".join([*rows, "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"]) + "\n"


def group(who: Occupant) -> str:
    rows = [f"{who.name}:x:{who.gid}:"]
    if who.gid != 0:
        rows.insert(0, "root:x:0:")
    return "\n".join([*rows, "tty:x:5:", "nogroup:x:65534:"]) + "\n"
