"""Where frozen notebooks lie: one folder each, with CRIU's image, what it was made of, and a mark once all of it is on the disk.

    FOLDER/NOTEBOOK/begun.json    which container, where Podman keeps it, and which boot it was
                    image/        CRIU's files; Podman's `checkpoint` is a link to it
                    whole.json    written last: how many bytes

Podman would put an image among its own files. Here it is found without asking Podman, an admin chooses its disk, and removing it is one step.
What Podman itself adds (/dev/shm, the addresses of the network) stays beside the container's other files and is cleared with the image.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HostUnfit
from ..notebooks.model import ID
from . import commands
from .fileops import FileOps, synced

BEGUN, WHOLE, IMAGE, LINK = "begun.json", "whole.json", "image", "checkpoint"
INVENTORY = "inventory.img"
RESTORE_ROOT = "criu-root"
SHARED_MEMORY = "devshm-checkpoint.tar"
LEFT_BY_PODMAN = ("dump.log", "restore.log", "stats-dump", "stats-restore", SHARED_MEMORY, "network.status", "config.dump", "spec.dump")
LOG_BYTES = 1 << 20
ERASE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Begun:
    container: str
    bundle: Path
    """Podman's folder of the container."""
    boot: str = ""
    """In which life of the box."""


class FreezeFolder:
    def __init__(self, folder: Path, proc: Path = Path("/proc")) -> None:
        self._folder = folder
        self._proc = proc
        self._files = FileOps()

    def path(self, notebook: str) -> Path:
        return self._folder / notebook

    def image(self, notebook: str) -> Path:
        return self.path(notebook) / IMAGE

    def room(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def begin(self, notebook: str, begun: Begun) -> None:
        """An empty image, to which Podman's link leads. Raises HostUnfit where it cannot be made."""
        folder = self.path(notebook)
        try:
            folder.mkdir(mode=0o700, parents=True)
            words = {"container": begun.container, "bundle": str(begun.bundle), "boot": self.boot()}
            self._files.write_synced(folder / BEGUN, json.dumps(words).encode())
            self.image(notebook).mkdir(mode=0o700)
            self._files.sync_folder(folder)
            self._files.sync_folder(self._folder)
            self._clear_bundle(begun.bundle)
            (begun.bundle / LINK).symlink_to(self.image(notebook))
        except OSError as error:
            hint = "make room, or give frozen notebooks another disk"
            raise HostUnfit(f"{folder} cannot be made: {error.strerror or error}", code="disk_full", hint=hint) from None

    def begun(self, notebook: str) -> Begun | None:
        words = read_words(self.path(notebook) / BEGUN)
        known = words.keys() >= {"container", "bundle", "boot"}
        return Begun(words["container"], Path(words["bundle"]), words["boot"]) if known else None

    def boot(self) -> str:
        return (self._proc / "sys/kernel/random/boot_id").read_text().strip()

    def link(self, notebook: str, begun: Begun) -> None:
        """Podman's link to the image is there: somebody may have tidied up."""
        link = begun.bundle / LINK
        if not link.is_symlink():
            link.symlink_to(self.image(notebook))

    def fresh_log(self, begun: Begun, name: str) -> None:
        """What an earlier attempt said is not this one's."""
        (begun.bundle / name).unlink(missing_ok=True)

    async def clear_restore(self, begun: Begun) -> None:
        """The mount that a runtime makes for CRIU, and leaves when it is killed: it would refuse every later restore."""
        left = begun.bundle / RESTORE_ROOT
        if left.exists():
            # In Podman's view of the mounts, which may be another than ours: then the removal of the folder takes the mount away.
            await commands.run(["umount", "--lazy", str(left)], ERASE_SECONDS)
            with contextlib.suppress(OSError):
                left.rmdir()

    def log(self, begun: Begun, name: str) -> str:
        """The end of CRIU's log; empty where there is none."""
        try:
            with (begun.bundle / name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
                return file.read(LOG_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def marked(self, notebook: str) -> int | None:
        """How many bytes the image has, when it is marked whole."""
        count = read_words(self.path(notebook) / WHOLE).get("bytes")
        return count if isinstance(count, int) else None

    def has_inventory(self, notebook: str) -> bool:
        return (self.image(notebook) / INVENTORY).exists()

    def bytes(self, notebook: str) -> int:
        begun = self.begun(notebook)
        files = [*self.image(notebook).glob("*"), *([begun.bundle / SHARED_MEMORY] if begun else [])]
        return sum(found.stat().st_blocks * 512 for found in files if found.exists())

    def mark(self, notebook: str) -> int:
        """All of it is on the disk, then it is marked. Takes as long as the disk does: not to be called on the loop. Raises OSError."""
        folder, begun = self.path(notebook), self.begun(notebook)
        for place in (self.image(notebook), *([begun.bundle] if begun else [])):
            held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                synced(held)
            finally:
                os.close(held)
        count = self.bytes(notebook)
        fresh = folder / f".{WHOLE}"
        self._files.write_synced(fresh, json.dumps({"bytes": count}).encode())
        self._files.rename(fresh, folder / WHOLE)
        self._files.sync_folder(folder)
        return count

    def users(self, notebook: str) -> frozenset[int]:
        """Processes that have something of the image open: CRIU at work, whoever started it and whether or not that one lives."""
        folder = f"{self.path(notebook).resolve() / IMAGE}"
        return frozenset(int(entry.name) for entry in self._proc.iterdir() if entry.name.isdigit() and has_open(entry / "fd", folder))

    def all(self) -> tuple[str, ...]:
        try:
            return tuple(sorted(entry.name for entry in self._folder.iterdir() if ID.fullmatch(entry.name)))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    async def remove(self, notebook: str) -> None:
        """The mark first: what is half removed is not whole. Raises HostUnfit."""
        folder, begun = self.path(notebook), self.begun(notebook)
        if not folder.exists():
            return
        (folder / WHOLE).unlink(missing_ok=True)
        self._files.sync_folder(folder)
        if begun:
            self._clear_bundle(begun.bundle)
        done = await commands.run(["rm", "-rf", "--one-file-system", "--", str(folder)], ERASE_SECONDS)
        if done.code:
            raise HostUnfit(f"{folder} cannot be removed: {done.err.strip()[:300]}", code="podman_refused", hint=f"look at it: ls -la {folder}")

    def _clear_bundle(self, bundle: Path) -> None:
        if not bundle.is_dir():
            return  # The container is gone, and with it what was beside it.
        link = bundle / LINK
        if link.is_symlink():
            link.unlink()
        for name in LEFT_BY_PODMAN:
            (bundle / name).unlink(missing_ok=True)


def read_words(path: Path) -> Mapping[str, Any]:
    try:
        words = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return words if isinstance(words, dict) else {}


def links(bundle: Path) -> tuple[str, ...]:
    """What the container mounts from outside through a symbolic link. Asks the disks of all of it: not to be called on the loop."""
    words = read_words(bundle / "config.json")
    sources = (mount.get("source", "") for mount in words.get("mounts", ()) if isinstance(mount, dict))
    return tuple(source for source in sources if os.path.isabs(source) and os.path.islink(source))  # noqa: PTH114, PTH117 - names of Podman's


def has_open(descriptors: Path, folder: str) -> bool:
    try:
        names = os.listdir(descriptors)  # noqa: PTH208 - names are wanted, not paths
    except OSError:
        return False  # It ended meanwhile.
    for name in names:
        with contextlib.suppress(OSError):  # One descriptor that was closed meanwhile says nothing about the others.
            if f"{os.readlink(f'{descriptors}/{name}')}/".startswith(f"{folder}/"):  # noqa: PTH115 - ten thousand of them at a time
                return True
    return False
