"""A simulated NVIDIA driver for tests and demos: the library that `nvml.c` makes, the file that it plays, and a CDI spec for its cards.

Write a box with `write_cards`, hand its file and the library's folder to `NvmlCards`, and rewrite the file while nbd runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import Deadline, HostUnfit
from ...gpus.model import GIB, MIB

SOURCE = Path(__file__).with_name("nvml.c")
LIBRARY = "libnvidia-ml.so.1"
DRIVER = "550.90.07"
COMPILE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SimulatedInstance:
    uuid: str
    slices: int
    memory_bytes: int
    processes: Mapping[int, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SimulatedCard:
    """None is what the card cannot tell."""

    uuid: str
    name: str = "NVIDIA RTX A4000"
    memory_bytes: int | None = 16 * GIB
    used_bytes: int | None = 300 * MIB
    utilisation_percent: int | None = 0
    temperature_celsius: int | None = 38
    power_watts: float | None = 15.5
    numa_node: int | None = 0
    address: str | None = None
    """PCI; None takes the next one: 00000000:01:00.0 for the first card."""
    links: tuple[str, ...] = ()
    """The PCI addresses that an active NVLink leads to."""
    mig: bool | None = None
    instances: tuple[SimulatedInstance, ...] = ()
    processes: Mapping[int, int | None] = field(default_factory=dict)
    """Host pid -> bytes on the card; None where the driver cannot say."""
    graphics: Mapping[int, int | None] = field(default_factory=dict)
    mps: Mapping[int, int | None] = field(default_factory=dict)
    busy: Mapping[int, int] | None = field(default_factory=dict)
    """Host pid -> per cent of the card that it uses. None: a card that has no figures of single processes."""
    accounts: Mapping[int, tuple[int, int]] | None = None
    """Accounting mode is on: host pid -> per cent of its life, and its beginning in microseconds since the epoch."""
    faults: tuple[str, ...] = ()
    """Lines of the file: "error nvmlDeviceGetUUID 15", "hang *"."""


MODELS = (
    ("NVIDIA GeForce RTX 4090", 24564 * MIB),
    ("NVIDIA RTX A4000", 16376 * MIB),
    ("NVIDIA RTX A4000", 16376 * MIB),
    ("NVIDIA RTX 6000 Ada Generation", 49140 * MIB),
)


def default_cards(count: int, seed: int = 0) -> tuple[SimulatedCard, ...]:
    """A realistic box: a mix of models on two NUMA nodes, the same uuids each time for one seed (0 to 65535).

    Two simulated boxes on one machine need two seeds: Podman refuses a device that two CDI specs name.
    """
    return tuple(
        SimulatedCard(
            uuid=f"GPU-5151{f'{number % 16:x}' * 4}-{seed:04x}-4000-8000-{number:012d}",
            name=MODELS[(number - 1) % len(MODELS)][0],
            memory_bytes=MODELS[(number - 1) % len(MODELS)][1],
            used_bytes=0,
            numa_node=(number - 1) // 2 % 2,
        )
        for number in range(1, count + 1)
    )


def compile_library(folder: Path, source: Path = SOURCE, name: str = LIBRARY) -> Path:
    """Make the library `name` in `folder`, unless one newer than its source is there. Blocks; a second or so. Returns its path.

    Raises HostUnfit where there is no C compiler or it fails, Deadline where it does not end.
    """
    library = folder / name
    if library.exists() and library.stat().st_mtime >= source.stat().st_mtime:
        return library
    compiler = shutil.which("cc")
    if compiler is None:
        raise HostUnfit("simulated GPUs need a C compiler, and there is no `cc`", hint="apt-get install gcc libc6-dev", code="no_compiler")
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{name}.{os.getpid()}"
    command = [compiler, "-shared", "-fPIC", "-O1", "-fvisibility=hidden", f"-Wl,-soname,{name}", "-o", str(fresh), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Deadline(f"the C compiler did not end within {COMPILE_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        hint = "apt-get install gcc libc6-dev"
        raise HostUnfit(f"the simulated GPU driver cannot be compiled: {error.stderr[-500:]}", hint=hint, code="no_compiler") from None
    fresh.replace(library)
    return library


def write_cards(path: Path, *cards: SimulatedCard, faults: Iterable[str] = (), driver: str = DRIVER) -> None:
    """Make the file say that these are the cards. A reader sees the whole old box or the whole new one."""
    write(path, [f"driver {driver}", *faults, *(line for card in cards for line in lines_of(card))])


def put_processes(path: Path, uuid: str, processes: Mapping[int, int | None]) -> None:
    """Let these host pids, and no others, be on the card or MIG instance, with so many bytes each. All else in the file stays."""
    replace_lines(path, uuid, "process", process_lines("process", processes))


def put_busy(path: Path, uuid: str, busy: Mapping[int, int]) -> None:
    """Let these host pids, and no others, use so many per cent of the card, at every call from now on. All else in the file stays."""
    replace_lines(path, uuid, "busy", busy_lines(busy))


def lines_of(card: SimulatedCard) -> list[str]:
    known = {
        "name": card.name,
        "memory": card.memory_bytes,
        "used": card.used_bytes,
        "utilisation": card.utilisation_percent,
        "temperature": card.temperature_celsius,
        "power": None if card.power_watts is None else round(card.power_watts * 1000),
        "numa": card.numa_node,
        "bus": card.address,
        "mig": None if card.mig is None else ("on" if card.mig else "off"),
    }
    lines = [f"card {card.uuid}", *(f"{word} {value}" for word, value in known.items() if value is not None), *card.faults]
    lines += [f"link {address}" for address in card.links]
    for word, processes in (("process", card.processes), ("graphics", card.graphics), ("mps", card.mps)):
        lines += process_lines(word, processes)
    lines += [] if card.busy is None else ["samples", *busy_lines(card.busy)]
    lines += [] if card.accounts is None else ["accounting on", *(f"account {pid} {share} {start}" for pid, (share, start) in card.accounts.items())]
    for instance in card.instances:
        lines.append(f"instance {instance.uuid} {instance.slices} {instance.memory_bytes // MIB}")
        lines += process_lines("process", instance.processes)
    return lines


def replace_lines(path: Path, uuid: str, what: str, lines: Sequence[str]) -> None:
    """Of one card or instance: all lines of one kind."""
    kept: list[str] = []
    here = False
    for line in path.read_text().splitlines():
        word, _, value = line.strip().partition(" ")
        if word in ("card", "instance"):
            here = value.split(" ")[0] == uuid
        if not (here and word == what):
            kept.append(line)
        if here and word in ("card", "instance"):
            kept += lines
    write(path, kept)


def busy_lines(busy: Mapping[int, int]) -> list[str]:
    return [f"busy {pid} {percent}" for pid, percent in busy.items()]


def process_lines(word: str, processes: Mapping[int, int | None]) -> list[str]:
    return [f"{word} {pid} {'unknown' if size is None else size}" for pid, size in processes.items()]


def cdi_file(folder: Path, seed: int = 0) -> Path:
    return folder / f"nbd-simulated-{seed:04x}.json"


def write_cdi(path: Path, cards: Sequence[SimulatedCard]) -> Path:
    """A CDI spec for these cards and their instances: each device is called by its uuid and is a harmless copy of /dev/null."""
    null = {"hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3}
    devices = [
        {"name": uuid, "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{index}", **null}]}}
        for index, card in enumerate(cards)
        for uuid in (card.uuid, *(instance.uuid for instance in card.instances))
    ]
    write(path, json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}, indent=2).splitlines())
    return path


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text("".join(f"{line}\n" for line in lines))
    fresh.replace(path)
