"""From two looks to evidence: each source, what it shows, and when it cannot say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nbd.idle.evidence import MEANINGS, WEAK, WEAK_MOST, sample
from nbd.idle.model import (
    CardUse,
    Counters,
    DoorLook,
    EditorLook,
    GpuLook,
    GpuUse,
    KernelLook,
    Look,
    ProbeLook,
    Signal,
    Site,
    TerminalLook,
    Unknown,
)

CARD, OTHER = "GPU-1a2b-33", "GPU-ffff-44"
SITE = Site()
ON_CARD = Site(cards=(CARD,))
SHARED = replace(ON_CARD, exclusive=False)
PIDS = frozenset({4711})
ZERO = Counters(0.0, 0.0, 0, 0, 0, PIDS)
NOW = Look(20.0, "c1", ZERO, GpuLook((CardUse(CARD, 0.0),)), EditorLook(), DoorLook("d1"))
BEFORE = replace(NOW, at=10.0)
MINE = GpuUse(CARD, 4711, 0.63, 0, "python")


def signals(before: Look | None, after: Look, site: Site = SITE) -> dict[Signal, float]:
    return {item.signal: item.weight for item in sample(before, after, site).evidence}


def unknown(before: Look | None, after: Look, site: Site = SITE) -> list[str]:
    return [item.source for item in sample(before, after, site).unknown]


def counted(**changes: object) -> Look:
    return replace(NOW, counters=replace(ZERO, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, {}),
        ({"cpu_seconds": 0.15}, {}),
        ({"cpu_seconds": 5.0}, {Signal.CPU: 1.5}),
        ({"cpu_seconds": 80.0}, {Signal.CPU: 2.0}),
        # The editor's own process is none of it; where it cannot be told, all is.
        ({"cpu_seconds": 5.0, "editor_cpu_seconds": 4.9}, {}),
        ({"cpu_seconds": 5.0, "editor_cpu_seconds": None}, {Signal.CPU: 1.5}),
        ({"disk_bytes": 100_000}, {}),
        ({"disk_bytes": 10 * (16 << 10)}, {Signal.DISK: 0.4}),
        ({"disk_bytes": 10 * (1 << 20)}, {Signal.DISK: 1.0}),
        ({"disk_bytes": 10 * (900 << 20)}, {Signal.DISK: 1.0}),
        ({"network_bytes": 10 * (4 << 10)}, {Signal.NETWORK: 0.4}),
        ({"network_bytes": 10 * (32 << 10)}, {Signal.NETWORK: 0.7}),
        ({"network_bytes": 10 * (256 << 10)}, {Signal.NETWORK: 1.0}),
        ({"memory_bytes": 1 << 40}, {}),
    ],
)
def test_counters(changes: dict[str, object], weights: dict[Signal, float]) -> None:
    assert signals(BEFORE, counted(**changes)) == pytest.approx(weights)
    assert unknown(BEFORE, counted(**changes)) == []


def test_each_kernel_at_rest_takes_a_little() -> None:
    kernels = tuple(KernelLook(str(number), "x", busy=False, last_activity=0) for number in range(5))
    used = replace(counted(cpu_seconds=0.5), editor=EditorLook(kernels))
    assert Signal.CPU in signals(BEFORE, counted(cpu_seconds=0.5))
    assert signals(replace(BEFORE, editor=EditorLook(kernels)), used) == {}


def test_what_is_counted_in_hundredths_is_no_work_in_a_short_time() -> None:
    assert signals(replace(NOW, at=19.9), counted(cpu_seconds=0.02)) == {}


@pytest.mark.parametrize(
    ("before", "after", "source"),
    [
        (None, NOW, ["cgroup"]),
        (replace(BEFORE, run="c0"), NOW, ["cgroup"]),
        (replace(BEFORE, state="PARKED"), NOW, ["cgroup"]),
        (replace(BEFORE, counters=None), NOW, ["cgroup"]),
        (BEFORE, replace(NOW, counters=None), ["cgroup"]),
        (BEFORE, counted(cpu_seconds=None), ["cgroup"]),
        (BEFORE, counted(disk_bytes=None), ["cgroup"]),
        (BEFORE, counted(network_bytes=None), ["cgroup"]),
        # Backwards is another counter, not less work.
        (replace(BEFORE, counters=replace(ZERO, cpu_seconds=9.0)), NOW, ["cgroup"]),
        (BEFORE, replace(NOW, editor=None), ["editor"]),
        (BEFORE, replace(NOW, door=None), ["door"]),
        (BEFORE, replace(NOW, editor=None, unknown=(Unknown("editor", "504"),)), ["editor"]),
        (BEFORE, counted(pids=None), []),
    ],
)
def test_what_cannot_be_known_is_said(before: Look | None, after: Look, source: list[str]) -> None:
    assert unknown(before, after) == source
    assert signals(before, after) == {}


def test_nothing_of_another_container_counts() -> None:
    old = replace(BEFORE, run="c0", door=DoorLook("d1"), editor=EditorLook((), (TerminalLook("1", 1.0),), 1.0))
    new = replace(counted(cpu_seconds=9.0), door=DoorLook("d1", typed=9), editor=EditorLook((), (TerminalLook("1", 2.0),), 2.0))
    assert signals(old, new) == {}


def gpu(*uses: GpuUse, share: float | None = 0.99, silent: str = "") -> Look:
    return replace(NOW, gpu=GpuLook((CardUse(CARD, share), CardUse(OTHER, 0.5)), uses, {CARD: silent} if silent else {}))


@pytest.mark.parametrize(
    ("look", "site", "weights", "source"),
    [
        (gpu(MINE), ON_CARD, {Signal.GPU: 1.75}, []),
        (gpu(MINE), SHARED, {Signal.GPU: 1.75}, []),
        (gpu(MINE), SITE, {}, []),
        (gpu(replace(MINE, share=0.011)), ON_CARD, {Signal.GPU: 1.0}, []),
        (gpu(replace(MINE, share=0.01)), ON_CARD, {}, []),
        # A neighbour proves nothing, and a card that tells its processes and shows none of mine is known.
        (gpu(replace(MINE, pid=99)), SHARED, {}, []),
        (gpu(replace(MINE, pid=99)), ON_CARD, {}, []),
        (gpu(), SHARED, {}, []),
        (gpu(replace(MINE, card=OTHER)), ON_CARD, {}, []),
        # What the card does not tell by process it tells as a whole, where it is one notebook's.
        (gpu(replace(MINE, share=None)), ON_CARD, {Signal.GPU: 2.0}, []),
        (gpu(replace(MINE, share=None), share=0.0), ON_CARD, {}, []),
        (gpu(replace(MINE, share=None)), SHARED, {}, ["gpu"]),
        (gpu(replace(MINE, share=None), share=None), ON_CARD, {}, ["gpu"]),
        (gpu(silent="it is too old"), ON_CARD, {Signal.GPU: 2.0}, []),
        (gpu(silent="it is too old"), SHARED, {}, ["gpu"]),
        (gpu(share=None, silent="it is too old"), ON_CARD, {}, ["gpu"]),
        (gpu(replace(MINE, pid=None)), SHARED, {}, ["gpu"]),
        (gpu(replace(MINE, pid=None)), ON_CARD, {Signal.GPU: 2.0}, []),
        # MIG without a process of the notebook on it.
        (gpu(share=None), ON_CARD, {}, []),
        (gpu(replace(MINE, pid=99, share=None), share=None), SHARED, {}, []),
        (replace(NOW, gpu=None), ON_CARD, {}, ["gpu"]),
        (replace(NOW, gpu=GpuLook()), ON_CARD, {}, ["gpu"]),
        (replace(gpu(MINE), counters=replace(ZERO, pids=None)), SHARED, {}, ["gpu"]),
        (replace(gpu(MINE), counters=replace(ZERO, pids=None)), ON_CARD, {Signal.GPU: 2.0}, []),
        (replace(gpu(), counters=replace(ZERO, pids=None)), SHARED, {}, []),
    ],
)
def test_cards(look: Look, site: Site, weights: dict[Signal, float], source: list[str]) -> None:
    assert signals(BEFORE, look, site) == weights
    assert unknown(BEFORE, look, site) == source


def test_a_process_that_has_ended_since_worked() -> None:
    assert signals(BEFORE, replace(gpu(MINE), counters=replace(ZERO, pids=frozenset())), ON_CARD) == {Signal.GPU: 1.75}


@pytest.mark.parametrize(
    ("old", "new", "weights"),
    [
        (replace(MINE, share=0.0, memory_bytes=1 << 33), replace(MINE, share=0.0, memory_bytes=1 << 33), {}),
        (replace(MINE, share=0.0, memory_bytes=0), replace(MINE, share=0.0, memory_bytes=1 << 20), {Signal.VRAM: 0.6}),
        (replace(MINE, share=0.0, memory_bytes=1 << 21), replace(MINE, share=0.0, memory_bytes=0), {Signal.VRAM: 0.6}),
        (replace(MINE, pid=99, memory_bytes=0), replace(MINE, pid=99, memory_bytes=1 << 30), {}),
    ],
)
def test_memory_that_changes_is_work_and_memory_that_is_held_is_not(old: GpuUse, new: GpuUse, weights: dict[Signal, float]) -> None:
    assert signals(replace(gpu(old), at=10.0), gpu(new), SHARED) == weights


def test_the_memory_of_a_silent_card_is_its_only_user_s() -> None:
    before, after = (
        replace(NOW, at=at, gpu=GpuLook((CardUse(CARD, 0.0, used),), (), {CARD: "old"})) for at, used in ((10.0, 0), (20.0, 1 << 30))
    )  # fmt: skip
    assert signals(before, after, ON_CARD) == {Signal.VRAM: 0.6}
    assert signals(before, after, SHARED) == {}


KERNEL = KernelLook("k", "train.ipynb", busy=False, last_activity=5.0)


@pytest.mark.parametrize(
    ("old", "new", "weights", "busy"),
    [
        (EditorLook((KERNEL,)), EditorLook((KERNEL,)), {}, ()),
        (EditorLook((KERNEL,)), EditorLook((replace(KERNEL, busy=True),)), {Signal.KERNEL: 1.0}, ("train.ipynb",)),
        (EditorLook((KERNEL,)), EditorLook((replace(KERNEL, last_activity=6.0),)), {Signal.KERNEL: 0.3}, ()),
        (EditorLook(), EditorLook((KERNEL,)), {Signal.KERNEL: 0.3}, ()),
        (EditorLook((KERNEL,)), EditorLook(), {}, ()),
        (None, EditorLook((KERNEL,)), {}, ()),
        (EditorLook((), (TerminalLook("1", 1.0),)), EditorLook((), (TerminalLook("1", 1.0),)), {}, ()),
        (EditorLook((), (TerminalLook("1", 1.0),)), EditorLook((), (TerminalLook("1", 2.0),)), {Signal.TERMINAL: 0.5}, ()),
        (EditorLook(heartbeat=1.0), EditorLook(heartbeat=2.0), {Signal.HEARTBEAT: 0.1}, ()),
        (EditorLook(heartbeat=1.0), EditorLook(heartbeat=1.0), {}, ()),
    ],
)
def test_the_editor(old: EditorLook | None, new: EditorLook, weights: dict[Signal, float], busy: tuple[str, ...]) -> None:
    assert signals(replace(BEFORE, editor=old), replace(NOW, editor=new)) == weights
    assert sample(replace(BEFORE, editor=old), replace(NOW, editor=new), SITE).busy == busy


@pytest.mark.parametrize(
    ("old", "new", "weights"),
    [
        (DoorLook("d", typed=3), DoorLook("d", typed=3), {}),
        (DoorLook("d", typed=3), DoorLook("d", typed=4), {Signal.TYPING: 2.0}),
        (DoorLook("d", typed=3), DoorLook("e", typed=1), {Signal.TYPING: 2.0}),
        (DoorLook("d", typed=3), DoorLook("e", typed=0), {}),
        (None, DoorLook("d", typed=3), {}),
        (DoorLook("d"), DoorLook("d", clicks=1), {Signal.CLICK: 2.0}),
        (DoorLook("d"), DoorLook("d", tabs=4), {Signal.TAB: 0.1}),
        (DoorLook("d"), DoorLook("d", relayed_bytes=1 << 30), {}),
    ],
)
def test_the_door(old: DoorLook | None, new: DoorLook, weights: dict[Signal, float]) -> None:
    assert signals(replace(BEFORE, door=old), replace(NOW, door=new)) == weights


@pytest.mark.parametrize(("over_network", "weights"), [(True, {}), (False, {Signal.NETWORK: 1.0})])
def test_what_the_door_relayed_is_no_download(over_network: bool, weights: dict[Signal, float]) -> None:  # noqa: FBT001
    site = replace(SITE, over_network=over_network)
    after = replace(counted(network_bytes=500 << 20), door=DoorLook("d2", relayed_bytes=500 << 20))
    assert signals(BEFORE, after, site) == weights


def test_probe_and_keep() -> None:
    assert signals(BEFORE, replace(NOW, probe=ProbeLook(active=True, text="3 jobs")), replace(SITE, probes=True)) == {Signal.PROBE: 1.0}
    assert signals(BEFORE, replace(NOW, probe=ProbeLook(active=False)), replace(SITE, probes=True)) == {}
    assert unknown(BEFORE, NOW, replace(SITE, probes=True)) == ["probe"]
    assert signals(BEFORE, replace(NOW, kept_until=20.1)) == {Signal.KEEP: 2.0}
    assert signals(BEFORE, replace(NOW, kept_until=20.0)) == {}
    assert unknown(BEFORE, replace(NOW, editor=None), replace(SITE, asks_editor=False)) == []


def test_the_words_of_it() -> None:
    (found,) = sample(BEFORE, gpu(MINE), ON_CARD).evidence
    assert found.text == "pid 4711 python used 63 % of GPU-1a2b"
    assert sample(BEFORE, replace(NOW, counters=None), SITE).unknown == (Unknown("cgroup", "its counters cannot be read"),)
    assert sample(BEFORE, counted(cpu_seconds=5.0), SITE).evidence[0].text == "its processes used 50 % of a core"


def test_the_table_in_the_docs_is_this_one() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/idle.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows[: len(MEANINGS)] == [
        f"| `{signal}` | {meaning.weight:g} | {meaning.half_life:g} s | {meaning.source} |" for signal, meaning in MEANINGS.items()
    ]
    assert sum(MEANINGS[signal].weight for signal in WEAK) >= WEAK_MOST
    assert f"no more than {WEAK_MOST:g} together" in page
