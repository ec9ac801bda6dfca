"""The machine's CDI specs, as the container engine will read them: can these cards reach a container?

A device of a later folder outranks one of the same name in an earlier folder; that is CDI's own rule. A spec that was generated for another
driver still lists every card, and then mounts libraries that are gone or of the wrong version: it is looked for by the version in the
name of the libcuda that it mounts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..gpus.ports import SpecProblem
from .blocking import Blocking

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
KIND = "nvidia.com/gpu"
SECONDS = 5.0
GENERATE = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
BY_UUID = "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"
"""What an older toolkit needs: by itself it calls the devices 0, 1, …"""
LIBCUDA = re.compile(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)*)$")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times faster in C, where PyYAML has it: a generated spec has thousands of lines."""


@dataclass(frozen=True, slots=True)
class Spec:
    path: Path
    devices: frozenset[str]
    """Names, for NVIDIA's GPUs alone: a spec of another vendor has none."""
    drivers: frozenset[str]
    """Versions of the libcuda that it mounts."""
    broken: str = ""
    """What keeps the file from being read, naming file and line."""


class CdiSpecs:
    """`gpus.ports.CardSpecs`. A file is parsed again when it has changed."""

    def __init__(self, folders: Sequence[Path] = FOLDERS) -> None:
        self._folders = folders
        self._parsed: dict[tuple[Path, int, int], Spec] = {}
        self._thread = Blocking(at_once=1)

    async def problem(self, uuids: Collection[str], driver_version: str | None) -> SpecProblem | None:
        specs = await self._thread.run("reading the CDI specs", SECONDS, self._read)
        return judge(specs, uuids, driver_version, self._folders)

    def _read(self) -> list[Spec]:
        """Every spec, those that outrank others last."""
        parsed: dict[tuple[Path, int, int], Spec] = {}
        for path in spec_files(self._folders):
            try:
                stat = path.stat()
            except OSError:
                continue  # it went while we looked: as good as never there
            key = (path, stat.st_mtime_ns, stat.st_size)
            parsed[key] = self._parsed.get(key) or read_spec(path)
        self._parsed = parsed
        return list(parsed.values())


def judge(specs: Sequence[Spec], uuids: Collection[str], driver_version: str | None, folders: Sequence[Path]) -> SpecProblem | None:
    outranking = {name: spec for spec in specs for name in spec.devices}
    missing = [uuid for uuid in uuids if uuid not in outranking]
    broken = [spec.broken for spec in specs if spec.broken]
    if missing and broken:
        return SpecProblem("cdi_broken", f"a CDI spec cannot be read: {broken[0]}", GENERATE)
    if missing:
        where = " or ".join(str(folder) for folder in folders)
        hint = BY_UUID if outranking and not any("-" in name for name in outranking) else GENERATE
        return SpecProblem("cdi_missing", f"no CDI spec in {where} lists {', '.join(missing)}: containers cannot be given it", hint)
    for spec in {outranking[uuid].path: outranking[uuid] for uuid in uuids}.values():
        if driver_version and spec.drivers and driver_version not in spec.drivers:
            made_for = ", ".join(sorted(spec.drivers))
            message = f"the CDI spec {spec.path} is of driver {made_for}, and {driver_version} is running"
            return SpecProblem("cdi_stale", message, GENERATE)
    return None


def spec_files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        try:
            names = sorted(folder.iterdir())
        except OSError:
            continue  # no such folder, or none for us: no specs there
        yield from (path for path in names if path.suffix in (".json", ".yaml", ".yml"))


def read_spec(path: Path) -> Spec:
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=Loader)
    except json.JSONDecodeError as error:
        return broken_spec(path, f" line {error.lineno}: {error.msg}")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return broken_spec(path, f" line {mark.line + 1}: {getattr(error, 'problem', error)}" if mark else f": {error}")
    except (OSError, UnicodeDecodeError) as error:
        return broken_spec(path, f": {error}")
    if not isinstance(content, Mapping):
        return broken_spec(path, " line 1: not a CDI spec")
    if content.get("kind") != KIND:
        return Spec(path, frozenset(), frozenset())
    devices = content.get("devices")
    entries = devices if isinstance(devices, list) else []
    names = frozenset(str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and "name" in entry)
    drivers = frozenset(found[1] for text in texts(content) if (found := LIBCUDA.search(text)))
    return Spec(path, names, drivers)


def broken_spec(path: Path, what: str) -> Spec:
    return Spec(path, frozenset(), frozenset(), broken=f"{path}{what}")


def texts(content: object) -> Iterator[str]:
    """Every string anywhere in it."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from texts(value)
