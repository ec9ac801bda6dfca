"""What `idle.ports.Gauges` promises, asked of the fake and of the kernel's files in each of their shapes."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Protocol

import pytest

from nbd.host.gauges import KernelGauges
from nbd.idle.model import Counters
from nbd.idle.ports import Gauges
from tests.fakes.idle_sources import FakeGauges
from tests.host.kernel_files import LAYOUTS, KernelFiles, subject

ONE, OTHER = "a" * 64, "b" * 64
FULL = Counters(12.5, 0.25, 7000, 300, 9 << 20, frozenset({7, 8}))
MAIN, SECOND = subject("nmain", ONE), subject("nsecond", OTHER, pid=17)


class World(Protocol):
    @property
    def gauges(self) -> Gauges: ...

    def put(self, notebook: str, counters: Counters) -> None: ...

    def take(self, notebook: str) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.gauges = FakeGauges()

    def put(self, notebook: str, counters: Counters) -> None:
        self.gauges.shown[notebook] = counters

    def take(self, notebook: str) -> None:
        del self.gauges.shown[notebook]


class FileWorld:
    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self.gauges = KernelGauges(files.proc, files.groups)

    def put(self, notebook: str, counters: Counters) -> None:
        one = MAIN if notebook == MAIN.notebook else SECOND
        self._files.put(one.container, counters, one.pid)

    def take(self, notebook: str) -> None:
        one = MAIN if notebook == MAIN.notebook else SECOND
        self._files.take(one.container, one.pid)


@pytest.fixture(params=["fake", *LAYOUTS])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "fake":
        return FakeWorld()
    (tmp_path / "cgroup").mkdir()
    if LAYOUTS[request.param].controllers:
        (tmp_path / "cgroup/unified").mkdir()
    return FileWorld(KernelFiles(tmp_path, LAYOUTS[request.param]))


async def test_all_that_is_counted(world: World) -> None:
    world.put("nmain", FULL)
    world.put("nsecond", replace(FULL, cpu_seconds=99.0, pids=frozenset({17, 18, 4711})))
    found = await world.gauges.counters([MAIN, SECOND])
    assert found["nmain"] == FULL
    assert found["nsecond"] == replace(FULL, cpu_seconds=99.0, pids=frozenset({17, 18, 4711}))


async def test_a_change_is_seen_at_the_next_call(world: World) -> None:
    world.put("nmain", FULL)
    await world.gauges.counters([MAIN])
    after = replace(FULL, cpu_seconds=13.0, network_bytes=5000, disk_bytes=7001)
    world.put("nmain", after)
    assert (await world.gauges.counters([MAIN]))["nmain"] == after


async def test_one_that_is_gone_is_missing(world: World) -> None:
    world.put("nmain", FULL)
    world.put("nsecond", FULL)
    world.take("nmain")
    assert set(await world.gauges.counters([MAIN, SECOND])) == {"nsecond"}
    assert await world.gauges.counters([]) == {}


ALONE = [field.name for field in fields(Counters) if field.name != "pids"]


@pytest.mark.parametrize("name", ALONE)
async def test_each_value_is_unknown_on_its_own(world: World, name: str) -> None:
    lacks = Counters(**{field.name: None if field.name == name else getattr(FULL, field.name) for field in fields(Counters)})
    world.put("nmain", lacks)
    found = (await world.gauges.counters([MAIN]))["nmain"]
    assert found == lacks
