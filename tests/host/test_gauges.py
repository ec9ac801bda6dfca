"""The kernel's counters: what is hard to bring about in files of the tests' own, the rest in a real container."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nbd.errors import Deadline
from nbd.host import cgroups
from nbd.host.gauges import MOST_PROCESSES, KernelGauges, network_bytes
from nbd.idle.model import Counters
from tests.host.kernel_files import EDITOR, INIT, LAYOUTS, KernelFiles, subject

CONTAINER, OTHER = "c" * 64, "d" * 64
FULL = Counters(12.5, 0.25, 7000, 300, 9 << 20, frozenset({INIT, EDITOR}))
MAIN = subject("nmain", CONTAINER)


@pytest.fixture(params=list(LAYOUTS))
def files(request: pytest.FixtureRequest, tmp_path: Path) -> KernelFiles:
    (tmp_path / "cgroup").mkdir()
    if LAYOUTS[request.param].controllers:
        (tmp_path / "cgroup/unified").mkdir()
    made = KernelFiles(tmp_path, LAYOUTS[request.param])
    made.put(CONTAINER, FULL)
    return made


async def counted(files: KernelFiles) -> Counters:
    return (await KernelGauges(files.proc, files.groups).counters([MAIN]))["nmain"]


async def test_a_pid_that_is_another_containers_by_now_says_nothing(files: KernelFiles) -> None:
    files.process(INIT, OTHER, "catatonit", 1)
    assert await KernelGauges(files.proc, files.groups).counters([MAIN]) == {}
    files.process(INIT, f"conmon-{CONTAINER}", "conmon", 1)
    assert await KernelGauges(files.proc, files.groups).counters([MAIN]) == {}


async def test_without_a_container_nothing_is_counted(files: KernelFiles) -> None:
    """Else every container's group would be its."""
    assert await KernelGauges(files.proc, files.groups).counters([subject("nmain", "")]) == {}


async def test_processes_of_groups_below(files: KernelFiles) -> None:
    top = files.group("pids", CONTAINER)
    for number in range(3):
        folder = top / f"g{number}" / "deeper"
        folder.mkdir(parents=True)
        (folder.parent / "cgroup.procs").write_text("")
        (folder / "cgroup.procs").write_text(f"{900 + number}\n")
    (top / "g9").mkdir()  # it went, or holds threads: its file cannot be read
    assert (await counted(files)).pids == frozenset({INIT, EDITOR, 900, 901, 902})


async def test_groups_without_end_are_not_gathered(files: KernelFiles) -> None:
    for number in range(cgroups.MOST_GROUPS + 1):
        folder = files.group("pids", CONTAINER) / f"g{number}"
        folder.mkdir()
        (folder / "cgroup.procs").write_text("")
    found = await counted(files)
    assert found.pids is None
    assert found.cpu_seconds == FULL.cpu_seconds


async def test_the_editor_is_the_oldest_that_init_looks_after(files: KernelFiles) -> None:
    """The others were left running in a terminal that is gone: what they use is work."""
    left, child = 5, 6  # numbers begin anew, so a low one can be young
    for pid in (left, child):
        (files.proc / str(pid)).mkdir()
        files.disk(pid, 0, 0)
    files.process(left, CONTAINER, "python", INIT, cpu_seconds=500.0, start=90_000)
    files.process(child, CONTAINER, "python", EDITOR, cpu_seconds=700.0, start=95_000)
    files.group("pids", CONTAINER).joinpath(files.layout.below.lstrip("/"), "cgroup.procs").write_text(f"{left}\n{child}\n{INIT}\n{EDITOR}\n")
    assert (await counted(files)).editor_cpu_seconds == 0.25


async def test_the_editor_is_found_once(files: KernelFiles) -> None:
    gauges = KernelGauges(files.proc, files.groups)
    await gauges.counters([MAIN])
    older = EDITOR + 1
    files.process(older, CONTAINER, "python", INIT, cpu_seconds=9.0, start=1)
    files.group("pids", CONTAINER).joinpath(files.layout.below.lstrip("/"), "cgroup.procs").write_text(f"{INIT}\n{EDITOR}\n{older}\n")
    assert (await gauges.counters([MAIN]))["nmain"].editor_cpu_seconds == 0.25
    files.process(EDITOR, CONTAINER, "sh", INIT, cpu_seconds=77.0, start=123_456)
    assert (await gauges.counters([MAIN]))["nmain"].editor_cpu_seconds == 9.0, "its number is another's now"


async def test_without_init_the_first_process_is_the_editor(files: KernelFiles) -> None:
    files.process(INIT, CONTAINER, "jupyter-lab", 1, cpu_seconds=3.0)
    assert (await counted(files)).editor_cpu_seconds == 3.0


@pytest.mark.parametrize("name", ["a b", "a) S 1 2", "((", "catatonit) S 1", ""])
async def test_a_name_cannot_lie_about_its_numbers(files: KernelFiles, name: str) -> None:
    files.process(EDITOR, CONTAINER, name, INIT, cpu_seconds=2.5)
    assert (await counted(files)).editor_cpu_seconds == 2.5


async def test_where_processes_may_not_be_asked_the_block_layer_counts(files: KernelFiles) -> None:
    (files.proc / str(EDITOR) / "io").unlink()
    assert (await counted(files)).disk_bytes is None, "the kernel keeps no such account: that is not zero"
    files.block_layer(CONTAINER, 5000)
    assert (await counted(files)).disk_bytes == 5000


async def test_more_processes_than_can_be_asked_are_counted_by_the_block_layer(files: KernelFiles) -> None:
    """A look at one notebook costs no more than at some dozens of others."""
    many = frozenset(range(1000, 1000 + MOST_PROCESSES)) | {INIT, EDITOR}
    files.put(CONTAINER, replace(FULL, pids=many))
    files.block_layer(CONTAINER, 5000)
    found = await counted(files)
    assert found.pids == many
    assert found.disk_bytes == 5000


async def test_all_processes_together_read_and_write(files: KernelFiles) -> None:
    files.disk(EDITOR, 30, 4)
    assert (await counted(files)).disk_bytes == 7034


async def test_nonsense_is_unknown(files: KernelFiles) -> None:
    """Not the end of the look at all the others."""
    for file in ("cpuacct.usage", "cpu.stat", "memory.usage_in_bytes", "memory.current"):
        for path in files.groups.rglob(file):
            path.write_text("surprise\n")
    (files.proc / str(INIT) / "net/dev").write_text("a\nb\neth0: x y\n")
    found = await counted(files)
    assert found == replace(FULL, cpu_seconds=None, memory_bytes=None, network_bytes=None)


def test_the_loopback_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("a\nb\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n")
    assert network_bytes(str(tmp_path / "dev")) == 0
    (tmp_path / "dev").write_text("a\nb\n  eth0:7 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\nlong-name0:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n")
    assert network_bytes(str(tmp_path / "dev")) == 15


def test_a_file_without_end_is_not_read_to_it() -> None:
    with pytest.raises(ValueError, match="does not end"):
        cgroups.content("/dev/zero")


async def test_one_look_at_a_time(files: KernelFiles) -> None:
    """What hangs in the kernel holds one thread, not one more with each look."""
    gauges = KernelGauges(files.proc, files.groups)
    with gauges._turn, pytest.raises(Deadline):
        await gauges.counters([MAIN])
    assert (await gauges.counters([MAIN]))["nmain"] == FULL
