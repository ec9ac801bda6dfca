"""A person of the system tests' own, and images that are wrong in one way each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .real_box import Person, account, podman

EDITORS = {
    "ends": "#!/bin/sh\necho no licence for this box >&2\nexit 3\n",
    "silent": "#!/bin/sh\necho warming up\nexec sleep 1000\n",
    "without": None,
}
"""What each image has for `jupyter-lab`."""


@pytest.fixture
def ada() -> Iterator[Person]:
    with account("nbdtest-ada") as person:
        yield person


@pytest.fixture(scope="session")
def odd_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """By what is wrong with it: the image's reference."""
    made = {}
    for name, script in EDITORS.items():
        folder: Path = tmp_path_factory.mktemp(name)
        step = "COPY --chmod=755 jupyter-lab /usr/local/bin/jupyter-lab" if script else f"LABEL odd={name}"
        (folder / "Containerfile").write_text(f"FROM localhost/nbd/base:latest\n{step}\n")
        (folder / "jupyter-lab").write_text(script or "")
        made[name] = f"localhost/nbd-system-test/{name}:latest"
        argv = ["podman", "build", "--quiet", "--isolation", "chroot", "--network", "host", "--tag", made[name], str(folder)]
        subprocess.run(argv, check=True, capture_output=True, timeout=120)
    yield made
    podman("rmi", "--force", *made.values())
