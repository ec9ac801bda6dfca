"""NvmlCards on bad days: every NVML error, hangs in every function, a helper that dies, a library that is not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from nbd.errors import Deadline, HostUnfit, NbdError, Unreachable
from nbd.gpus.model import GIB, MIB, Card
from nbd.gpus.ports import CardProcess
from nbd.host.nvml import PACKAGE_PARENT, Deadlines, NvmlCards
from nbd.host.simulated.simulate import LIBRARY, SimulatedCard, SimulatedInstance, compile_library, default_cards, put_processes

from .simulated_box import QUICK, SimulatedBox, simulated_box

ESSENTIAL = ("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID")
"""Without an answer to these a card is no use."""
VITAL = ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetName", "nvmlDeviceGetPciInfo_v3")
"""These may be unknown; a fault in them is the card's."""
READING = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage")
TOPOLOGY = (
    "nvmlDeviceGetMemoryAffinity",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)
OF_A_CUT_CARD = (
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetAttributes_v2",
    "nvmlDeviceGetNvLinkRemotePciInfo_v2",
)
OF_A_CARD = (*ESSENTIAL, *VITAL, *READING, *TOPOLOGY)
DRIVER_WIDE = {1, 9, 12, 18}
UNTOLD = {2, 3, 4, 6, 7, 13, 21, 25, 26}
CODES = {*range(1, 31), 999, 12345}
ONE, OTHER = default_cards(2)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "simulated-gpus"  # one for all tests, so that the library is compiled once


@pytest.fixture
async def box(folder: Path) -> AsyncIterator[SimulatedBox]:
    async with simulated_box(folder) as made:
        made.put(ONE, OTHER)
        yield made


async def recovered(box: SimulatedBox) -> None:
    """Both cards are well again, as soon as the back-off allows."""
    box.put(ONE, OTHER)
    async with asyncio.timeout(10):
        while [(card.uuid, card.quarantine) for card in await shown(box)] != [(ONE.uuid, None), (OTHER.uuid, None)]:
            await asyncio.sleep(0.005)


async def shown(box: SimulatedBox) -> Sequence[Card]:
    try:
        return await box.door.cards()
    except Unreachable:
        return ()


