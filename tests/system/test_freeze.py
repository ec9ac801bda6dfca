"""Freeze and thaw for real: JupyterLab with a kernel, a loop in it and a terminal, over Podman and CRIU in the box. Nothing of it is lost, whatever
is killed, full or refused in between, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from nbd.errors import Conflict, HostUnfit, NbdError
from nbd.host.freezefolder import Begun
from nbd.host.podman import Call
from nbd.host.restorer import OPTIONS

from .freeze_box import FreezeBox, Lab, bridge, lab, opened, until

pytestmark = pytest.mark.real
CYCLES = 50 if os.environ.get("NBD_SOAK") else 5
MIB = 1 << 20
MEMORY_MIB = 300
SMALL_MIB = 24
MOMENTS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.15, 0.3)
"""Seconds from CRIU's first file to its end: in the third to sixth the cgroup was seen to be stopped."""


@pytest.fixture
async def box(short_path: Path) -> AsyncIterator[FreezeBox]:
    async with opened(short_path) as opened_box:
        yield opened_box


@pytest.fixture
async def notebook(box: FreezeBox) -> AsyncIterator[Lab]:
    async with lab(box) as made:
        await made.work()
        yield made


def nothing_is_left(one: Lab) -> None:
    """Of an attempt to freeze one that runs: no image, no link, no archive, no stopped cgroup."""
    assert one.box.frozen.all() == ()
    left = {path.name for path in one.box.bundle(one.container).iterdir()}
    assert not left & {"checkpoint", "devshm-checkpoint.tar", "network.status", "dump.log", "restore.log"}
    assert one.alive()


async def test_again_and_again(notebook: Lab) -> None:
    for _ in range(CYCLES):
        counted = await notebook.counted()
        await notebook.freeze()
        assert not notebook.alive()
        assert not Path(notebook.place.path).exists() or not await notebook.box.containers.process(notebook.container)
        await notebook.thaw()
        await notebook.is_as_before(counted)
        await notebook.box.freezer.forget(notebook.notebook)
        nothing_is_left(notebook)


async def test_the_box_is_switched_off_and_on(notebook: Lab) -> None:
    assert await notebook.run("open('/dev/shm/kept', 'w').write('shared'); open('/tmp/kept', 'w').write('temporary')") == ""
    counted = await notebook.counted()
    await notebook.freeze()
    await notebook.box.down()
    notebook.box.build()
    await notebook.box.up()
    image = await notebook.box.freezer.image(notebook.notebook)
    assert image
    assert image.whole
    await notebook.thaw()
    await notebook.is_as_before(counted)
    assert await notebook.run("print(open('/dev/shm/kept').read(), open('/tmp/kept').read())") == "shared temporary"


async def test_a_network_is_the_same_again(box: FreezeBox) -> None:
    """Its address, and a connection to itself by that; also after the box was off, when its network has to be made anew."""
    code = (
        "import socket; here = socket.create_server(('0.0.0.0', 0)); "
        "probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); probe.connect(('10.88.99.1', 9)); "
        "mine = probe.getsockname()[0]; probe.close(); a = socket.create_connection((mine, here.getsockname()[1])); b, _ = here.accept()"
    )
    async with bridge(box, "nbridge001") as network, lab(box, "nbridge001", network=network) as notebook:
        await notebook.work()
        assert await notebook.run(code) == ""
        counted = await notebook.counted()
        for off in (False, True):
            await notebook.freeze()
            if off:
                await box.down()
                await box.up()
            await notebook.thaw()
            await notebook.is_as_before(counted)
            assert await notebook.run("a.sendall(b'hello'); print(b.recv(5), a.getsockname()[0] == mine)") == "b'hello' True"
            await box.freezer.forget(notebook.notebook)


async def test_core_is_killed_when_criu_is_done(notebook: Lab) -> None:
    """Podman goes on without who asked it. Nothing was marked, and it is found to be whole."""
    box, counted = notebook.box, await notebook.counted()
    box.frozen.begin(notebook.notebook, Begun(notebook.container, box.bundle(notebook.container)))
    await box.podman.ask(Call("POST", f"/containers/{notebook.container}/checkpoint", OPTIONS))
    box.build()
    assert box.frozen.marked(notebook.notebook) is None
    image = await box.freezer.image(notebook.notebook)
    assert image
    assert image.whole
    assert box.frozen.marked(notebook.notebook) == image.bytes
    await notebook.thaw()
    await notebook.is_as_before(counted)


