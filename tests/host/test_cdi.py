"""CDI specs as files: present, missing, stale, broken, outranked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nbd.gpus.ports import SpecProblem
from nbd.host.cdi import BY_UUID, GENERATE, CdiSpecs
from nbd.host.simulated.simulate import cdi_file, default_cards, write_cdi

UUIDS = [card.uuid for card in default_cards(2)]
NVIDIA = """\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
{devices}
containerEdits:
  mounts:
    - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.{driver}
      containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.{driver}
    - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.1
      containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.1
"""


def nvidia(driver: str, *names: str) -> str:
    devices = "\n".join(f"  - name: {name!r}\n    containerEdits: {{}}" for name in names)
    return NVIDIA.format(devices=devices, driver=driver)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return made(tmp_path / "etc")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made(tmp_path / "run")


@pytest.fixture
def specs(etc: Path, run: Path) -> CdiSpecs:
    return CdiSpecs((etc, run))


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def found(specs: CdiSpecs, driver: str | None = "550.90.07") -> SpecProblem:
    problem = await specs.problem(UUIDS, driver)
    assert problem is not None
    return problem


async def test_a_spec_that_lists_the_cards_is_fine(specs: CdiSpecs, etc: Path) -> None:
    (etc / "nvidia.yaml").write_text(nvidia("550.90.07", "all", *UUIDS))
    assert await specs.problem(UUIDS, "550.90.07") is None
    assert await specs.problem([], "550.90.07") is None


async def test_no_folder_at_all(tmp_path: Path) -> None:
    problem = await found(CdiSpecs((tmp_path / "nowhere",)))
    assert (problem.code, problem.hint) == ("cdi_missing", GENERATE)
    assert UUIDS[0] in problem.message
    assert str(tmp_path / "nowhere") in problem.message


async def test_one_card_is_not_listed(specs: CdiSpecs, etc: Path) -> None:
    (etc / "nvidia.yml").write_text(nvidia("550.90.07", UUIDS[0]))
    problem = await found(specs)
    assert problem.code == "cdi_missing"
    assert UUIDS[0] not in problem.message
    assert UUIDS[1] in problem.message


async def test_a_spec_that_lists_cards_by_index_needs_another_command(specs: CdiSpecs, etc: Path) -> None:
    (etc / "nvidia.yaml").write_text(nvidia("550.90.07", "0", "1", "all"))
    problem = await found(specs)
    assert (problem.code, problem.hint) == ("cdi_missing", BY_UUID)


async def test_a_spec_of_another_driver_is_stale(specs: CdiSpecs, etc: Path) -> None:
    (etc / "nvidia.yaml").write_text(nvidia("535.183.01", *UUIDS))
    problem = await found(specs)
    assert (problem.code, problem.hint) == ("cdi_stale", GENERATE)
    assert problem.message == f"the CDI spec {etc / 'nvidia.yaml'} is of driver 535.183.01, and 550.90.07 is running"
    assert await specs.problem(UUIDS, None) is None


async def test_a_spec_that_was_mended_is_read_again(specs: CdiSpecs, etc: Path) -> None:
    path = etc / "nvidia.yaml"
    path.write_text(nvidia("535.183.01", *UUIDS))
    await found(specs)
    path.write_text(nvidia("550.90.07", *UUIDS))
    os.utime(path, (1, 1))
    assert await specs.problem(UUIDS, "550.90.07") is None
    path.unlink()
    assert (await found(specs)).code == "cdi_missing"


async def test_a_fresh_spec_under_run_outranks_a_stale_one_under_etc(specs: CdiSpecs, etc: Path, run: Path) -> None:
    (etc / "nvidia.yaml").write_text(nvidia("535.183.01", *UUIDS))
    (run / "nvidia.yaml").write_text(nvidia("550.90.07", *UUIDS))
    assert await specs.problem(UUIDS, "550.90.07") is None


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("nvidia.yaml", nvidia("550.90.07", *UUIDS) + "  - : : [\n", "nvidia.yaml line 14: "),
        ("nvidia.json", '{"cdiVersion": "0.5.0",\n "kind": }', "nvidia.json line 2: "),
        ("nvidia.yaml", "just words", "nvidia.yaml line 1: not a CDI spec"),
        ("nvidia.json", "[1]", "nvidia.json line 1: not a CDI spec"),
        ("nvidia.yaml", "\x00", "nvidia.yaml: "),
    ],
)
async def test_a_broken_spec_names_file_and_line(specs: CdiSpecs, etc: Path, name: str, text: str, where: str) -> None:
    (etc / name).write_text(text)
    problem = await found(specs)
    assert problem.code == "cdi_broken"
    assert where in problem.message


async def test_a_broken_spec_of_somebody_else_is_no_matter(specs: CdiSpecs, etc: Path) -> None:
    (etc / "other.json").write_text("{")
    (etc / "nvidia.yaml").write_text(nvidia("550.90.07", *UUIDS))
    assert await specs.problem(UUIDS, "550.90.07") is None


@pytest.mark.parametrize(
    "text", ['{"kind": "nvidia.com/gpu"}', '{"kind": "nvidia.com/gpu", "devices": [1, {}]}', '{"kind": "amd.com/gpu", "devices": []}']
)
async def test_a_spec_without_the_cards_lists_none(specs: CdiSpecs, etc: Path, text: str) -> None:
    (etc / "x.json").write_text(text)
    assert (await found(specs)).code == "cdi_missing"


async def test_files_that_are_no_specs_are_not_read(specs: CdiSpecs, etc: Path) -> None:
    (etc / "nvidia.yaml.bak").write_text(nvidia("550.90.07", *UUIDS))
    assert (await found(specs)).code == "cdi_missing"


async def test_the_spec_of_simulated_cards_is_fine_and_harmless(specs: CdiSpecs, etc: Path) -> None:
    path = write_cdi(cdi_file(etc), default_cards(2))
    assert await specs.problem(UUIDS, "550.90.07") is None
    nodes = [node for device in json.loads(path.read_text())["devices"] for node in device["containerEdits"]["deviceNodes"]]
    assert {(node["hostPath"], node["major"], node["minor"]) for node in nodes} == {("/dev/null", 1, 3)}
    assert [node["path"] for node in nodes] == ["/dev/nvidia0", "/dev/nvidia1"]
