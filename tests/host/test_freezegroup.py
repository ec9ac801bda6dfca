"""What a container has in memory, and what a killed CRIU left stopped: cgroups v1 and v2, in folders of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbd.host.freezegroup import FreezeGroup

CONTAINER = "c" * 64
V1 = f"9:freezer:/libpod_parent/libpod-{CONTAINER}\n5:memory:/libpod_parent/libpod-{CONTAINER}\n0::/\n"
V2 = f"0::/machine.slice/libpod-{CONTAINER}.scope/container\n"
STAT_V1 = "cache 900000\nrss 1\nshmem 2\ntotal_cache 900000\ntotal_rss 5000\ntotal_rss_huge 7\ntotal_shmem 300\ntotal_swap 20\ntotal_mapped_file 77\n"
STAT_V2 = "anon 5000\nfile 900000\nkernel 30\nshmem 300\nanon_thp 4\nfile_mapped 77\n"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "proc/7").mkdir(parents=True)
    return tmp_path


def group_of(box: Path, version: str) -> FreezeGroup:
    (box / "proc/7/cgroup").write_text(V1 if version == "v1" else V2)
    for folder in places(box, version):
        folder.mkdir(parents=True)
    return FreezeGroup(box / "proc", box / "cgroup")


def places(box: Path, version: str) -> tuple[Path, Path]:
    """Of the freezer and of memory."""
    if version == "v1":
        return box / f"cgroup/freezer/libpod_parent/libpod-{CONTAINER}", box / f"cgroup/memory/libpod_parent/libpod-{CONTAINER}"
    scope = box / f"cgroup/machine.slice/libpod-{CONTAINER}.scope"
    return scope / "container", scope / "other"


def test_memory_is_what_an_image_has(box: Path) -> None:
    group = group_of(box, "v1")
    (places(box, "v1")[1] / "memory.stat").write_text(STAT_V1)
    assert group.memory(7, CONTAINER) == 5320


def test_memory_in_v2_is_the_whole_containers(box: Path) -> None:
    group = group_of(box, "v2")
    scope = places(box, "v2")[0].parent
    (scope / "memory.stat").write_text(STAT_V2)
    (scope / "memory.swap.current").write_text("20\n")
    (scope / "container/memory.stat").write_text("anon 1\n")
    assert group.memory(7, CONTAINER) == 5320


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_was_left_stopped_runs_again(box: Path, version: str) -> None:
    group = group_of(box, version)
    name, stopped, runs = ("freezer.state", "FROZEN\n", "THAWED") if version == "v1" else ("cgroup.freeze", "1\n", "0")
    folder = places(box, version)[0]
    (folder / name).write_text(stopped)
    if version == "v2":
        (folder.parent / name).write_text(stopped)
    assert group.thaw(7, CONTAINER)
    assert (folder / name).read_text() == runs
    assert version == "v1" or (folder.parent / name).read_text() == runs
    assert not group.thaw(7, CONTAINER)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_group_above_the_container_is_not_touched(box: Path, version: str) -> None:
    group = group_of(box, version)
    name, stopped = ("freezer.state", "FROZEN") if version == "v1" else ("cgroup.freeze", "1")
    above = places(box, version)[0].parent if version == "v1" else places(box, version)[0].parent.parent
    (above / name).write_text(stopped)
    group.thaw(7, CONTAINER)
    assert (above / name).read_text() == stopped


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_groups_that_a_killed_restore_left_go(box: Path, version: str) -> None:
    """A folder of the tests' own can be removed only when it is empty, as a cgroup when nobody is in it."""
    group = group_of(box, version)
    folder, other = places(box, version)
    (folder / "below/deeper").mkdir(parents=True)
    (other / "pids").write_text("somebody")
    neighbour = folder.parent / f"libpod-{'d' * 64}"
    neighbour.mkdir()
    group.clear(CONTAINER)
    assert not folder.exists()
    assert other.exists()
    assert neighbour.exists() == (version == "v1"), "below the container all goes, beside it nothing"


def test_who_is_gone_has_nothing(box: Path) -> None:
    group = FreezeGroup(box / "proc", box / "cgroup")
    assert group.memory(8, CONTAINER) == 0
    assert not group.thaw(8, CONTAINER)
