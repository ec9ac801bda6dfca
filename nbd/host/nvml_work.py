"""Who worked on which card since the last look, from what the driver said. Pure: `nvml_helper.py` asks, this concludes.

The driver's own figures of single processes come first. Asked since the moment of the newest one that was seen, it gives each process that ran any
kernel since; one that it does not name did none. A card without such figures (MIG, old ones) tells nothing: unknown, never zero. Where an admin has
switched accounting mode on, that can prove work on such a card, but never idleness: it has the mean of a whole life, in whole per cent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..gpus.ports import CardProcess
from ..idle.model import CardUse, GpuLook, GpuUse

LARGEST_PERCENT = 100
"""Some drivers say more of processes that are gone or of other kinds: such a figure is none."""
SILENT = "this card does not say who is on it"


@dataclass(frozen=True, slots=True)
class Sample:
    pid: int
    percent: int
    """The largest of its share of the multiprocessors, the encoder and the decoder."""
    moment: int
    """Microseconds, by the driver's clock, which follows the wall's."""


@dataclass(frozen=True, slots=True)
class Life:
    """What accounting mode has of a process: the share of its life in which it ran kernels."""

    percent: int
    started: int
    """Microseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Device:
    """A card or a MIG instance, as the driver showed it at one look."""

    uuid: str
    processes: Sequence[CardProcess] = ()
    samples: Sequence[Sample] | None = None
    """None: it has no figures of single processes."""
    lives: Mapping[int, Life] = field(default_factory=dict)
    share: float | None = None
    used_bytes: int | None = None
    trouble: str = ""
    """Why it cannot be asked at all."""


@dataclass(frozen=True, slots=True)
class Account:
    """A life at one look. Its age is counted by the monotonic clock from when it was first seen."""

    life: Life
    age: float


class Ledger:
    """What was seen of each card so far, in one life of the helper."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._accounts: dict[tuple[str, int], Account] = {}
        self._moment = 0.0

    def since(self, card: str, now: int) -> int:
        """What to ask the driver for. `now`: microseconds, by the wall clock.

        After that was set back, what was seen lies in the future, and asked since then the driver would find nothing, however much was done: it is
        asked for all it still has. That may name work of some seconds ago again, as at the first look: better than none."""
        newest = self._newest.get(card, 0)
        return newest if newest <= now else 0

    def look(self, devices: Iterable[Device], wall: float, moment: float) -> GpuLook:
        """`wall`: seconds since the epoch. `moment`: seconds by the monotonic clock."""
        seen, before, seconds = tuple(devices), self._accounts, moment - self._moment
        self._accounts = {
            (device.uuid, pid): aged(before.get((device.uuid, pid)), life, wall, seconds) for device in seen for pid, life in device.lives.items()
        }
        self._moment = moment
        for device in seen:
            self._newest[device.uuid] = max((sample.moment for sample in device.samples or ()), default=self._newest.get(device.uuid, 0))
        return GpuLook(
            cards=tuple(CardUse(device.uuid, device.share, device.used_bytes) for device in seen if not device.trouble),
            processes=tuple(use for device in seen for use in self._uses(device, before)),
            silent={device.uuid: why for device in seen if (why := silence(device))},
        )

    def _uses(self, device: Device, before: Mapping[tuple[str, int], Account]) -> Iterable[GpuUse]:
        present = {process.pid: process.memory_bytes for process in device.processes if process.pid is not None}
        for pid, memory in present.items():
            key = (device.uuid, pid)
            share = share_of(pid, device.samples)
            if device.samples is None and key in before and key in self._accounts:
                share = proven(before[key], self._accounts[key])
            yield GpuUse(device.uuid, pid, share, memory)
        # It has ended meanwhile, and worked until then.
        for pid in {sample.pid for sample in device.samples or () if sample.pid} - present.keys():
            if share := share_of(pid, device.samples):
                yield GpuUse(device.uuid, pid, share)


def share_of(pid: int, samples: Sequence[Sample] | None) -> float | None:
    if samples is None:
        return None
    found = [sample.percent for sample in samples if sample.pid == pid]
    believed = [percent for percent in found if percent <= LARGEST_PERCENT]
    return None if found and not believed else max(believed, default=0) / 100


def silence(device: Device) -> str:
    return device.trouble or (SILENT if any(process.pid is None for process in device.processes) else "")


def aged(before: Account | None, life: Life, wall: float, seconds: float) -> Account:
    """The wall clock is believed once: setting it later makes nobody older."""
    if before is not None and before.life.started == life.started:
        return Account(life, before.age + seconds)
    return Account(life, max(0.0, wall - life.started / 1e6))


def proven(before: Account, after: Account) -> float | None:
    """The share of the time between in which it worked at least; None where the figures, in whole per cent of a whole life, prove nothing."""
    seconds = after.age - before.age
    if seconds <= 0 or before.life.started != after.life.started or max(before.life.percent, after.life.percent) > LARGEST_PERCENT:
        return None
    worked = ((after.life.percent - 1) * after.age - (before.life.percent + 1) * before.age) / 100 / seconds
    # A mean that rises was pulled up by what came last.
    rose = before.life.percent / 100 if after.life.percent > before.life.percent else 0.0
    least = min(1.0, max(worked, rose))
    return least if least > 0 else None
