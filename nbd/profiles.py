"""An admin's offer of a notebook: image, editor, size, GPUs, network. One TOML file each in `profiles.d`; the file's name is the profile's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .config import Source, complaint, fill, toml
from .editors import EDITORS
from .errors import InvalidInput, NbdError
from .gpus.model import Request, Sharing
from .homes.attached.url import parsed, unfit_path
from .idle.policy import NO_OFFER, IdleOffer
from .values import Moment, count, duration, flag, number, one_of, required, room, setting, size, some, text, texts, times

PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
PART = r"[a-z0-9]+(?:(?:[.]|_{1,2}|-+)[a-z0-9]+)*"
TAG_AND_DIGEST = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:@sha256:[0-9a-f]{64})?"
REFERENCE = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{{1,5}})?/)?{PART}(?:/{PART})*{TAG_AND_DIGEST}")
"""An image as Podman knows it: [registry[:port]/]folder/name[:tag][@digest]."""
LONGEST_REFERENCE = 300
PATH = re.compile(r"/[^\x00-\x1f\x7f]{0,1023}")


def image(value: Any) -> str:
    if len(text(value)) > LONGEST_REFERENCE or not REFERENCE.fullmatch(value):
        raise ValueError('must be an image, such as "jupyter" or "registry.example/team/image:1.2"')
    return text(value)


@dataclass(frozen=True, slots=True)
class GpuOffer:
    count: int = setting(1, count, "How many cards.")
    models: tuple[str, ...] = setting((), texts, 'Any of these models, such as ["rtx4090", "a4000"]. Empty: any.')
    memory: int = setting("0B", size, "VRAM: of each whole card at least; or the budget on a shared one.")
    shared: bool = setting(False, flag, "Share a card with other notebooks within the VRAM budget.")  # noqa: FBT003 - a setting's default
    mig: str | None = setting(None, text, 'A MIG instance of this profile, such as "1g.10gb".')


@dataclass(frozen=True, slots=True)
class Mount:
    source: str = required(text, "A folder of this box.")
    target: str = required(text, "Where the notebook sees it.")
    writable: bool = setting(False, flag, "Whether the notebook may write there.")  # noqa: FBT003 - a setting's default


@dataclass(frozen=True, slots=True)
class Attach:
    url: str = required(text, "A bucket: s3://bucket/prefix, az://container/prefix, gs://bucket/prefix. {user} in it: the account's name.")
    path: str = required(text, "Where the notebook sees it.")
    writable: bool = setting(False, flag, "Whether what the notebook changes goes back.")  # noqa: FBT003 - a setting's default
    optional: bool = setting(False, flag, "Start also where the bucket cannot be reached.")  # noqa: FBT003 - a setting's default
    secrets: str | None = setting(None, text, "File (TOML, mode 0600) with the bucket's options, such as access_key_id. Unset: a public bucket.")


@dataclass(frozen=True, slots=True)
class Profile:
    title: str = required(text, "What people see in the list.")
    description: str = setting("", text, "One sentence below the title.")
    editor: str = setting("jupyterlab", one_of(*EDITORS), "The editor that opens.")
    image: str = setting("jupyter", image, "An image that nbd builds, by name, or the full reference of any other.")
    cpus: float = setting(2, number, "CPU cores.")
    memory: int = setting("4GiB", room, "Memory; a notebook that needs more is ended, and told so.")
    shm: int = setting("1GiB", room, "Shared memory (/dev/shm), part of the memory; PyTorch's data loaders want much.")
    tmp: int = setting("4GiB", room, "Size of /tmp, part of the memory.")
    pids: int = setting(2048, some, "Most processes and threads.")
    open_files: int = setting(65536, some, "Most open files a process; clamped to what the box allows.")
    network: str = setting("internet", one_of("internet", "none"), "'internet': everything but this box and other notebooks. 'none': no network.")
    stop_grace: float | None = setting(None, duration, "Time to save work before a stop kills; unset: the setting core.stop_grace.")
    start_at: tuple[Moment, ...] = setting("", times, "Those that nbd stopped or froze come up again then: mon-fri 08:30, by this box's clock.")
    groups: tuple[str, ...] = setting((), texts, "Only members of these groups may use it. Empty: everybody.")
    name: str = field(default="", metadata={"parse": text, "help": "", "shown": ""})
    gpu: GpuOffer | None = None
    mounts: tuple[Mount, ...] = ()
    attach: tuple[Attach, ...] = ()
    idle: IdleOffer = NO_OFFER

    def gpu_request(self, asked: int | None) -> Request | None:
        """What to ask the pool for when a person asks for `asked` cards; None for no card at all. Raises InvalidInput."""
        if self.gpu is None:
            if asked:
                raise InvalidInput(f"profile {self.name!r} has no GPUs", hint="see: nbctl profile ls", code="no_gpu_profile")
            return None
        cards = self.gpu.count if asked is None else asked
        if cards < 0:
            raise InvalidInput("a notebook cannot have a negative number of GPUs", code="bad_gpus")
        if cards == 0:
            return None
        sharing = Sharing.SHARED if self.gpu.shared else Sharing.EXCLUSIVE
        return Request(cards, self.gpu.models, self.gpu.memory, sharing, self.gpu.mig)


INTERNAL = ("name", "gpu", "mounts", "attach", "idle")


def parse_profile(source: str, file: str, name: str) -> Profile:
    """Raises InvalidInput naming file, line, key and the nearest known key."""
    if not PROFILE_NAME.fullmatch(name):
        hint = "use a-z 0-9 - ; the file's name is the profile's"
        raise InvalidInput(f"{file}:1: a profile cannot be called {name[:60]!r}", hint=hint, code="bad_config")
    document = dict(toml(source, file))
    gpu, mounts, attach = document.pop("gpu", None), document.pop("mounts", []), document.pop("attach", [])
    idle = document.pop("idle", {})
    if "name" in document:
        raise complaint(source, file, ("", "name"), "unknown key", "the file's name is the profile's name")
    for key, value, kind in (("gpu", gpu, dict), ("mounts", mounts, list), ("attach", attach, list), ("idle", idle, dict)):
        if value is not None and not isinstance(value, kind):
            written = f"[{key}]" if kind is dict else f"[[{key}]]"
            raise complaint(source, file, ("", key), f"must be written as {written}", "")
    profile = fill(Profile, document, Source(source, file, ""))
    profile = _with_parts(profile, name, gpu, mounts, Source(source, file, ""))
    profile = replace(profile, idle=fill(IdleOffer, idle, Source(source, file, "idle")))
    return replace(profile, attach=_attached(attach, Source(source, file, "attach"), tuple(mount.target for mount in profile.mounts)))


def _attached(tables: list[Any], source: Source, used: tuple[str, ...]) -> tuple[Attach, ...]:
    if not all(isinstance(table, dict) for table in tables):
        hint = 'below it: url = "s3://bucket/prefix" and path = "/data"'
        raise complaint(source.text, source.file, ("", "attach"), "must be written as [[attach]]", hint)
    found = tuple(fill(Attach, table, source) for table in tables)
    for place, one in enumerate(found):
        try:
            parsed(one.url.replace("{user}", "user"))
        except InvalidInput as error:
            raise complaint(source.text, source.file, ("attach", "url"), error.message, error.hint) from None
        why = unfit_path(one.path, used=(*used, *(other.path for other in found[:place])))
        if why:
            raise complaint(source.text, source.file, ("attach", "path"), f"nothing can be attached at {one.path}: {why}", "")
        if one.secrets is not None and not one.secrets.startswith("/"):
            raise complaint(source.text, source.file, ("attach", "secrets"), "must be an absolute path", "")
    return found


def _with_parts(profile: Profile, name: str, gpu: dict[str, Any] | None, mounts: list[Any], source: Source) -> Profile:
    offer = None if gpu is None else fill(GpuOffer, gpu, Source(source.text, source.file, "gpu"))
    if offer and offer.shared and not offer.memory:
        raise complaint(source.text, source.file, ("gpu", "shared"), "a shared card needs a VRAM budget", 'add: memory = "8GiB"')
    if not all(isinstance(mount, dict) for mount in mounts):
        raise complaint(source.text, source.file, ("", "mounts"), "must be written as [[mounts]]", 'below it: source = "/data" and target = "/data"')
    folders = tuple(fill(Mount, mount, Source(source.text, source.file, "mounts")) for mount in mounts)
    for mount in folders:
        for key, path in (("source", mount.source), ("target", mount.target)):
            if not PATH.fullmatch(path) or ".." in Path(path).parts:
                raise complaint(source.text, source.file, ("mounts", key), "must be an absolute path without '..'", "")
    return replace(profile, name=name, gpu=offer, mounts=folders)


def read_profiles(folder: Path) -> Mapping[str, Profile]:
    """Every profile of a folder, by name. Raises InvalidInput for the first that is wrong."""
    return {file.stem: parse_profile(file.read_text(encoding="utf-8"), str(file), file.stem) for file in profile_files(folder)}


def profile_files(folder: Path) -> Sequence[Path]:
    """Without hidden ones: an editor at work on a file puts its lock and its copy beside it."""
    return sorted(file for file in folder.glob("*.toml") if not file.name.startswith(".")) if folder.is_dir() else []


@dataclass(frozen=True, slots=True)
class FileProblem:
    text: str
    hint: str


def check_file(path: str | os.PathLike[str]) -> tuple[FileProblem, ...]:
    """What is wrong with a profile's file; empty when it is right."""
    file = Path(path)
    try:
        parse_profile(file.read_text(encoding="utf-8"), str(file), file.stem)
    except NbdError as error:
        return (FileProblem(error.message, error.hint),)
    except (OSError, UnicodeDecodeError) as error:
        return (FileProblem(f"{file}: {error.strerror if isinstance(error, OSError) else 'is not UTF-8 text'}", ""),)
    return ()


def reference_text() -> str:
    """Every key of a profile with its meaning, for docs/profiles.md."""
    lines: list[str] = []
    for title, kind in (("", Profile), ("[gpu]", GpuOffer), ("[idle]", IdleOffer), ("[[mounts]]", Mount), ("[[attach]]", Attach)):
        lines += ["", title] if title else []
        lines += [f"{row.name}: {row.metadata['help']}" for row in fields(kind) if row.name not in INTERNAL]
    return "\n".join(lines) + "\n"
