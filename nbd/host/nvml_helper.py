"""The process that calls NVML, because a driver can hang and then nothing but a kill helps: `python -m nbd.host.nvml_helper PARENT_PID`.

It reads questions as lines on stdin and answers each on stdout, one after the other; it ends at end of file and dies with its parent. Nobody
but `nvml.py` starts it. All knowledge of NVML's ways is here:

* An error is about one value (the card cannot tell it: unknown, never zero), about one card (lost, wants a reset: that card is out of
  service, the others are fine) or about the driver (no card can be asked). The tables below say which; an unheard-of code is about the card.
* A card that is at fault keeps the name and memory it had when it was last seen well, and its uuid if it does not tell even that.
* Functions are called by their versioned names: the others turn "an older driver lacks it" into an exception that is no NVMLError.
* When every card fails at once it is the session that broke, as after a restart of the driver: it is opened anew, once a question.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

import pynvml

from .. import wire
from ..gpus.model import MIB, Card
from ..gpus.ports import CardProcess, Reading
from ..idle.model import GpuLook
from ..messages import NO_DRIVER
from .nvml_lines import Answer, Ask, Kind, Question, Trouble
from .nvml_work import Device, Ledger, Life, Sample

T = TypeVar("T")

ABSENT = {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
DRIVER_WIDE = {*ABSENT, pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}
UNTOLD = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NO_DATA,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_INSUFFICIENT_SIZE,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
}
"""INVALID_ARGUMENT: of a link number beyond the last, of an instance where only a card can be asked."""

PDEATHSIG = 1
SYSFS_PCI = Path("/sys/bus/pci/devices")


class CardTrouble(Exception):
    """This card cannot be asked; the others may be well. The text is for an admin."""


@dataclass(frozen=True, slots=True)
class Seen:
    cards: tuple[Card, ...]
    """The whole card, and its MIG instances after it."""
    address: str | None
    linked: frozenset[str]
    """The PCI addresses at the other end of its active NVLinks: of cards, or of switches."""


class Driver:
    """One NVML session, opened at the first question and again after whatever broke it."""

    def __init__(self) -> None:
        self._open = False
        self._version: str | None = None
        self._known: dict[str, tuple[Card, ...]] = {}
        """Uuid of a whole card -> how it was when last seen well, with its MIG instances after it."""
        self._places: dict[int, str] = {}
        """Index -> the uuid of the card that was last seen well there."""
        self._ledger = Ledger()

    def answer(self, question: Question) -> Answer:
        try:
            self._session()
            if question.ask is Ask.CARDS:
                return Answer(question.number, version=self._version, cards=self._cards())
            if question.ask is Ask.PROCESSES:
                return Answer(question.number, version=self._version, processes=self._processes())
            if question.ask is Ask.READINGS:
                return Answer(question.number, version=self._version, readings=self._readings())
            if question.ask is Ask.WORK:
                return Answer(question.number, version=self._version, work=self._work())
            return Answer(question.number, version=self._version)
        except pynvml.NVMLError as error:
            self._close()
            return Answer(question.number, trouble=trouble_of(error))

    def _session(self) -> None:
        if not self._open:
            pynvml.nvmlInit()
            self._open = True
            self._version = told(pynvml.nvmlSystemGetDriverVersion)

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            return  # It is a broken session that is being closed: opening the next one says whether that helped.

    def _cards(self) -> tuple[Card, ...]:
        found = self._look()
        if found and all(isinstance(seen, CardTrouble) for seen in found):
            self._close()
            self._session()
            found = self._look()
        peers = peers_of([seen for seen in found if isinstance(seen, Seen)])
        shown: list[Card] = []
        for index, seen in enumerate(found):
            if isinstance(seen, CardTrouble):
                shown += self._lost(index, seen)
                continue
            uuid = self._places[index] = seen.cards[0].uuid
            self._known[uuid] = tuple(replace(card, nvlink_peers=peers.get(card.uuid, ())) for card in seen.cards)
            shown += self._known[uuid]
        return tuple(shown)

    def _look(self) -> list[Seen | CardTrouble]:
        found: list[Seen | CardTrouble] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                found.append(look_at(must(pynvml.nvmlDeviceGetHandleByIndex, index)))
            except CardTrouble as trouble:
                found.append(trouble)
        return found

    def _lost(self, index: int, trouble: CardTrouble) -> tuple[Card, ...]:
        uuid = uuid_at(index) or self._places.get(index, f"GPU-at-index-{index}")
        nameless = Card(uuid, "unknown NVIDIA GPU", 0, numa_node=-1, memory_known=False)
        return tuple(replace(card, quarantine=str(trouble)) for card in self._known.get(uuid, (nameless,)))

    def _processes(self) -> tuple[CardProcess, ...]:
        found: list[CardProcess] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = must(pynvml.nvmlDeviceGetHandleByIndex, index)
                # A card that is cut sums its instances up, or refuses to answer.
                found += [process for device in list(instances(handle)) or [handle] for process in processes_on(device)]
            except CardTrouble as trouble:
                found += [CardProcess(card.uuid, pid=None) for card in self._lost(index, trouble)]
        return tuple(found)

    def _readings(self) -> tuple[Reading, ...]:
        found: list[Reading] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = must(pynvml.nvmlDeviceGetHandleByIndex, index)
                found += [reading_of(device) for device in (handle, *instances(handle))]
            except CardTrouble:
                continue  # cards() shows it as out of service, with the reason
        return tuple(found)

    def _work(self) -> GpuLook:
        found: list[Device] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = must(pynvml.nvmlDeviceGetHandleByIndex, index)
                cut = list(instances(handle))
                # What is on a card that is cut is on its instances.
                devices = [self._device(handle, who=not cut), *(self._device(device, who=True) for device in cut)]
                self._places[index] = devices[0].uuid
                found += devices
            except CardTrouble as trouble:
                found += [Device(card.uuid, trouble=str(trouble)) for card in self._lost(index, trouble)]
        return self._ledger.look(found, time.time(), time.monotonic())

    def _device(self, device: Any, *, who: bool) -> Device:
        reading = reading_of(device)
        samples = samples_of(device, self._ledger.since(reading.card, time.time_ns() // 1000)) if who else None
        processes = processes_on(device) if who else []
        lives = lives_of(device, processes) if samples is None else {}
        return Device(reading.card, processes, samples, lives, reading.utilisation, reading.used_bytes)


def told(call: Callable[..., T], *args: object) -> T | None:
    """What the call answers, or None where this card or driver cannot tell it. Raises CardTrouble when the card is at fault."""
    try:
        return call(*args)
    except pynvml.NVMLError as error:
        if error.value in UNTOLD:
            return None
        raise_for(call, error)


def must(call: Callable[..., T], *args: object) -> T:
    """What the call answers; a card that cannot tell this much is no use."""
    try:
        return call(*args)
    except pynvml.NVMLError as error:
        raise_for(call, error)


def raise_for(call: Callable[..., object], error: Any) -> NoReturn:
    if error.value in DRIVER_WIDE:
        raise error
    raise CardTrouble(f"the driver says: {error} ({call.__name__}, NVML error {error.value})") from None


def uuid_at(index: int) -> str | None:
    try:
        return told(pynvml.nvmlDeviceGetUUID, must(pynvml.nvmlDeviceGetHandleByIndex, index))
    except CardTrouble:
        return None


def trouble_of(error: Any) -> Trouble:
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return Trouble(Kind.ABSENT, f"{NO_DRIVER}: libnvidia-ml.so.1 is not installed")
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return Trouble(Kind.ABSENT, "the NVIDIA driver is not loaded")
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return Trouble(Kind.BROKEN, "the NVIDIA driver was upgraded and its old kernel module still runs; a reboot loads the new one")
    return Trouble(Kind.BROKEN, f"the NVIDIA driver cannot be asked: {error} (NVML error {error.value})")


def look_at(handle: Any) -> Seen:
    """The card and its MIG instances. Raises CardTrouble when any of it shows that the card is unfit."""
    memory = told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    # A card that is at fault when asked for its processes could never be released again.
    told(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, handle)
    address = pci_address(told(pynvml.nvmlDeviceGetPciInfo_v3, handle))
    card = Card(
        uuid=must(pynvml.nvmlDeviceGetUUID, handle),
        name=told(pynvml.nvmlDeviceGetName, handle) or "unknown NVIDIA GPU",
        memory_bytes=memory.total if memory else 0,
        numa_node=numa_node(handle, address),
        memory_known=memory is not None,
    )
    cut = tuple(instance_card(device, card) for device in instances(handle))
    if mig_is_on(handle) and not cut:
        reason = "MIG mode is on and the card is not cut into instances: nvidia-smi mig -cgi … -C, or nvidia-smi -mig 0"
        card = replace(card, quarantine=reason)
    return Seen((card, *cut), address, linked_addresses(handle))


def pci_address(info: Any) -> str | None:
    """As sysfs writes it: 0000:3b:00.0. NVML's domain has eight digits, sysfs' four."""
    return str(info.busId)[-12:].lower() if info else None


def numa_node(handle: Any, address: str | None) -> int:
    """The node that the card is nearest to, -1 where nobody says. (nvmlDeviceGetNumaNodeId is another thing: the node that a card's own
    memory *is*, on boxes that show it as system memory.)"""
    nodes = told(pynvml.nvmlDeviceGetMemoryAffinity, handle, 1, pynvml.NVML_AFFINITY_SCOPE_NODE)
    if nodes and nodes[0]:
        return int(nodes[0]).bit_length() - 1
    try:
        return int((SYSFS_PCI / (address or "unknown") / "numa_node").read_text())
    except (OSError, ValueError):
        return -1


def linked_addresses(handle: Any) -> frozenset[str]:
    linked: set[str] = set()
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        active = told(pynvml.nvmlDeviceGetNvLinkState, handle, link)
        if active is None:
            break  # a card without links, or past its last one
        remote = pci_address(told(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)) if active else None
        if remote:
            linked.add(remote)
    return frozenset(linked)


def peers_of(found: list[Seen]) -> dict[str, tuple[str, ...]]:
    """Who is joined to whom: two cards with a link between them, or with links to the same switch."""

    def joined(one: Seen, other: Seen) -> bool:
        return one is not other and (other.address in one.linked or bool(one.linked & other.linked))

    return {one.cards[0].uuid: tuple(other.cards[0].uuid for other in found if joined(one, other)) for one in found}


def mig_is_on(handle: Any) -> bool:
    mode = told(pynvml.nvmlDeviceGetMigMode, handle)
    return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def instances(handle: Any) -> Iterator[Any]:
    if not mig_is_on(handle):
        return
    for index in range(told(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        device = told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if device is not None:
            yield device


def instance_card(device: Any, parent: Card) -> Card:
    memory = told(pynvml.nvmlDeviceGetMemoryInfo, device)
    profile = mig_profile(device, parent)
    return Card(
        uuid=must(pynvml.nvmlDeviceGetUUID, device),
        name=f"{parent.name} MIG {profile}",
        memory_bytes=memory.total if memory else 0,
        numa_node=parent.numa_node,
        mig_profile=profile,
        parent=parent.uuid,
        memory_known=memory is not None,
    )


def mig_profile(device: Any, parent: Card) -> str:
    """ "1g.10gb", or "1c.2g.20gb" for a part of the compute slices. NVML tells the slices and the memory and leaves the name to its users:
    memory counts in eighths of the card's, rounded up, as nvidia-smi does it."""
    attributes = told(pynvml.nvmlDeviceGetAttributes_v2, device)
    if attributes is None:
        return "unknown"
    slices, compute = attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount
    card_mib = parent.memory_bytes // MIB
    eighths = -(-8 * attributes.memorySizeMB // card_mib) if card_mib else 0
    size = round(eighths * -(-card_mib // 1024) / 8)
    return f"{slices}g.{size}gb" if slices == compute else f"{compute}c.{slices}g.{size}gb"


def processes_on(device: Any) -> list[CardProcess]:
    uuid = must(pynvml.nvmlDeviceGetUUID, device)
    compute = told(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, device)
    if compute is None:
        return [CardProcess(uuid, pid=None)]
    graphics = told(pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, device) or []
    clients = told(pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, device) or []
    # A process with several kinds of context is listed several times, each time with all its memory.
    found = {process.pid: CardProcess(uuid, process.pid, process.usedGpuMemory) for process in [*graphics, *clients, *compute]}
    return list(found.values())


def reading_of(device: Any) -> Reading:
    memory = told(pynvml.nvmlDeviceGetMemoryInfo, device)
    rates = told(pynvml.nvmlDeviceGetUtilizationRates, device)
    milliwatts = told(pynvml.nvmlDeviceGetPowerUsage, device)
    return Reading(
        card=must(pynvml.nvmlDeviceGetUUID, device),
        used_bytes=memory.used if memory else None,
        utilisation=rates.gpu / 100 if rates else None,
        temperature_celsius=told(pynvml.nvmlDeviceGetTemperature, device, pynvml.NVML_TEMPERATURE_GPU),
        power_watts=milliwatts / 1000 if milliwatts is not None else None,
    )


def samples_of(device: Any, since: int) -> list[Sample] | None:
    """Of processes that worked. That there are none is an answer; so is success without any, which nvidia-ml-py takes for an error."""
    for _ in range(2):
        try:
            shown = pynvml.nvmlDeviceGetProcessUtilization(device, since)
        except pynvml.NVMLError as error:
            if error.value in (pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_FOUND):
                return []
            if error.value == pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
                continue  # One more has begun between the question how many and the question who.
            if error.value in UNTOLD:
                return None
            raise_for(pynvml.nvmlDeviceGetProcessUtilization, error)
        return [Sample(one.pid, max(one.smUtil, one.encUtil, one.decUtil), one.timeStamp) for one in shown]
    return None


def lives_of(device: Any, processes: list[CardProcess]) -> dict[int, Life]:
    """Empty unless an admin has switched accounting mode on: nbd never does."""
    if told(pynvml.nvmlDeviceGetAccountingMode, device) != pynvml.NVML_FEATURE_ENABLED:
        return {}
    found = {process.pid: told(pynvml.nvmlDeviceGetAccountingStats, device, process.pid) for process in processes if process.pid is not None}
    return {pid: Life(stats.gpuUtilization, stats.startTime) for pid, stats in found.items() if stats is not None}


def die_with(parent: int) -> None:
    """End of file on stdin is not enough: who hangs in a driver does not read."""
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had gone before we asked
        sys.exit(1)


def own_stdout() -> TextIO:
    """stdout for answers alone: whatever a driver library prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def main() -> None:
    die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent, which ends us in its own time
    driver, answers = Driver(), own_stdout()
    for line in sys.stdin:
        answers.write(wire.encode(driver.answer(wire.decode(Question, line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