def helpers() -> list[psutil.Process]:
    """The driver's helper processes of these tests; the suite has other children too (Podman's service)."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            found += [child] if any("nvml_helper" in word for word in child.cmdline()) else []
    return found


@pytest.mark.parametrize("function", [*OF_A_CARD, *OF_A_CUT_CARD])
async def test_an_error_of_one_card_concerns_no_other(box: SimulatedBox, function: str) -> None:
    cut = replace(ONE, mig=True, instances=(SimulatedInstance("MIG-1", 1, GIB),), links=("00000000:C0:00.0",))
    first = cut if function in OF_A_CUT_CARD else ONE
    box.put(first, OTHER)
    await box.door.cards()
    for code in CODES - DRIVER_WIDE:
        box.put(replace(first, faults=(f"error {function} {code}",)), OTHER)
        bad, *_, good = await box.door.cards()
        assert (bad.uuid, good.uuid, good.quarantine) == (ONE.uuid, OTHER.uuid, None), code
        if function in ESSENTIAL or (function in VITAL and code not in UNTOLD):
            assert bad.quarantine, code
        processes = await box.door.processes()
        assert OTHER.uuid not in {process.card for process in processes}, code
        assert {reading.card for reading in await box.door.readings()} >= {OTHER.uuid}, code
    await recovered(box)


@pytest.mark.parametrize(
    ("function", "codes"), [("nvmlInitWithFlags", CODES), ("nvmlDeviceGetCount_v2", {*DRIVER_WIDE, 15, 999}), ("nvmlDeviceGetUUID", CODES)]
)
async def test_an_error_of_the_driver_is_absence_or_unreachable_and_passes(folder: Path, function: str, codes: set[int]) -> None:
    async with simulated_box(folder, replace(QUICK, backoff=0)) as box:
        box.put(ONE, OTHER)
        for code in codes:
            box.trouble(f"error {function} {code}")
            (answer,) = await asyncio.gather(box.door.cards(), return_exceptions=True)
            if isinstance(answer, BaseException):
                assert isinstance(answer, Unreachable), code
                assert answer.hint, code
            else:
                assert all(card.quarantine for card in answer), code
                assert answer or code in (9, 12), code
        await recovered(box)


@pytest.mark.parametrize("function", ["nvmlDeviceGetCount_v2", *OF_A_CARD])
async def test_a_hang_in_any_function_is_a_deadline_and_then_over(folder: Path, function: str) -> None:
    async with simulated_box(folder, replace(QUICK, call=0.05)) as box:
        box.put(ONE, OTHER, faults=[f"hang {function}"])
        with pytest.raises(Deadline):
            await asyncio.gather(box.door.cards(), box.door.processes(), box.door.readings())
        await recovered(box)


async def test_a_driver_that_hangs_while_it_is_opened(folder: Path) -> None:
    async with simulated_box(folder, replace(QUICK, open=0.3)) as box:
        box.trouble("hang nvmlInitWithFlags")
        with pytest.raises(Deadline):
            await box.door.cards()
        assert (await box.door.driver()).version is None
        await recovered(box)


async def test_an_upgraded_driver_says_so(box: SimulatedBox) -> None:
    box.trouble("error nvmlInitWithFlags 18")
    with pytest.raises(Unreachable, match="upgraded"):
        await box.door.cards()
    await recovered(box)


async def test_without_the_library_there_are_no_cards_and_a_reason(tmp_path: Path) -> None:
    (tmp_path / LIBRARY).write_text("not a library")  # found before one that the machine may have
    door = NvmlCards(library_folder=tmp_path)
    assert tuple(await door.cards()) == ()
    assert tuple(await door.processes()) == ()
    assert await door.driver() == await door.driver()
    assert "libnvidia-ml.so.1" in (await door.driver()).reason
    await door.close()


async def test_a_driver_that_goes_away_frees_no_card(box: SimulatedBox) -> None:
    assert len(await box.door.cards()) == 2
    box.unload()
    assert tuple(await box.door.cards()) == ()
    with pytest.raises(Unreachable):
        await box.door.processes()
    await recovered(box)
    assert tuple(await box.door.processes()) == ()


async def test_a_card_that_was_never_seen_well_has_a_name_still(box: SimulatedBox) -> None:
    box.put(replace(ONE, faults=("error * 15",)), OTHER)
    lost, well = await box.door.cards()
    assert (lost.uuid, lost.memory_known, well.uuid) == ("GPU-at-index-0", False, OTHER.uuid)
    assert lost.quarantine == "the driver says: GPU is lost (nvmlDeviceGetHandleByIndex, NVML error 15)"


async def test_cards_that_change_places_keep_their_identity(box: SimulatedBox) -> None:
    assert [card.uuid for card in await box.door.cards()] == [ONE.uuid, OTHER.uuid]
    box.put(OTHER, replace(ONE, faults=("error nvmlDeviceGetMemoryInfo 999",)))
    assert [(card.uuid, bool(card.quarantine)) for card in await box.door.cards()] == [(OTHER.uuid, False), (ONE.uuid, True)]


async def test_cards_on_one_switch_are_peers(box: SimulatedBox) -> None:
    switch = "00000000:C0:00.0"
    box.put(*(replace(card, links=(switch,)) for card in default_cards(3)), SimulatedCard("GPU-alone"))
    one, two, three, alone = await box.door.cards()
    assert set(two.nvlink_peers) == {one.uuid, three.uuid}
    assert alone.nvlink_peers == ()


async def test_a_card_in_mig_mode_without_instances_is_out_of_service(box: SimulatedBox) -> None:
    box.put(replace(ONE, mig=True), replace(OTHER, mig=False))
    cut, whole = await box.door.cards()
    assert "not cut into instances" in (cut.quarantine or "")
    assert whole.quarantine is None


async def test_what_an_instance_cannot_tell_is_unknown(box: SimulatedBox) -> None:
    instance = SimulatedInstance("MIG-1", 2, 19968 * MIB, {4711: GIB, 4712: None})
    box.put(SimulatedCard("GPU-x", "NVIDIA A100-SXM4-80GB", 81920 * MIB, mig=True, instances=(instance,), utilisation_percent=None))
    assert [card.mig_profile for card in await box.door.cards()] == [None, "2g.20gb"]
    reading = (await box.door.readings())[1]
    assert (reading.card, reading.used_bytes) == ("MIG-1", GIB)
    assert (reading.utilisation, reading.temperature_celsius, reading.power_watts) == (None, None, None)


async def test_graphics_and_mps_clients_are_processes_too_and_none_counts_twice(box: SimulatedBox) -> None:
    box.put(replace(ONE, processes={10: GIB, 11: None}, graphics={10: GIB, 12: MIB}, mps={13: MIB, 11: None}))
    expected = [(10, GIB), (11, None), (12, MIB), (13, MIB)]
    assert sorted((process.pid or 0, process.memory_bytes) for process in await box.door.processes()) == expected


async def test_a_demo_can_put_processes_on_a_card_and_on_an_instance(box: SimulatedBox) -> None:
    cut = SimulatedCard("GPU-x", mig=True, instances=(SimulatedInstance("MIG-1", 1, GIB, {1: 1}), SimulatedInstance("MIG-2", 1, GIB, {2: 2})))
    box.put(replace(ONE, processes={9: 9}), cut)
    put_processes(box.file, ONE.uuid, {4711: GIB, 4712: None})
    put_processes(box.file, "MIG-2", {4713: MIB})
    expected = {(ONE.uuid, 4711, GIB), (ONE.uuid, 4712, None), ("MIG-1", 1, 1), ("MIG-2", 4713, MIB)}
    assert {(process.card, process.pid, process.memory_bytes) for process in await box.door.processes()} == expected


async def test_the_back_off_fails_at_once_and_starts_nothing(folder: Path) -> None:
    async with simulated_box(folder, Deadlines(open=10, call=0.1, backoff=3600, longest_backoff=3600)) as box:
        await box.door.cards()
        box.silence()
        for _ in range(3):
            with pytest.raises(Deadline, match="did not answer"):
                await box.door.cards()
            assert helpers() == []


async def test_a_helper_that_dies_is_replaced(box: SimulatedBox) -> None:
    await box.door.cards()
    (helper,) = helpers()
    helper.kill()
    await recovered(box)
    assert helper.pid not in {process.pid for process in helpers()}


async def test_a_helper_that_dies_over_a_question_is_told(box: SimulatedBox) -> None:
    await box.door.cards()
    box.silence()
    asked = asyncio.ensure_future(box.door.cards())
    await asyncio.sleep(0)
    helpers()[0].kill()
    with pytest.raises(Unreachable):
        await asked
    await recovered(box)


async def test_a_cancelled_question_does_not_answer_the_next(box: SimulatedBox) -> None:
    await box.door.cards()
    box.silence()
    asked = asyncio.ensure_future(box.door.cards())
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait({asked})
    box.put(replace(ONE, processes={4711: GIB}))
    assert tuple(await box.door.processes()) == (CardProcess(ONE.uuid, 4711, GIB),)


async def test_closing_waits_for_no_driver_and_leaves_no_process(folder: Path) -> None:
    box = SimulatedBox(compile_library(folder), folder / "box", replace(QUICK, call=3600))
    box.put(ONE)
    await box.door.cards()
    box.silence()
    asked = asyncio.ensure_future(box.door.cards())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await box.door.close()
        with pytest.raises(Unreachable):
            await asked
    assert helpers() == []
    with pytest.raises(Unreachable) as caught:
        await box.door.cards()
    assert not caught.value.retryable
    await box.door.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from nbd.host.nvml import Deadlines, NvmlCards
door = NvmlCards(library_folder=Path(sys.argv[1]), simulated_box=Path(sys.argv[1]) / "box", deadlines=Deadlines(open=3600))
asyncio.run(door.cards())
"""


async def test_a_hanging_helper_dies_with_its_parent(box: SimulatedBox) -> None:
    box.trouble("hang nvmlInitWithFlags")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    command = (sys.executable, "-c", PARENT, str(box.file.parent))
    parent = await asyncio.create_subprocess_exec(*command, env=environment)
    async with asyncio.timeout(10):
        while not (children := psutil.Process(parent.pid).children()):
            await asyncio.sleep(0.005)
        while "LD_LIBRARY_PATH" not in children[0].environ() or not sleeps_in_the_driver(children[0]):
            await asyncio.sleep(0.005)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        while children[0].is_running() and children[0].status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.005)


def sleeps_in_the_driver(process: psutil.Process) -> bool:
    return any(LIBRARY in mapped.path for mapped in process.memory_maps())


async def test_without_a_compiler_simulated_gpus_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostUnfit) as caught:
        compile_library(tmp_path)
    assert caught.value.hint == "apt-get install gcc libc6-dev"


async def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho no stdio.h >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(NbdError, match=r"no stdio\.h"):
        compile_library(tmp_path)
