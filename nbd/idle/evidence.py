"""From two looks to evidence: what shows work between them, and what cannot be ruled out. Pure.

A part that is missing is never taken for zero, and counters are compared only within one container and one state, and while they do not go backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Counters, DoorLook, EditorLook, Evidence, GpuLook, GpuUse, Look, Sample, Signal, Site, Unknown
from .words import span


@dataclass(frozen=True, slots=True)
class Meaning:
    weight: float
    """The most that one observation is worth; 1 is enough by itself."""
    half_life: float
    """Seconds in which it is worth half of that."""
    source: str


MEANINGS: Mapping[Signal, Meaning] = {
    Signal.GPU: Meaning(2.0, 60, "NVML: how long kernels of the notebook's own processes ran on its cards; more than 1 %"),
    Signal.VRAM: Meaning(0.6, 120, "NVML: device memory of its processes changed by 1 MiB or more; memory that is only held is nothing"),
    Signal.CPU: Meaning(2.0, 60, "cgroup: CPU time of its processes without the editor's own, above what an editor and its kernels take at rest"),
    Signal.DISK: Meaning(1.0, 60, "cgroup: bytes read and written; from 16 KiB/s (0.4) to 1 MiB/s (1)"),
    Signal.NETWORK: Meaning(1.0, 60, "its network's bytes without what the door relayed; from 4 KiB/s (0.4) to 256 KiB/s (1)"),
    Signal.KERNEL: Meaning(1.0, 30, "Jupyter's word: a kernel is busy (1); or did something since the last look (0.3)"),
    Signal.TERMINAL: Meaning(0.5, 120, "Jupyter's word: a terminal had input or output"),
    Signal.TYPING: Meaning(2.0, 120, "the door: messages from the browser that a person caused, by direction and size"),
    Signal.CLICK: Meaning(2.0, 120, "the door: a page of the editor was opened, a file sent up"),
    Signal.PROBE: Meaning(1.0, 60, "the profile's own script says so"),
    Signal.HEARTBEAT: Meaning(0.1, 300, "the editor's heartbeat moved; any open tab does that"),
    Signal.TAB: Meaning(0.1, 60, "the door: a tab is open"),
    Signal.KEEP: Meaning(2.0, 15, "its person asked to keep it, until then"),
}
WEAK = frozenset({Signal.HEARTBEAT, Signal.TAB})
WEAK_MOST = 0.15
"""All weak signals together are worth no more."""
GRAIN, COARSE = 20, 4
"""Weights are whole twentieths, from 1 on whole quarters: what is kept of them is what was judged, and a day of them is short."""
MOVED = 0.3
"""A kernel that is not busy now, and did something since the last look."""

GPU_SHARE = 0.01
VRAM_CHANGE = 1 << 20
AT_REST: Mapping[str, float] = {"jupyterlab": 0.02}
AT_REST_OTHERS = 0.05
"""Cores that an editor's helpers take when nobody works: file watchers, language servers."""
KERNEL_AT_REST = 0.01
"""A core's share that each kernel takes at rest: its heartbeat is about half of that."""
CPU_NOISE = 0.03
"""Seconds: the editor's own CPU time is counted in hundredths, and read a moment after the cgroup's."""
SOME, SOME_WEIGHT = {Signal.DISK: 16 << 10, Signal.NETWORK: 4 << 10}, 0.4
MUCH = {Signal.DISK: 1 << 20, Signal.NETWORK: 256 << 10}
"""Bytes a second that are some, and that are enough by themselves."""
FIRST = "there is nothing to compare with yet"


@dataclass(slots=True)
class _Notes:
    evidence: list[Evidence] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)

    def show(self, signal: Signal, weight: float, text: str) -> None:
        self.evidence.append(Evidence(signal, grained(min(weight, MEANINGS[signal].weight)), text))

    def blank(self, source: str, why: str) -> None:
        """What the look itself says of a source goes first."""
        if source not in {item.source for item in self.unknown}:
            self.unknown.append(Unknown(source, why))


def grained(weight: float) -> float:
    grain = GRAIN if weight < 1 else COARSE
    return round(weight * grain) / grain


