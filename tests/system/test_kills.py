"""kill -9 of core at any moment of a start or a stop: it comes back, looks, and brings to its end what was wanted. Once, and nothing is left over."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from .real_box import Person, RealBox, real_box, until

pytestmark = pytest.mark.real
SEED = 20261120
NAMES = ("ann", "ben", "cas", "dan")
START_KILLS, STOP_KILLS = 5, 3
"""Each hits every notebook at a moment of its own: 20 random points of a start, 12 of a stop."""


def settled(box: RealBox) -> None:
    """For each notebook one container, one conmon, one network, one lease, one folder; and no more."""
    views = box.ask("ls")
    expected = {
        "containers": sorted(view["container"] for view in views),
        "networks": sorted(f"nbd-{view['id']}" for view in views),
        "links": sorted(view["id"] for view in views),
        "folders": sorted(view["id"] for view in views),
        "leases": sorted(f"{view['lease']['cards'][0]} {view['id']}" for view in views),
    }
    found: dict[str, list[str]] = {}

    def there() -> bool:
        found.clear()
        found.update({kind: sorted(what) for kind, what in box.traces().items()})
        return {kind: found.get(kind) for kind in expected} == expected and conmons(box) == len(views) and set(found) == {*expected, "processes"}

    until(there, 10, lambda: f"wanted {expected}, found {found}\n{box.output[-6000:]}")


def conmons(box: RealBox) -> int:
    return sum(process.name() == "conmon" for process in box.processes())


def empty(box: RealBox) -> None:
    until(lambda: box.traces().keys() == {"processes"} and conmons(box) == 0, 10, lambda: f"{box.traces()}\n{box.output[-6000:]}")


def veths() -> set[str]:
    """Ends of container networks whose bridge is gone."""
    return {link.name for link in Path("/sys/class/net").glob("veth*") if not (link / "master").exists()}


def kill_amidst(box: RealBox, verb: Sequence[str], moments: Sequence[float]) -> None:
    """Say `verb` of each notebook so long before the kill. These moments are what this is about: nothing is waited for here but time."""
    core, end = box.program("core"), time.monotonic() + max(moments)
    reached = []
    for name, moment in sorted(zip(NAMES, moments, strict=True), key=lambda pair: -pair[1]):
        time.sleep(max(0.0, end - moment - time.monotonic()))
        box.ask(*verb, name, "--detach")
        reached.append((name, time.monotonic()))
    time.sleep(max(0.0, end - time.monotonic()))
    core.kill()
    killed = time.monotonic()
    print("killed", ", ".join(f"{killed - began:.3f} s after {verb[0]} {name}" for name, began in reached))


def again(box: RealBox) -> None:
    """A fresh `nbd dev`: it waits longer each time before it starts again a program that keeps dying."""
    box.down()
    box.up()


def start_all(box: RealBox) -> None:
    for name in NAMES:
        box.ask("start", name, "--profile", "gpu-1", "--detach")
    for name in NAMES:
        box.reaches(name, "RUNNING")


def stop_all(box: RealBox) -> None:
    for name in NAMES:
        box.ask("stop", name, "--detach")
    for name in NAMES:
        box.reaches(name, "STOPPED")


def test_kill_9_anywhere_in_a_start(short_path: Path, ada: Person) -> None:
    draw = random.Random(SEED)
    with real_box(short_path, who=ada, gpus=len(NAMES)) as box:
        start_all(box)
        whole = max(sum(view["phases"].values()) for view in box.ask("ls"))
        loose = veths()
        print(f"seed {SEED}: a start takes up to {whole:.3f} s")
        for _ in range(START_KILLS):
            stop_all(box)
            empty(box)
            before = {name: box.show(name)["run"] for name in NAMES}
            kill_amidst(box, ["start"], [draw.uniform(0, whole) for _ in NAMES])
            after = [box.reaches(name, "RUNNING") for name in NAMES]
            assert all(view["run"] in (before[view["name"]] + 1, before[view["name"]] + 2) for view in after)
            settled(box)
            again(box)
            assert [box.reaches(name, "RUNNING")["container"] for name in NAMES] == [view["container"] for view in after]
        assert veths() <= loose


def test_kill_9_anywhere_in_a_stop(short_path: Path, ada: Person) -> None:
    draw = random.Random(SEED)
    with real_box(short_path, who=ada, gpus=len(NAMES)) as box:
        start_all(box)
        began = time.monotonic()
        box.ask("stop", NAMES[0])
        whole = time.monotonic() - began
        print(f"seed {SEED}: a stop takes {whole:.3f} s")
        for _ in range(STOP_KILLS):
            start_all(box)
            kill_amidst(box, ["stop"], [draw.uniform(0, whole) for _ in NAMES])
            assert [box.reaches(name, "STOPPED")["stop_reason"] for name in NAMES] == ["user"] * len(NAMES)
            empty(box)
            again(box)
