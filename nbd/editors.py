"""How each editor is started inside its container: a command that listens on the socket in EDITOR_FOLDER. Data and pure text, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import InvalidInput

EDITOR_FOLDER = "/run/nbd"
"""Where the notebook's own folder of the host is mounted. Only the web program and the person may enter it."""
SOCKET_NAME = "editor.sock"


@dataclass(frozen=True, slots=True)
class Editor:
    title: str
    ready_path: str
    """Answers 200 once people can work."""
    command: Callable[[str], tuple[str, ...]]
    """From the home's path to the argument list. No secret may stand in it: it is world-readable."""
    env: Mapping[str, str]
    pages: tuple[str, ...] = ()
    """Below these paths its own pages are: what a person opens in a tab. What it shows of the person's is elsewhere."""


def jupyterlab(home: str) -> tuple[str, ...]:
    return (
        "jupyter-lab",
        "--no-browser",
        f"--ServerApp.sock={EDITOR_FOLDER}/{SOCKET_NAME}",
        "--ServerApp.sock_mode=0660",
        f"--ServerApp.root_dir={home}",
        # The folder of the socket is the lock on this door: a token would only be one more secret to leak.
        "--IdentityProvider.token=",
        "--ServerApp.allow_remote_access=True",
        # A person who is root on the box is root in the notebook, without any capability.
        "--ServerApp.allow_root=True",
        "--ServerApp.terminado_settings={'shell_command': ['/bin/bash', '-l']}",
        "--LabApp.news_url=None",
    )


EDITORS: Mapping[str, Editor] = {
    "jupyterlab": Editor(
        "JupyterLab",
        "/api/status",
        jupyterlab,
        # Runtime files live outside the home, so that a full home still starts.
        {"JUPYTER_RUNTIME_DIR": "/tmp/jupyter", "JUPYTER_ALLOW_INSECURE_WRITES": "1"},
        ("/lab", "/doc", "/tree", "/notebooks", "/edit", "/consoles", "/terminals"),
    ),
}


def checked_editor(name: str) -> str:
    """`name` if there is such an editor. Raises InvalidInput."""
    if name not in EDITORS:
        raise InvalidInput(f"there is no editor {name[:60]!r}", hint="known: " + ", ".join(EDITORS), code="unknown_editor")
    return name
