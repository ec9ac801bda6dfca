"""A notebook in which programs of nbd's have run a moment ago is frozen and thawed like any other, and they run in it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nbd.errors import Deadline
from nbd.host.crier import PodmanCrier
from nbd.host.execs import PodmanExecs
from nbd.host.probes import PodmanProbes
from nbd.idle.model import ProbeLook

from .freeze_box import Lab, lab, opened

pytestmark = pytest.mark.real


@pytest.fixture
async def notebook(short_path: Path) -> AsyncIterator[Lab]:
    async with opened(short_path) as box, lab(box, "nprobedxyz") as made:
        await made.work()
        yield made


def program(notebook: Lab, name: str, text: str) -> str:
    file = notebook.box.folder / notebook.notebook / "home" / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


async def test_probed_and_warned_and_then_frozen(notebook: Lab) -> None:
    execs = PodmanExecs(notebook.box.podman, str(notebook.box.socket), notebook.box.processes)
    probe = program(notebook, "probe", 'echo \'{"active": true, "text": "step 1"}\'')
    hangs = program(notebook, "hangs", "sleep 1000")
    for _ in range(2):
        assert await PodmanProbes(execs).ask(notebook.container, probe) == ProbeLook(active=True, text="step 1")
        with pytest.raises(Deadline):
            await PodmanProbes(execs, 0.5).ask(notebook.container, hangs)
        await PodmanCrier(execs, notebook.box.processes).call(notebook.container, "main is frozen at 14:32")
        counted = await notebook.counted()
        await notebook.freeze()
        await notebook.thaw()
        await notebook.is_as_before(counted)
        await notebook.box.freezer.forget(notebook.notebook)