def sample(before: Look | None, after: Look, site: Site) -> Sample:
    """What shows work from `before` to `after`. Of the first look of a run, or of a state, only what needs no comparison."""
    known = before if before and (before.run, before.state) == (after.run, after.state) and before.at < after.at else None
    seconds = after.at - known.at if known else 0.0
    notes = _Notes(unknown=list(after.unknown))
    _cards(notes, known, after, site)
    _machine(notes, known, after, site)
    busy = _editor(notes, known.editor if known else None, after.editor, site)
    _door(notes, known.door if known else None, after.door)
    if after.probe and after.probe.active:
        notes.show(Signal.PROBE, 1.0, f"probe: {after.probe.text}" if after.probe.text else "its probe says that it works")
    elif site.probes and after.probe is None:
        notes.blank("probe", "it has not answered yet")
    if after.kept_until is not None and after.kept_until > after.at:
        notes.show(Signal.KEEP, 2.0, f"kept for {span(after.kept_until - after.at)} more, as its person asked")
    return Sample(after.at, seconds, tuple(notes.evidence), tuple(notes.unknown), busy)


def _machine(notes: _Notes, known: Look | None, after: Look, site: Site) -> None:
    if after.counters is None:
        return notes.blank("cgroup", "its counters cannot be read")
    if known is None or known.counters is None:
        return notes.blank("cgroup", FIRST)
    seconds, old, new = after.at - known.at, known.counters, after.counters
    used = _since(old.cpu_seconds, new.cpu_seconds)
    if used is None:
        notes.blank("cgroup", "its CPU time cannot be read")
    else:
        used -= min(used, _since(old.editor_cpu_seconds, new.editor_cpu_seconds) or 0.0)
        rest = AT_REST.get(site.editor, AT_REST_OTHERS) + KERNEL_AT_REST * (len(after.editor.kernels) if after.editor else 0)
        if used >= rest * seconds and used > CPU_NOISE:
            notes.show(Signal.CPU, 1.0 + used / seconds, f"its processes used {used / seconds * 100:.0f} % of a core")
    _flow(notes, Signal.DISK, _since(old.disk_bytes, new.disk_bytes), seconds)
    carried = _since(old.network_bytes, new.network_bytes)
    if carried is not None and site.over_network:
        carried = max(0, carried - _relayed(known.door, after.door))
    return _flow(notes, Signal.NETWORK, carried, seconds)


def _since(old: float | None, new: float | None) -> float | None:
    """None where it cannot be said; a counter that went backwards is another one."""
    return None if old is None or new is None or new < old else new - old


def _relayed(old: DoorLook | None, new: DoorLook | None) -> int:
    if old is None or new is None:
        return 0
    return new.relayed_bytes - (old.relayed_bytes if old.door == new.door else 0)


def _flow(notes: _Notes, signal: Signal, moved: float | None, seconds: float) -> None:
    """Each doubling from some to much is worth the same."""
    what = "its disk" if signal is Signal.DISK else "its network"
    if moved is None:
        return notes.blank("cgroup", f"the bytes of {what} cannot be read")
    rate, some, much = moved / seconds, SOME[signal], MUCH[signal]
    if rate < some:
        return None
    weight = SOME_WEIGHT + (1 - SOME_WEIGHT) * _doublings(rate / some) / _doublings(much / some)
    return notes.show(signal, weight, f"{what} carried {rate / 1024:.0f} KiB/s" if rate < 1 << 20 else f"{what} carried {rate / (1 << 20):.0f} MiB/s")


def _doublings(ratio: float) -> float:
    """log2, straight between whole ones."""
    whole = int(ratio).bit_length() - 1
    return whole + ratio / (1 << whole) - 1


def _cards(notes: _Notes, known: Look | None, after: Look, site: Site) -> None:
    if not site.cards:
        return None
    if after.gpu is None:
        return notes.blank("gpu", "the driver does not answer")
    pids = _pids(known.counters if known else None, after.counters)
    for card in site.cards:
        _card(notes, card, after.gpu, pids, exclusive=site.exclusive)
    if known and known.gpu:
        changed = _memory_change(known.gpu, after.gpu, pids or frozenset(), site)
        if changed >= VRAM_CHANGE:
            notes.show(Signal.VRAM, MEANINGS[Signal.VRAM].weight, f"its device memory changed by {changed / (1 << 20):.0f} MiB")
    return None


def _pids(before: Counters | None, after: Counters | None) -> frozenset[int] | None:
    """Also those that have ended since: their work is its work."""
    if after is None or after.pids is None:
        return None
    return after.pids | (before.pids if before and before.pids else frozenset())