async def test_who_is_connected_keeps_it_running(notebook: Lab) -> None:
    counted = await notebook.counted()
    connector = aiohttp.UnixConnector(notebook.place.path)
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        async with session.ws_connect(f"/api/kernels/{notebook.kernel}/channels"):
            with pytest.raises(Conflict) as caught:
                await notebook.freeze()
            assert caught.value.code == "connected"
            assert caught.value.retryable
        nothing_is_left(notebook)
    await notebook.is_as_before(counted)


async def test_criu_refuses(notebook: Lab) -> None:
    """A large file that is open and deleted: CRIU saves only small ones by itself."""
    counted = await notebook.counted()
    await notebook.run("odd = open('odd', 'wb'); odd.write(bytes(3 << 20)); odd.flush(); import os; os.unlink('odd')")
    with pytest.raises(HostUnfit, match="it cannot be frozen: ") as caught:
        await notebook.freeze()
    assert caught.value.code == "ghost_file"
    nothing_is_left(notebook)
    await notebook.is_as_before(counted)
    await notebook.run("odd.close()")
    await notebook.freeze()
    await notebook.thaw()
    await notebook.is_as_before(counted)


@pytest.fixture
def small_disk(short_path: Path) -> Iterator[Path]:
    folder = short_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m,mode=700", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_the_disk_for_images_is_full(short_path: Path, small_disk: Path) -> None:
    async with opened(short_path, small_disk) as box, lab(box) as notebook:
        await notebook.work()
        counted = await notebook.counted()
        assert await box.freezer.estimate(notebook.container) > SMALL_MIB * MIB > await box.freezer.room() - MIB
        with pytest.raises(HostUnfit) as caught:
            await notebook.freeze()
        assert caught.value.code == "disk_full"
        nothing_is_left(notebook)
        assert list(small_disk.iterdir()) == []
        await notebook.is_as_before(counted)


async def large(notebook: Lab) -> int:
    """So much memory that there is time to kill something. How far it has counted."""
    await notebook.run(f"import os; much = os.urandom({MEMORY_MIB * MIB})")
    return await notebook.counted()


async def frozen_while(notebook: Lab, meddle: Callable[[], None]) -> NbdError | None:
    """Freeze, and meddle once CRIU is at work."""
    freezing = asyncio.create_task(notebook.freeze())
    await until(lambda: freezing.done() or notebook.box.frozen.users(notebook.notebook), "CRIU works")
    assert not freezing.done(), "too fast to be disturbed"
    meddle()
    try:
        await freezing
    except NbdError as error:
        return error
    return None


def kill_criu(notebook: Lab) -> None:
    for pid in notebook.box.frozen.users(notebook.notebook):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "criu" in psutil.Process(pid).name():
                psutil.Process(pid).kill()


async def test_criu_is_killed_at_any_moment(notebook: Lab) -> None:
    """Before it has stopped the processes, while it has, and when it writes their memory: they run on, or the work was done."""
    counted = await notebook.counted()
    for moment in MOMENTS:
        freezing = asyncio.create_task(notebook.freeze())
        await until(lambda task=freezing: task.done() or notebook.box.frozen.users(notebook.notebook), "CRIU works")  # type: ignore[misc]
        await asyncio.sleep(moment)
        kill_criu(notebook)
        with contextlib.suppress(NbdError):
            await freezing
        if not notebook.alive():
            await notebook.thaw()
            await notebook.box.freezer.forget(notebook.notebook)
        nothing_is_left(notebook)
        await notebook.is_as_before(counted)


async def test_podman_is_killed_half_way(notebook: Lab) -> None:
    """What it had started goes on: the freeze is done, or it runs."""
    counted = await large(notebook)
    await frozen_while(notebook, notebook.box.kill_podman)
    await until(notebook.box.answers, "Podman is there again")
    if notebook.alive():
        nothing_is_left(notebook)
    else:
        image = await notebook.box.freezer.image(notebook.notebook)
        assert image
        assert image.whole
        await notebook.thaw()
    await notebook.is_as_before(counted)


@pytest.mark.parametrize("who", ["criu", "podman"])
async def test_a_thaw_is_killed_half_way(notebook: Lab, who: str) -> None:
    counted = await large(notebook)
    await notebook.freeze()
    before = await notebook.box.freezer.image(notebook.notebook)
    thawing = asyncio.create_task(notebook.box.freezer.thaw(notebook.container, notebook.notebook))
    await until(lambda: thawing.done() or notebook.box.frozen.users(notebook.notebook), "CRIU works")
    assert not thawing.done(), "too fast to be disturbed"
    if who == "criu":
        kill_criu(notebook)
    else:
        notebook.box.kill_podman()
    with contextlib.suppress(NbdError):
        await thawing
    await until(notebook.box.answers, "Podman is there again")
    assert await notebook.box.freezer.image(notebook.notebook) == before
    await notebook.thaw()
    await notebook.is_as_before(counted)