def _card(notes: _Notes, card: str, look: GpuLook, pids: frozenset[int] | None, *, exclusive: bool) -> None:
    """Per process where the card tells that; else by the card's own share where the card is the notebook's alone."""
    here = [use for use in look.processes if use.card == card]
    own = next((use for use in look.cards if use.card == card), None)
    mine = [use for use in here if pids and use.pid in pids]
    for use in mine:
        if use.share is not None and use.share > GPU_SHARE:
            notes.show(Signal.GPU, 1.0 + use.share, f"pid {use.pid} {use.name} used {_percent(use.share)} of {card[:8]}".replace("  ", " "))
    obscure = _obscure(card, look, here, mine, pids)
    if own is None and card not in look.silent and not here:
        notes.blank("gpu", f"{card[:8]} is not among the cards that the driver shows")
    elif obscure and exclusive and own and own.share is not None:
        if own.share > GPU_SHARE:
            notes.show(Signal.GPU, 1.0 + own.share, f"{card[:8]}, which is its alone, was used for {_percent(own.share)}")
    elif obscure:
        notes.blank("gpu", obscure)


def _obscure(card: str, look: GpuLook, here: list[GpuUse], mine: list[GpuUse], pids: frozenset[int] | None) -> str:
    """Why this notebook cannot be ruled out on the card by its processes; empty where it can."""
    if card in look.silent:
        return f"{card[:8]}: {look.silent[card]}"
    if any(use.share is None for use in mine):
        return f"{card[:8]} does not say how much each process uses it"
    if any(use.pid is None for use in here):
        return f"{card[:8]} does not say whose processes are on it"
    if pids is None and here:
        return "the notebook's processes are not known"
    return ""


def _percent(share: float) -> str:
    return f"{max(1, round(share * 100))} %"


def _memory_change(old: GpuLook, new: GpuLook, pids: frozenset[int], site: Site) -> int:
    """Of its own processes; of a card that does not tell its processes, where that is its alone."""
    first, second = ({(use.card, use.pid): use.memory_bytes or 0 for use in look.processes if use.pid in pids} for look in (old, new))
    change = sum(abs(second.get(key, 0) - first.get(key, 0)) for key in first.keys() | second.keys() if key[0] in site.cards)
    alone = [card for card in site.cards if site.exclusive and card in new.silent]
    before, after = ({use.card: use.used_bytes for use in look.cards if use.used_bytes is not None and use.card in alone} for look in (old, new))
    return change + sum(abs(after[card] - before[card]) for card in before.keys() & after.keys())


def _editor(notes: _Notes, old: EditorLook | None, new: EditorLook | None, site: Site) -> tuple[str, ...]:
    if new is None:
        if site.asks_editor:
            notes.blank("editor", "it cannot be asked about its kernels")
        return ()
    before = {kernel.id: kernel.last_activity for kernel in old.kernels} if old else {}
    for kernel in new.kernels:
        if kernel.busy:
            notes.show(Signal.KERNEL, 1.0, f"busy kernel {kernel.name}")
        elif old and kernel.last_activity != before.get(kernel.id):
            notes.show(Signal.KERNEL, MOVED, f"kernel {kernel.name} did something")
    typed = {terminal.name: terminal.last_activity for terminal in old.terminals} if old else {}
    for terminal in new.terminals:
        if old and terminal.last_activity != typed.get(terminal.name):
            notes.show(Signal.TERMINAL, MEANINGS[Signal.TERMINAL].weight, f"terminal {terminal.name} had input or output")
    if old and new.heartbeat is not None and new.heartbeat != old.heartbeat:
        notes.show(Signal.HEARTBEAT, MEANINGS[Signal.HEARTBEAT].weight, "the editor's heartbeat")
    return tuple(sorted(kernel.name for kernel in new.kernels if kernel.busy))


def _door(notes: _Notes, old: DoorLook | None, new: DoorLook | None) -> None:
    """A door that was started again counts from zero: all that it has counted is since."""
    if new is None:
        return notes.blank("door", "it does not tell who types")
    if new.tabs:
        notes.show(Signal.TAB, MEANINGS[Signal.TAB].weight, "an open tab")
    if old is None:
        return None
    same = old.door == new.door
    if new.typed > (old.typed if same else 0):
        notes.show(Signal.TYPING, 2.0, "somebody typed")
    if new.clicks > (old.clicks if same else 0):
        notes.show(Signal.CLICK, 2.0, "somebody opened a page of it")
    return None
